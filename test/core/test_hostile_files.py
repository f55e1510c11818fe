"""Files made to harm: too large, too deep, of other types, of values that spread. Each is refused with its reason."""

from __future__ import annotations

import hashlib
import json
import os
import struct
import zlib
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import torch

from cldyn_core import CLDyN, WeightsError, load_weights, save_weights
from cldyn_core.checkpoint import load_into, manifest_path, read_tensors, write_tensors
from cldyn_core.data.images import PairError, read_infrared, read_visible
from cldyn_core.data.labels import read_voc, read_yolo
from cldyn_core.data.pairs import find_pairs
from cldyn_core.registration.calibration import CalibrationError, read_calibration
from cldyn_core.registry import TrainingRecord
from cldyn_core.tasks import load_network
from cldyn_core.text_files import MAX_DEPTH, check_yaml, read_json, read_text, read_yaml


@pytest.fixture
def saved(tmp_path: Path) -> Path:
    path = tmp_path / "a.safetensors"
    save_weights(CLDyN(), path)
    return path


def restate(path: Path, **changes: Any) -> None:
    """Change a manifest."""
    beside = manifest_path(path)
    beside.write_text(json.dumps({**json.loads(beside.read_text()), **changes}))


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_weights_that_are_not_finite_are_not_loaded(saved: Path, value: float) -> None:
    tensors, manifest = read_tensors(saved)
    tensors["bank.vectors"].view(-1)[7] = value
    write_tensors(saved, tensors, kind="cldyn", architecture=manifest["architecture"], record={})
    with pytest.raises(WeightsError, match=r"not finite.*bank\.vectors"):
        load_weights(saved)


@pytest.mark.parametrize("kind", [torch.int64, torch.complex64, torch.bool])
def test_weights_of_another_type_are_not_converted(saved: Path, kind: torch.dtype) -> None:
    tensors, _ = read_tensors(saved)
    for good in (torch.float16, torch.bfloat16, torch.float64):
        load_into(CLDyN(), {**tensors, "bank.vectors": tensors["bank.vectors"].to(good)}, saved)
    with pytest.raises(WeightsError, match=r"shape or type \['bank\.vectors'\]"):
        load_into(CLDyN(), {**tensors, "bank.vectors": tensors["bank.vectors"].to(kind)}, saved)


@pytest.mark.parametrize(
    "changes",
    [{"encoder_blocks": 10**9}, {"encoder_blocks": 65}, {"compensation": [1]}, {"branches": 10**9}, {"x" * 9999: 1}],
    ids=lambda changes: next(iter(changes))[:20],
)  # fmt: skip
def test_an_absurd_architecture_is_not_built(saved: Path, changes: dict[str, Any]) -> None:
    restate(saved, architecture={"encoder_blocks": 2, "branches": 4, **changes})
    with pytest.raises(WeightsError) as refusal:
        load_weights(saved)
    assert len(str(refusal.value)) < 1000


@pytest.mark.parametrize("names", [["a"] * 1001, ["a" * 101], [1], "abc", None])
@pytest.mark.parametrize("kind", ["detector", "fpn-segmenter"])
def test_absurd_class_names_are_refused(tmp_path: Path, kind: str, names: Any) -> None:
    path = tmp_path / "d.safetensors"
    write_tensors(path, {}, kind=kind, architecture={"model": "yolov5n", "names": names}, record={})
    with pytest.raises(WeightsError, match="model, names"):
        load_network(path, torch.device("cpu"))


@pytest.mark.parametrize(
    "model", ["../../x", "http://host/yolov5n.yaml", "/etc/passwd", "yolov5n.yaml\n", "__import__"]
)
def test_a_manifest_names_no_files(tmp_path: Path, model: str) -> None:
    path = tmp_path / "d.safetensors"
    write_tensors(path, {}, kind="detector", architecture={"model": model, "names": ["a"]}, record={})
    with pytest.raises(WeightsError, match="unknown detector"):
        load_network(path, torch.device("cpu"))


def test_a_manifest_has_limits(saved: Path) -> None:
    beside = manifest_path(saved)
    for content, reason in ((b"[" * 100_000, "deep"), (b" " * (17 << 20), "larger"), (b"\xff", "UTF-8")):
        beside.write_bytes(content)
        with pytest.raises(WeightsError, match=reason):
            load_weights(saved)
    assert TrainingRecord.of({"metrics": {"x": 10**400}, "data": {"a": 10**400}}).metrics == {}


def test_a_header_that_claims_to_be_huge_is_refused(saved: Path) -> None:
    content = saved.read_bytes()
    for length in (0, 1 << 30, (1 << 63) - 1, (1 << 64) - 1):
        saved.write_bytes(struct.pack("<Q", length) + content[8:])
        restate(saved, sha256=hashlib.sha256(saved.read_bytes()).hexdigest())
        with pytest.raises(WeightsError, match="not a readable safetensors file"):
            load_weights(saved)


def test_text_has_limits(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    path.write_text("12345")
    assert read_text(path, 5) == "12345"
    with pytest.raises(ValueError, match="larger than 4"):
        read_text(path, 4)
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(FileNotFoundError):  # and does not wait for a writer
        read_json(tmp_path / "pipe")
    with pytest.raises(FileNotFoundError):
        read_text(Path("/dev/zero"))


BOMB = "a: &a [x, x]\nb: &b [*a, *a]\nc: [*b, *b]\n"


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        (BOMB, "alias"),
        ("[" * (MAX_DEPTH + 1), "deeper"),
        ("- " * 20_000, "deep"),
        ("a: !!python/object/apply:os.system ['false']", "could not determine a constructor"),
        ("? [1]\n: 2", "unhashable"),
        ("a: [", "expected"),
        ("#" * (1 << 19), "larger"),
    ],
)
def test_yaml_is_plain_shallow_and_without_aliases(tmp_path: Path, text: str, reason: str) -> None:
    path = tmp_path / "a.yaml"
    path.write_text(text)
    with pytest.raises(ValueError, match=reason):
        read_yaml(path)
    with pytest.raises(CalibrationError, match=reason):
        read_calibration(path)
    check_yaml("[" * MAX_DEPTH + "]" * MAX_DEPTH)


def png_of(width: int, height: int) -> bytes:
    """A black 8-bit gray PNG, small however large it is."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    rows = zlib.compress(bytes((width + 1) * 1000), 9)
    header = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", rows) + chunk(b"IEND", b"")


def test_images_that_unfold_are_not_decoded(tmp_path: Path) -> None:
    path = tmp_path / "bomb.png"
    path.write_bytes(png_of(20_000, 20_000))
    assert path.stat().st_size < 100_000
    for read in (read_visible, read_infrared):
        with pytest.raises(PairError, match=r"bomb\.png: (not a readable image|cannot be decoded)"):
            read(path)
    path.write_bytes(png_of(1000, 1000))
    assert read_infrared(path).shape == (1000, 1000)  # the same file of a moderate size


@pytest.mark.parametrize("content", [b"\xff\xfe", b" " * (17 << 20)], ids=["binary", "large"])
def test_labels_have_limits(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "a.txt"
    path.write_bytes(content)
    for read in (lambda: read_yolo(path, (9, 9), ("a",)), lambda: read_voc(path, (9, 9))):
        with pytest.raises(PairError, match=r"UTF-8|larger"):
            read()


def test_pairs_are_files_of_their_folder(tmp_path: Path) -> None:
    """Names lead nowhere else; what is no file is refused when it is read, also by way of a link."""
    for side in ("infrared", "visible"):
        (tmp_path / side).mkdir()
        cv2.imwrite(str(tmp_path / side / "..a.png"), np.zeros((32, 32), np.uint8))
    (tmp_path / "visible" / "b.png").symlink_to("/dev/zero")
    os.mkfifo(tmp_path / "infrared" / "b.png")
    (tmp_path / "meta.json").write_text('{"fps": ' + "9" * 400 + "}")
    folder = find_pairs(tmp_path)
    assert [entry.name for entry in folder.entries] == ["b"] and folder.rate is None
    with pytest.raises(PairError, match="no such file"):
        folder.load(0)
