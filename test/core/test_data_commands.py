"""`cldyn data`: check, render's arguments, plug-ins."""

from __future__ import annotations

import argparse
from importlib.metadata import EntryPoint
from pathlib import Path

import cv2
import numpy as np
import pytest

from cldyn_core.data import commands


def parse(*words: str) -> argparse.Namespace:
    parser = argparse.ArgumentParser()
    commands.add_data_commands(parser.add_subparsers())
    return parser.parse_args(["data", *words])


def test_check_status(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for side, image in (("ir", np.zeros((8, 8), np.uint8)), ("vi", np.zeros((8, 8, 3), np.uint8))):
        (tmp_path / side).mkdir()
        cv2.imwrite(str(tmp_path / side / "a.png"), image)
    args = parse("check", str(tmp_path))
    assert args.run(args) == 0 and capsys.readouterr().out.endswith("ok\n")
    (tmp_path / "vi" / "a.png").unlink()
    assert args.run(args) == 1 and "PROBLEM" in capsys.readouterr().out


@pytest.mark.parametrize("size", ["640", "640x", "0x480", "axb", "640x480x3"])
def test_size_is_width_times_height(size: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert parse("render", "out", "--size", "320x240").size == (320, 240)
    with pytest.raises(SystemExit):
        parse("render", "out", "--size", size)
    assert "expected WIDTHxHEIGHT" in capsys.readouterr().err


def _add_echo(subparsers) -> None:  # type: ignore[no-untyped-def]
    subparsers.add_parser("echo").set_defaults(run=lambda args: 7)


def test_plugins_join_and_a_broken_one_spoils_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    entries = [
        EntryPoint("data echo", f"{__name__}:_add_echo", commands.PLUGINS),
        EntryPoint("data broken", "no_such_module:add", commands.PLUGINS),
        EntryPoint("other thing", "no_such_module:add", commands.PLUGINS),
    ]
    monkeypatch.setattr(commands, "entry_points", lambda group: entries)
    args = parse("echo")
    assert args.run(args) == 7
    args = parse("broken", "folder", "--rate", "3")
    with pytest.raises(ImportError, match=r"data broken is not available here: .*no_such_module"):
        args.run(args)
