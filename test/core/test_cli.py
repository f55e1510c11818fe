"""`cldyn` as its user types it."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from naive import random_tensors

from cldyn_core import CLDyN, load_weights, save_weights
from cldyn_core.cli import main


@pytest.fixture
def pairs(tmp_path: Path) -> Path:
    rng = np.random.default_rng(0)
    for side, shape in (("infrared", (40, 48)), ("visible", (40, 48, 3))):
        (tmp_path / "pairs" / side).mkdir(parents=True)
        for name in ("a", "b"):
            cv2.imwrite(str(tmp_path / "pairs" / side / f"{name}.png"), rng.integers(0, 256, shape, np.uint8))
    return tmp_path / "pairs"


@pytest.fixture
def weights(tmp_path: Path) -> Path:
    save_weights(CLDyN.from_reference(random_tensors(2, 4, seed=2)), tmp_path / "w.safetensors")
    return tmp_path / "w.safetensors"


def test_faults_are_one_line_and_status_one(
    pairs: Path, weights: Path, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    out = ["-o", str(tmp_path / "out")]
    for arguments, text in (
        (["fuse", str(tmp_path / "nowhere"), *out], "nowhere"),
        (["fuse", "a.png", "b.png", "--weights", str(weights), *out], "a.png: no such file"),
        (["fuse", str(pairs), "--weights", str(pairs), *out], "no such weight file"),
        (["fuse", str(pairs), "--device", "cuda:77", *out], "cuda:77"),
        (["weights", "import", str(weights), *out], "w.safetensors"),
        (["train", "visual", str(tmp_path / "nowhere")], "nowhere"),
        (["train", "visual", str(pairs), "--out", str(pairs)], "is not empty"),
        (["train", "visual", str(pairs), "--out", str(tmp_path / "run"), "--recipe.size", "40"], "multiple of 32"),
    ):
        assert main(arguments) == 1, arguments
        error = capsys.readouterr().err
        assert error.startswith("cldyn: ") and text in error and error.count("\n") == 1, error


def test_unknown_task_names_the_choices(pairs: Path, capsys: pytest.CaptureFixture) -> None:
    with pytest.raises(SystemExit) as stop:
        main(["fuse", str(pairs), "-o", "x", "--task", "nonsense"])
    assert stop.value.code == 2 and "nonsense" in capsys.readouterr().err


def test_weights_verify_says_the_verdict(weights: Path, capsys: pytest.CaptureFixture) -> None:
    assert main(["weights", "verify", str(weights)]) == 0
    weights.write_bytes(weights.read_bytes()[:-1])
    assert main(["weights", "verify", str(weights)]) == 1
    assert "BAD" in capsys.readouterr().out
    assert main(["weights", "verify"]) == 0, "the bundled weights are sound"
    assert main(["weights", "list"]) == 0
    assert "cldyn" in capsys.readouterr().out


def test_weights_import(tmp_path: Path) -> None:
    tensors = random_tensors(2, 4, seed=1)
    parts = {
        p: {k.split(".", 1)[1]: v for k, v in tensors.items() if k.startswith(p + ".")}
        for p in ("vfn", "rsc_ir", "rsc_vi")
    }
    torch.save(
        {"net": parts["vfn"], "rsc_ir": parts["rsc_ir"], "rsc_vi": parts["rsc_vi"], "bvb": tensors["bvb"]},
        tmp_path / "r.pth",
    )
    assert main(["weights", "import", str(tmp_path / "r.pth"), "-o", str(tmp_path / "ours.safetensors")]) == 0
    expected = CLDyN.from_reference(tensors).state_dict()
    assert all(torch.equal(v, expected[k]) for k, v in load_weights(tmp_path / "ours.safetensors").state_dict().items())
