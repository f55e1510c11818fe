"""`cldyn export`: files that compute what the model does, or no files."""

from __future__ import annotations

import json
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from naive import random_tensors
from safetensors.numpy import load_file

from cldyn_core import CLDyN, load_weights, save_weights
from cldyn_core.checkpoint import read_manifest
from cldyn_core.cli import main
from cldyn_core.engine.executors.eager import EagerExecutor
from cldyn_core.engine.kernels import KernelTables
from cldyn_core.types import BlockPlan, CompensationPlan, Precision

CONFIGURATIONS, VECTORS = (0, 3, 1, 3), (5, 31, 0, 7)


@pytest.fixture
def weights(tmp_path: Path) -> Path:
    save_weights(CLDyN.from_reference(random_tensors(2, 4, seed=2)), tmp_path / "w.safetensors")
    return tmp_path / "w.safetensors"


def need(*packages: str) -> None:
    lacking = [package for package in packages if find_spec(package) is None]
    if lacking:
        pytest.skip(f"not installed: {', '.join(lacking)}")


def run_file(kind: str, path: Path, inputs: dict[str, np.ndarray]) -> np.ndarray:
    """With the runtime alone, as its user would."""
    if kind == "onnx":
        session = import_module("onnxruntime").InferenceSession(str(path), providers=["CPUExecutionProvider"])
        return session.run(["fused"], inputs)[0]
    compiled = import_module("openvino").Core().compile_model(path, "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
    return compiled(inputs)["fused"]


def look_up(document: dict, table: dict[str, np.ndarray]) -> np.ndarray:
    """The kernels of the plan as the description says, with NumPy alone."""
    kernels = np.zeros(document["inputs"]["kernels"]["shape"], np.float32)
    for modality, side in enumerate(("infrared", "visible")):
        for branch, (configuration, vector) in enumerate(zip(CONFIGURATIONS, VECTORS, strict=True)):
            kernels[modality, 0, branch, max(configuration, 1) - 1] = table[side][0, configuration, vector]
    return kernels


@torch.no_grad()
def expected(weights: Path, infrared: np.ndarray, luma: np.ndarray, *, compensated: bool) -> np.ndarray:
    model = load_weights(weights)
    tables = KernelTables(model)
    block = BlockPlan(torch.tensor([CONFIGURATIONS]), torch.tensor([VECTORS]))
    kernels = tables.look_up(CompensationPlan((block,), (block,))) if compensated else None
    eager = EagerExecutor(model, tables, torch.device("cpu"), Precision.FP32)
    return eager.fuse(torch.from_numpy(infrared), torch.from_numpy(luma), kernels).numpy()


@pytest.mark.timeout(240)
@pytest.mark.parametrize(
    ("kind", "name", "packages"),
    [("onnx", "f.onnx", ("onnx", "onnxscript", "onnxruntime")), ("openvino", "f.xml", ("openvino",))],
)
def test_a_file_needs_no_torch(
    kind: str, name: str, packages: tuple[str, ...], weights: Path, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    need(*packages)
    out = tmp_path / "deep" / name
    assert main(["export", "--format", kind, "-o", str(out), "--weights", str(weights)]) == 0
    printed = capsys.readouterr().out
    assert printed.count("largest difference") == 4 and "101x75, gain 1" in printed
    document = json.loads(out.with_suffix(".json").read_text())
    table = load_file(out.with_suffix(".kernels.safetensors"))
    assert document["weights_sha256"] == read_manifest(weights)["sha256"]
    assert list(table["visible"].shape) == document["kernel_table"]["shape"]
    infrared, luma = np.random.default_rng(0).random((2, 1, 1, 41, 67), np.float32)
    images = {"infrared": infrared, "luma": luma, "kernels": look_up(document, table)}
    for gain in (0.0, 1.0):
        fused = run_file(kind, out, {**images, "gain": np.array(gain, np.float32)})
        np.testing.assert_allclose(fused, expected(weights, infrared, luma, compensated=bool(gain)), rtol=0, atol=1e-5)


def test_a_file_that_fails_the_check_is_deleted(
    weights: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    need("openvino")
    honest = EagerExecutor.finish
    monkeypatch.setattr(EagerExecutor, "finish", lambda *args: honest(*args) + 1e-3)
    out = tmp_path / "out" / "f.xml"
    assert main(["export", "--format", "openvino", "-o", str(out), "--weights", str(weights)]) == 1
    assert "was deleted: " in capsys.readouterr().err
    assert list(out.parent.iterdir()) == []


@pytest.mark.timeout(240)
def test_int8_must_prove_itself_on_pairs_it_was_not_calibrated_with(
    weights: Path, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    """These random weights do not bear it: the file is refused with the figure."""
    need("openvino", "nncf")
    rng = np.random.default_rng(0)
    for side, shape in (("infrared", (48, 64)), ("visible", (48, 64, 3))):
        (tmp_path / "pairs" / side).mkdir(parents=True)
        for i in range(7):
            cv2.imwrite(str(tmp_path / "pairs" / side / f"{i}.png"), rng.integers(0, 256, shape, np.uint8))
    out = tmp_path / "out" / "f.xml"
    options = ["--weights", str(weights), "--precision", "int8", "--calibrate", str(tmp_path / "pairs")]
    assert main(["export", "--format", "openvino", "-o", str(out), *options]) == 1
    assert "37x27, gain 1" in (said := capsys.readouterr().err) or "64x48, gain 1" in said
    assert list(out.parent.iterdir()) == []
    (tmp_path / "pairs" / "visible" / "0.png").unlink()
    assert main(["export", "--format", "openvino", "-o", str(out), *options]) == 1
    assert "7 pairs or more of your cameras" in capsys.readouterr().err


def test_what_cannot_be_exported_is_said_first(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    def said(*arguments: str) -> str:
        assert main(["export", *arguments]) == 1
        return capsys.readouterr().err

    assert "ends in .onnx" in said("--format", "onnx", "-o", str(tmp_path / "f.xml"))
    onnx = ("--format", "onnx", "-o", str(tmp_path / "f.onnx"))
    assert "--format openvino" in said(*onnx, "--precision", "int8", "--calibrate", str(tmp_path))
    assert "--calibrate FOLDER go together" in said(*onnx, "--calibrate", str(tmp_path))
    monkeypatch.setattr("cldyn_core.packages.find_spec", lambda name: None)
    assert "pip install onnx onnxscript onnxruntime" in said(*onnx)
    assert list(tmp_path.iterdir()) == []
