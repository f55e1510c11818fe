"""The comparison of pairing policies: its own policy on its simulated streams."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path

import pytest

_FILE = Path(__file__).parents[2] / "bench" / "sync_policies.py"


def test_nearest_makes_the_pairs_that_are_possible(capsys: pytest.CaptureFixture[str]) -> None:
    spec = importlib.util.spec_from_file_location("sync_policies", _FILE)
    assert spec and spec.loader
    bench = importlib.util.module_from_spec(spec)
    sys.modules["sync_policies"] = bench  # its dataclasses look themselves up
    spec.loader.exec_module(bench)
    bench.main(["--seconds", "5"])
    rows = [[cell.strip() for cell in line.split("|")[1:-1]] for line in capsys.readouterr().out.splitlines()]
    nearest = {row[0]: row for row in rows if len(row) > 2 and row[1] == "nearest"}
    assert nearest["30/9 Hz"][2:6:3] == ["45 of 45", "0 %"]
    assert nearest["10/10 Hz, infrared 30 ms late"][2] == "0 of 50"  # beyond the tolerance without an offset
    assert nearest["30/30 Hz, infrared 30 ms late"][5] == "100 %"  # the neighbor's neighbor
