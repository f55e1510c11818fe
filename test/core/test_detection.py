"""The detector behind the task protocol: feature, loss, predict; packaging of its optional dependency."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from truth import boxes

from cldyn_core import EngineSettings, Task, WeightsError, tasks
from cldyn_core.checkpoint import write_tensors
from cldyn_core.types import M3FD_CLASSES

pytest.importorskip("ultralytics", reason="the detector's optional package is not installed")

from cldyn_core.tasks.detection import Detector


@pytest.fixture(scope="module")
def detector() -> Detector:
    torch.manual_seed(0)
    made = Detector()
    made.module.eval()
    return made


def test_feature_is_the_last_c3_s_output_at_stride_32(detector: Detector) -> None:
    image = torch.rand(2, 3, 64, 96)
    seen = []
    hook = detector.module.model[23].cv3.register_forward_hook(lambda _m, _i, out: seen.append(out))  # type: ignore[union-attr,index]
    feature = detector.feature(image)
    hook.remove()
    assert feature.shape == (2, 256, 2, 3) and torch.equal(feature, seen[0])
    assert not detector.module.model[23].cv3._forward_hooks  # type: ignore[union-attr,index]


@pytest.mark.parametrize("size", [(33, 65), (7, 5), (64, 64)])
def test_any_image_size(detector: Detector, size: tuple[int, int]) -> None:
    found = detector.predict(torch.rand(1, 3, *size))[0]
    assert found.boxes.shape == (len(found.labels), 4) and found.names == M3FD_CLASSES


def test_boxes_stay_in_the_image_and_come_best_first(detector: Detector) -> None:
    detector.confidence = 1e-4
    with torch.no_grad():
        found = detector.predict(torch.rand(1, 3, 50, 70, generator=torch.Generator().manual_seed(1)))[0]
    assert len(found.boxes) > 3
    assert found.boxes[:, [0, 2]].min() >= 0 and found.boxes[:, [0, 2]].max() <= 70
    assert found.boxes[:, [1, 3]].min() >= 0 and found.boxes[:, [1, 3]].max() <= 50
    assert (np.diff(found.scores) <= 0).all()


def test_loss_reaches_the_image_and_falls_when_trained(detector: Detector) -> None:
    image = torch.rand(2, 3, 64, 64, generator=torch.Generator().manual_seed(2)).requires_grad_()
    targets = [boxes((5, 5, 40, 50, 1), (30, 10, 60, 30, 0)), boxes()]
    losses = detector.losses(image, targets)
    loss = losses.mean()
    loss.backward()
    assert losses.shape == (2,) and float(image.grad.abs().sum()) > 0  # type: ignore[union-attr]
    optimizer = torch.optim.Adam(detector.module.parameters(), lr=3e-3)
    for parameter in detector.module.parameters():
        parameter.requires_grad_(True)
    for _ in range(20):
        optimizer.zero_grad()
        step = detector.losses(image.detach(), targets).mean()
        step.backward()
        optimizer.step()
    assert step.item() < 0.8 * loss.item()


def test_each_image_has_a_loss_of_its_own(detector: Detector) -> None:
    images = torch.rand(3, 3, 50, 70, generator=torch.Generator().manual_seed(3))
    targets = [boxes((5, 5, 40, 45, 1), (30, 10, 60, 30, 0)), boxes(), boxes((0, 0, 70, 50, 2))]
    with torch.inference_mode():
        detector.predict(images)  # what it keeps for the next image must not get into a gradient
    seen = detector.observe(images.requires_grad_(), targets)
    alone = torch.cat([detector.losses(images[b : b + 1], targets[b : b + 1]) for b in range(3)])
    torch.testing.assert_close(seen.losses, alone, rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(seen.feature, detector.feature(images), rtol=1e-4, atol=1e-5)
    seen.losses[1].backward()
    assert images.grad is not None and images.grad.flatten(1).abs().sum(1).ne(0).tolist() == [False, True, False]
    torch.testing.assert_close(detector.losses(images, targets), detector.observe(images, targets).losses)


def test_classes_that_were_not_annotated_teach_nothing() -> None:
    detector = Detector()
    image = torch.rand(2, 3, 64, 64, generator=torch.Generator().manual_seed(4))
    detector.module.eval()
    targets = [boxes(annotated=(0, 1)), boxes()]
    detector.losses(image, targets)[0].backward()
    head: Any = detector.module.model[-1]  # type: ignore[index]
    for scale in head.cv3:
        assert (scale[-1].bias.grad != 0).tolist() == [True, True, False, False, False, False]


def test_the_mode_is_the_caller_s(detector: Detector) -> None:
    image = torch.rand(1, 3, 64, 64)
    detector.module.train()
    before = detector.module.state_dict()["model.0.bn.running_mean"].clone()
    assert torch.isfinite(detector.losses(image, [boxes()])).all() and isinstance(detector.predict(image), list)
    assert all(module.training for module in detector.module.modules())
    assert not torch.equal(before, detector.module.state_dict()["model.0.bn.running_mean"])
    detector.module.eval()
    detector.losses(image, [boxes()])
    assert not any(module.training for module in detector.module.modules())


@pytest.mark.parametrize("model", ["yolov8n", "yolo11n", "yolo12n"])
def test_every_family_has_a_feature_a_loss_and_an_answer(model: str) -> None:
    network = tasks.build(model, ("a", "b"))
    network.module.eval()
    assert (network.task, network.model, network.names) == (Task.DETECTION, model, ("a", "b"))
    image = torch.rand(1, 3, 64, 96)
    assert network.feature(image).shape == (1, 256, 2, 3)
    assert torch.isfinite(network.losses(image, [boxes((5, 5, 40, 50, 1))])).all()
    assert len(network.predict(image)) == 1


def test_an_unknown_model_is_refused_with_those_known() -> None:
    with pytest.raises(ValueError, match=r"unknown model 'yolov9n'; known: yolov5n, .*yolo12x"):
        tasks.build("yolov9n", ("a",))


def test_weights_of_another_kind_or_task_are_refused(tmp_path: Path, detector: Detector) -> None:
    tasks.save_network(detector, tmp_path / "d.safetensors", {}, half=True)
    loaded = tasks.load_network(tmp_path / "d.safetensors", torch.device("cpu"))
    assert isinstance(loaded, Detector) and next(loaded.module.parameters()).dtype == torch.float32
    with pytest.raises(WeightsError, match=r"these are 'detector' weights, expected 'saliency'"):
        tasks.load_network(tmp_path / "d.safetensors", torch.device("cpu"), Task.SALIENCY)
    path = tmp_path / "c.safetensors"
    write_tensors(path, {"x": torch.zeros(1)}, kind="cldyn", architecture={}, record={})
    with pytest.raises(WeightsError, match=r"these are 'cldyn' weights, expected 'detector' or"):
        tasks.create(Task.DETECTION, EngineSettings(detector_weights=str(path)), torch.device("cpu"))


@pytest.mark.parametrize(
    "architecture",
    [{}, {"model": 5, "names": ["a"]}, {"model": "yolov5n.yaml", "names": "ab"},
     {"model": "evil.yaml", "names": ["a"]}, {"model": "https://example.com/yolov5n.yaml", "names": ["a"]},
     {"model": "../yolov5n.yaml", "names": ["a"]}],
)  # fmt: skip
def test_a_manifest_names_no_model_file_of_its_own(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, architecture: dict
) -> None:
    """ultralytics evaluates text of a model file; only files of its own package may be named."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "evil.yaml").write_text("activation: open('ran', 'w')\nnc: 1\nbackbone: []\nhead: []\n")
    path = tmp_path / "d.safetensors"
    write_tensors(path, {"x": torch.zeros(1)}, kind="detector", architecture=architecture, record={})
    with pytest.raises(WeightsError, match=r"unknown detector|architecture of a detector"):
        tasks.create(Task.DETECTION, EngineSettings(detector_weights=str(path)), torch.device("cpu"))
    assert not (tmp_path / "ran").exists()


def test_weights_come_back_and_foreign_ones_do_not(tmp_path: Path, detector: Detector) -> None:
    path = tmp_path / "d.safetensors"
    tasks.save_network(detector, path, {})
    settings = EngineSettings(detector_weights=str(path), detector_confidence=0.4, detector_iou=0.3)
    loaded = tasks.create(Task.DETECTION, settings, torch.device("cpu"))
    assert (
        isinstance(loaded, Detector) and (loaded.confidence, loaded.iou) == (0.4, 0.3) and loaded.names == M3FD_CLASSES
    )
    image = torch.rand(1, 3, 64, 64)
    detector.module.eval()
    with torch.no_grad():
        torch.testing.assert_close(loaded.feature(image), detector.feature(image))
    write_tensors(path, {"x": torch.zeros(1)}, kind="detector", architecture=detector.architecture, record={})
    with pytest.raises(WeightsError, match="another architecture than DetectionModel"):
        tasks.create(Task.DETECTION, settings, torch.device("cpu"))


def test_the_core_does_not_import_ultralytics_and_the_detector_keeps_it_quiet(tmp_path: Path) -> None:
    code = (
        "import sys, socket\n"
        "def refuse(*a, **k): raise OSError('network use')\n"
        "socket.socket.connect = socket.create_connection = refuse\n"
        "import cldyn_core, cldyn_core.engine\n"
        "assert 'ultralytics' not in sys.modules\n"
        "from cldyn_core.tasks.detection import Detector\n"
        "assert 'ultralytics' not in sys.modules\n"
        "Detector()\n"
        "from ultralytics.utils import ONLINE, SETTINGS\n"
        "assert not ONLINE and not SETTINGS['sync']\n"
        "import os\n"
        "assert 'OMP_NUM_THREADS' not in os.environ, 'processes started from here would have one thread'\n"
    )
    environment = {"PATH": "/usr/bin:/bin", "HOME": str(tmp_path), "PYTHONPATH": str(Path(__file__).parents[2])}
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, timeout=100)
    assert done.returncode == 0, done.stderr
    assert done.stdout == "", "no console output"
    written = {p.relative_to(tmp_path).parts[:2] for p in tmp_path.rglob("*") if p.is_file()}
    assert written <= {(".cache", "cldyn")}, "settings go to the cache folder alone"


def test_explain_names_the_package_that_is_not_there(monkeypatch: pytest.MonkeyPatch) -> None:
    assert tasks.explain(Task.DETECTION) == "" and tasks.explain(Task.NONE) == ""
    monkeypatch.setattr("cldyn_core.tasks.detection.find_spec", lambda _name: None)
    assert "pip install ultralytics" in tasks.explain(Task.DETECTION)
    assert Task.DETECTION not in tasks.available_tasks()
    for use in (
        lambda: tasks.create(Task.DETECTION, EngineSettings(), torch.device("cpu")),
        lambda: tasks.build("yolov5n", ("a",)),
    ):
        with pytest.raises(ValueError, match="pip install"):
            use()


def test_explain_names_the_weights_that_are_not_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("cldyn_core.checkpoint.BUNDLED", tmp_path)
    assert tasks.available_tasks() == (Task.NONE,)
    assert "node parameter segmentation.weights" in tasks.explain(Task.SEGMENTATION)
    own = EngineSettings(segmentation_weights=str(tmp_path / "own.safetensors"))
    assert tasks.explain(Task.SEGMENTATION, own) == "" and Task.SEGMENTATION in tasks.available_tasks(own)
    with pytest.raises(FileNotFoundError, match=r"own\.safetensors"):
        tasks.create(Task.SEGMENTATION, own, torch.device("cpu"))
