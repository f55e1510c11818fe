"""The engine: the closed loop over frames, live settings, faults of a task network."""

from __future__ import annotations

import re
import threading
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from naive import random_tensors

from cldyn_core import CLDyN, EngineSettings, FramePair, LoopMode, Task, save_weights, tasks
from cldyn_core.color import rgb_to_ycbcr, ycbcr_to_rgb
from cldyn_core.engine import FusionEngine, resolve_device
from cldyn_core.engine.colors import luma, recolor, to_image
from cldyn_core.engine.executors.eager import EagerExecutor
from cldyn_core.engine.kernels import KernelTables
from cldyn_core.model import Architecture
from cldyn_core.tasks.base import TaskNetwork
from cldyn_core.types import Backend, Detections, Precision, as_batch


class Probe(TaskNetwork):
    """A task network whose feature and answer show what it was given."""

    task = Task.DETECTION
    kind = "detector"
    built = 0
    fault: Exception | None = None

    def __init__(self, model: str = "probe", names: Sequence[str] = ("thing",)) -> None:
        self.model, self.names, self.module = model, tuple(names), torch.nn.Identity()

    @classmethod
    def models(cls) -> tuple[str, ...]:
        return ("probe",)

    @classmethod
    def create(cls, task: Task, settings: EngineSettings, device: torch.device) -> Probe:
        assert task is Task.DETECTION
        cls.built += 1
        return cls()

    def configure(self, settings: EngineSettings) -> None:
        self.confidence = settings.detector_confidence

    def feature(self, image: torch.Tensor) -> torch.Tensor:
        if self.fault:
            raise self.fault
        return image[:, :, ::2, ::2] - 0.5

    def losses(self, image: torch.Tensor, targets: Sequence[Any]) -> torch.Tensor:
        return image.mean((1, 2, 3))

    def predict(self, image: torch.Tensor) -> list:
        mean = np.array([image.mean()], np.float32)
        return [Detections(np.array([[0, 0, 2, 2]], np.float32), mean, np.array([0]), self.names)]


@pytest.fixture
def probe(monkeypatch: pytest.MonkeyPatch) -> type[Probe]:
    monkeypatch.setattr(tasks, "_NETWORKS", {"detector": (Task.DETECTION, "test_engine", "Probe")})
    monkeypatch.setattr(tasks, "create", Probe.create)
    monkeypatch.setattr("cldyn_core.engine.engine.describe_weights", lambda path: path.name)
    Probe.built, Probe.fault = 0, None
    return Probe


@pytest.fixture
def weights(tmp_path: Path) -> str:
    save_weights(CLDyN.from_reference(random_tensors(2, 4, seed=9)), tmp_path / "w.safetensors")
    return str(tmp_path / "w.safetensors")


def frame(height: int = 24, width: int = 32, seed: int = 0) -> FramePair:
    rng = np.random.default_rng(seed)
    return FramePair(
        rng.integers(0, 256, (height, width, 3), np.uint8), rng.integers(0, 256, (height, width), np.uint8), 7
    )


def test_exact_mode_is_the_paper_s_loop(probe: type[Probe], weights: str) -> None:
    engine = FusionEngine(EngineSettings(Task.DETECTION, weights=weights, device="cpu"))
    pair = frame()
    result = engine.step(pair)
    model = CLDyN.from_reference(random_tensors(2, 4, seed=9))
    visible = torch.from_numpy(pair.visible).permute(2, 0, 1)[None].float() / 255
    infrared = torch.from_numpy(pair.infrared)[None, None].float() / 255
    with torch.no_grad():
        expected = model(visible, infrared, Probe().feature)
    np.testing.assert_allclose(result.fused, to_image(expected.rgb), atol=1)
    assert result.plan is not None and expected.plan is not None
    assert result.plan.describe() == expected.plan.describe()
    stages = ["prepare", "encode", "first_pass", "requirement", "plan", "execute", "task", "finish"]
    assert list(result.timings_ms) == stages
    assert isinstance(result.output, Detections)
    assert result.output.scores[0] == pytest.approx(float(expected.rgb.clamp(0, 1).mean()), abs=1e-4)


def test_open_mode_and_no_task_do_not_compensate(probe: type[Probe], weights: str) -> None:
    engine = FusionEngine(EngineSettings(Task.NONE, weights=weights, device="cpu"))
    nothing = engine.step(frame())
    assert nothing.plan is None and nothing.output is None and probe.built == 0
    engine.apply(replace(engine.settings, task=Task.DETECTION, loop_mode=LoopMode.OPEN))
    opened = engine.step(frame())
    assert opened.plan is None and isinstance(opened.output, Detections)
    np.testing.assert_array_equal(nothing.fused, opened.fused)
    engine.apply(replace(engine.settings, loop_mode=LoopMode.EXACT))
    assert np.abs(engine.step(frame()).fused.astype(int) - opened.fused).max() > 2


def test_infrared_alone_is_shown_in_the_range_of_the_fused_images(weights: str) -> None:
    engine = FusionEngine(EngineSettings(weights=weights, device="cpu"))
    ramp = np.linspace(30_000, 31_000, 24 * 32).reshape(24, 32).astype(np.uint16)
    engine.step(replace(frame(), infrared=ramp))
    alone = engine.show_infrared(ramp // 2 + 15_000)
    assert alone.shape == (24, 32, 3) and alone.dtype == np.uint8
    assert 120 < int(alone[-1].max()) < 136, "half of the range that the pair had"
    np.testing.assert_array_equal(engine.show_infrared(frame().infrared)[..., 1], frame().infrared)
    engine.apply(replace(engine.settings, thermal_min_span=4_000.0))
    assert np.ptp(engine.show_infrared(ramp).astype(int)) == pytest.approx(255 / 4, abs=2)


def test_switching_tasks_builds_each_network_once(probe: type[Probe], weights: str) -> None:
    engine = FusionEngine(EngineSettings(weights=weights, device="cpu"))
    for _ in range(5):
        engine.apply(replace(engine.settings, task=Task.DETECTION))
        assert engine.step(frame()).task is Task.DETECTION
        engine.apply(replace(engine.settings, task=Task.NONE))
        assert engine.step(frame()).task is Task.NONE
    assert probe.built == 1
    assert engine.class_names(Task.DETECTION) == ("thing",) and engine.class_names(Task.NONE) == ()


def test_steps_go_on_while_a_network_is_loaded(
    probe: type[Probe], weights: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    engine = FusionEngine(EngineSettings(weights=weights, device="cpu"))
    loading, loaded = threading.Event(), threading.Event()

    def slow(task: Task, settings: EngineSettings, device: torch.device) -> Probe:
        loading.set()
        assert loaded.wait(20.0)
        return probe()

    monkeypatch.setattr(tasks, "create", slow)
    thread = threading.Thread(target=engine.apply, args=(replace(engine.settings, task=Task.DETECTION),))
    thread.start()
    assert loading.wait(20.0)
    assert engine.step(frame()).task is Task.NONE
    loaded.set()
    thread.join(20.0)
    assert engine.step(frame()).task is Task.DETECTION


def test_other_weights_replace_a_network(probe: type[Probe], weights: str) -> None:
    engine = FusionEngine(EngineSettings(Task.DETECTION, weights=weights, device="cpu"))
    for k in range(3):
        engine.apply(replace(engine.settings, detector_weights=f"{k}.safetensors", saliency_weights=f"{k}.safetensors"))
    engine.apply(replace(engine.settings, saliency_weights="default"))
    assert len(engine._networks) == 1 and probe.built == 4
    engine.close()
    engine.close()


def test_missing_weights_of_a_task_are_explained_by_the_settings_given(
    weights: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("cldyn_core.checkpoint.BUNDLED", tmp_path)
    engine = FusionEngine(EngineSettings(weights=weights, device="cpu"))
    assert engine.available_tasks == (Task.NONE,)
    wanted = replace(engine.settings, task=Task.SALIENCY)
    assert "no weights for the task 'saliency'" in engine.check(wanted) == engine.explain(Task.SALIENCY)
    with pytest.raises(ValueError, match=r"saliency\.weights"):
        engine.apply(wanted)
    wanted = replace(wanted, saliency_weights=str(tmp_path / "none.safetensors"))
    assert engine.check(wanted) == ""
    with pytest.raises(FileNotFoundError, match=r"none\.safetensors"):
        engine.apply(wanted)
    assert engine.settings.task is Task.NONE


def test_thresholds_change_live(probe: type[Probe], weights: str) -> None:
    engine = FusionEngine(EngineSettings(Task.DETECTION, weights=weights, device="cpu"))
    engine.apply(replace(engine.settings, detector_confidence=0.77))
    engine.step(frame())
    network = next(iter(engine._networks.values()))
    assert isinstance(network, Probe) and network.confidence == 0.77 and probe.built == 1


def test_a_failing_task_network_opens_the_loop(probe: type[Probe], weights: str) -> None:
    engine = FusionEngine(EngineSettings(Task.DETECTION, weights=weights, device="cpu"))
    probe.fault = RuntimeError("out of memory")
    broken = engine.step(frame())
    assert broken.error == "detection: RuntimeError: out of memory" and broken.output is None and broken.plan is None
    probe.fault = None
    healed = engine.step(frame())
    assert healed.error == "" and healed.plan is not None


@pytest.mark.parametrize("shape", [(3, 3), (17, 23), (33, 64)])
def test_any_size_and_infrared_of_another_size(shape: tuple, probe: type[Probe], weights: str) -> None:
    engine = FusionEngine(EngineSettings(Task.DETECTION, weights=weights, device="cpu"))
    rng = np.random.default_rng(0)
    for infrared in (rng.integers(0, 256, (20, 11), np.uint8), rng.random((9, 40), np.float32)):
        result = engine.step(FramePair(rng.integers(0, 256, (*shape, 3), np.uint8), infrared))
        assert result.fused.shape == (*shape, 3) and result.fused.dtype == np.uint8


@pytest.mark.parametrize(
    ("change", "text"),
    [
        ({"weights": "other"}, "weights cannot change"),
        ({"device": "cuda"}, "device cannot change"),
        ({"backend": Backend.NATIVE}, "backend cannot change"),
        ({"precision": Precision.INT8}, "precision cannot change"),
        ({"loop_period": 0}, "loop_period is at least 1, not 0"),
        ({"thermal_range": "sometimes"}, "'auto' or 'fixed'"),
        ({"thermal_range": "fixed", "thermal_limits": (5.0, 5.0)}, "must be finite and rise"),
        ({"thermal_range": "fixed", "thermal_limits": (float("-inf"), 5.0)}, "must be finite and rise"),
        ({"thermal_min_span": float("nan")}, "thermal_min_span is finite and not negative"),
        ({"detector_confidence": float("nan")}, "detector_confidence lies in 0..1"),
        ({"detector_iou": -1.0}, "detector_iou lies in 0..1"),
        ({"homography": (1.0,)}, "9 values"),
        ({"calibration": "no/such.yaml"}, r"calibration no/such.yaml: cannot be read: no such file"),
    ],
)
def test_refused_settings_have_a_reason_and_change_nothing(
    change: dict, text: str, probe: type[Probe], weights: str
) -> None:
    engine = FusionEngine(EngineSettings(weights=weights, device="cpu"))
    before = engine.settings
    assert text in engine.check(replace(before, **change))
    with pytest.raises(ValueError, match=text):
        engine.apply(replace(before, **change))
    assert engine.settings == before


def test_a_calibration_takes_the_infrared_image_to_its_pixels(tmp_path: Path, weights: str) -> None:
    """Set while running, as a homography of the same effect: the same fused image."""
    calibration = tmp_path / "pair.yaml"
    sizes = "{image_width: 32, image_height: 24}"
    values = (1.0, 0.0, 5.0, 0.0, 1.0, -3.0, 0.0, 0.0, 1.0)
    calibration.write_text(f"infrared: {sizes}\nvisible: {sizes}\nhomography: {list(values)}\n")
    engine, pair = FusionEngine(EngineSettings(weights=weights, device="cpu")), frame(24, 32)
    plain = engine.step(pair).fused
    engine.apply(replace(engine.settings, calibration=str(calibration)))
    by_file = engine.step(pair).fused
    engine.apply(replace(engine.settings, calibration="", homography=values))
    np.testing.assert_allclose(by_file.astype(int), engine.step(pair).fused, atol=1)
    assert np.abs(by_file.astype(int) - plain).max() > 5
    with pytest.raises(ValueError, match="both given"):
        engine.apply(replace(engine.settings, calibration=str(calibration)))


def test_asking_for_the_misregistration_leaves_the_range_alone_and_a_new_homography_starts_it_anew(
    weights: str,
) -> None:
    asked, other = (FusionEngine(EngineSettings(weights=weights, device="cpu")) for _ in range(2))
    structure = frame(96, 128).infrared
    for k in range(6):
        pair = FramePair(np.repeat(structure[..., None], 3, axis=2), structure.astype(np.uint16) * (20 + k) + 8000)
        np.testing.assert_array_equal(asked.step(pair).fused, other.step(pair).fused)
        shift = asked.misregistration(pair)
    assert shift is not None and shift.length < 0.5
    moved = replace(asked.settings, homography=(1.0, 0.0, 6.0, 0.0, 1.0, 0.0, 0.0, 0.0, 1.0))
    asked.apply(moved)
    found = [asked.misregistration(pair) for _ in range(5)]
    assert found[0] is None and found[4] is not None and found[4].dx == pytest.approx(6.0, abs=0.5)
    asked.apply(replace(moved, loop_period=3))
    assert asked.misregistration(pair) is not None, "another setting is no reason to forget"


def test_what_was_checked_of_a_calibration_is_applied(tmp_path: Path, weights: str) -> None:
    """Its file is read once, and anew when it is set again."""
    file, sizes = tmp_path / "pair.yaml", "{image_width: 32, image_height: 24}"
    good = f"infrared: {sizes}\nvisible: {sizes}\nhomography: [1, 0, 0, 0, 1, 0, 0, 0, 1]\n"
    engine = FusionEngine(EngineSettings(weights=weights, device="cpu"))
    plain, wanted = engine.settings, replace(engine.settings, calibration=str(file))
    file.write_text(good)
    assert engine.check(wanted) == ""
    file.write_text("spoiled")
    engine.apply(wanted)
    engine.apply(plain)
    assert "pair.yaml" in engine.check(wanted)
    with pytest.raises(ValueError, match=r"pair\.yaml"):
        engine.apply(wanted)
    file.write_text(good)
    assert engine.check(wanted) == ""


def test_frames_over_the_limit_are_refused_and_the_engine_goes_on(probe: type[Probe], weights: str) -> None:
    engine = FusionEngine(EngineSettings(weights=weights, device="cpu", max_pixels=1000))
    with pytest.raises(ValueError, match="max_pixels is 1000"):
        engine.step(frame(40, 40))
    assert engine.step(frame(20, 20)).fused.shape == (20, 20, 3)


def test_colors_are_those_of_the_network_s_definition() -> None:
    rng = np.random.default_rng(3)
    image, fused = rng.integers(0, 256, (120, 160, 3), np.uint8), torch.rand(1, 1, 120, 160)
    ycbcr = rgb_to_ycbcr(as_batch(image))
    expected = ycbcr_to_rgb(torch.cat((fused, ycbcr[:, 1:]), dim=1))
    visible = torch.from_numpy(image)
    torch.testing.assert_close(luma(visible), ycbcr[:, :1], rtol=0, atol=1e-6)
    rgb = recolor(fused, visible)
    torch.testing.assert_close(rgb, expected.clamp(0, 1), rtol=0, atol=1e-6)
    assert rgb.is_contiguous() and luma(visible).is_contiguous()
    np.testing.assert_allclose(to_image(rgb), to_image(expected), atol=1)
    assert (to_image(rgb) == to_image(expected)).mean() >= 0.999
    assert (np.abs(to_image(recolor(luma(visible), visible)).astype(int) - image) <= 1).all()


def test_a_backend_that_gives_way_is_named_with_its_reason(weights: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def create(backend: Backend, precision: Precision, model: CLDyN, tables: KernelTables, device: torch.device) -> Any:
        return EagerExecutor(model, tables, device, Precision.FP32), "no int8 here"

    monkeypatch.setattr("cldyn_core.engine.networks.create", create)
    engine = FusionEngine(EngineSettings(weights=weights, device="cpu", precision=Precision.INT8))
    assert re.fullmatch(r"torch .* fp32.* \(no int8 here\)", engine.describe()["backend"])


def test_ablations_without_a_finite_choice_are_refused(tmp_path: Path) -> None:
    save_weights(CLDyN(Architecture(compensation="convolution")), tmp_path / "w.safetensors")
    with pytest.raises(ValueError, match="'convolution'"):
        FusionEngine(EngineSettings(weights=str(tmp_path / "w.safetensors"), device="cpu"))


def test_devices() -> None:
    assert resolve_device("cpu") == torch.device("cpu")
    with pytest.raises(ValueError, match="unknown device 'gpu'"):
        resolve_device("gpu")
    with pytest.raises(ValueError, match="is not there"):
        resolve_device("cuda:99")


def test_missing_weights_are_named() -> None:
    with pytest.raises(FileNotFoundError, match="nowhere"):
        FusionEngine(EngineSettings(weights="nowhere.safetensors", device="cpu"))
