"""Stream mode: one pass a frame while a plan is held, and when it is made anew."""

from __future__ import annotations

import gc
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from naive import random_tensors

from cldyn_core import CLDyN, EngineSettings, FramePair, LoopMode, StepResult, Task, save_weights, tasks
from cldyn_core.engine import FusionEngine
from cldyn_core.engine.executors.eager import EagerExecutor
from cldyn_core.engine.planner import Planner
from cldyn_core.tasks.base import Answer, TaskNetwork
from cldyn_core.types import Backend, Detections, LabelMap, SaliencyMap

HELD = ["prepare", "encode", "execute", "task", "finish"]
ANEW = ["prepare", "encode", "plan", "execute", "task", "finish"]
AT_ONCE = ["prepare", "encode", "first_pass", "requirement", "plan", "execute", "task", "finish"]


class Watcher(TaskNetwork):
    """A task network whose feature is the image itself, and that can fail."""

    kind = "watcher"
    fault: Exception | None = None

    def __init__(self, model: str = "watcher", names: Sequence[str] = ()) -> None:
        self.model, self.names, self.module, self.seen = model, (), torch.nn.Identity(), []

    @classmethod
    def models(cls) -> tuple[str, ...]:
        return ("watcher",)

    def feature(self, image: torch.Tensor) -> torch.Tensor:
        if self.fault:
            raise self.fault
        self.seen.append(image.clone())
        return image - 0.5

    def losses(self, image: torch.Tensor, targets: Sequence[Any]) -> torch.Tensor:
        return image.mean((1, 2, 3))

    def predict(self, image: torch.Tensor) -> list:
        return [SaliencyMap((255 * image[0, 0]).byte().numpy())]


class DetectionWatcher(Watcher):
    task = Task.DETECTION


class SaliencyWatcher(Watcher):
    task = Task.SALIENCY


@pytest.fixture(autouse=True)
def watchers(monkeypatch: pytest.MonkeyPatch) -> type[Watcher]:
    classes = {Task.DETECTION: DetectionWatcher, Task.SALIENCY: SaliencyWatcher}
    monkeypatch.setattr(tasks, "explain", lambda task, settings=None: "")
    monkeypatch.setattr(tasks, "create", lambda task, settings, device: classes[task]())
    monkeypatch.setattr("cldyn_core.engine.engine.describe_weights", lambda path: path.name)
    Watcher.fault = None
    return Watcher


@pytest.fixture
def counted(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The work of the engine in its order."""
    done: list[str] = []
    for owner, name in ((EagerExecutor, "encode"), (EagerExecutor, "finish"), (Planner, "plan")):
        original = getattr(owner, name)

        def count(self: Any, *args: Any, name: str = name, original: Any = original) -> Any:
            done.append(name)
            return original(self, *args)

        monkeypatch.setattr(owner, name, count)
    return done


@pytest.fixture
def weights(tmp_path: Path) -> str:
    save_weights(CLDyN.from_reference(random_tensors(2, 4, seed=9)), tmp_path / "w.safetensors")
    return str(tmp_path / "w.safetensors")


def make_engine(weights: str, task: Task = Task.DETECTION, period: int = 4, **changes: Any) -> FusionEngine:
    settings = EngineSettings(task, LoopMode.STREAM, period, weights=weights, device="cpu", **changes)
    return FusionEngine(settings)


def scene(seed: int = 0) -> FramePair:
    rng = np.random.default_rng(seed)
    return FramePair(rng.integers(0, 256, (24, 32, 3), np.uint8), rng.integers(0, 256, (24, 32), np.uint8))


def dimmed(pair: FramePair, gain: float) -> FramePair:
    return FramePair((gain * pair.visible).astype(np.uint8), (gain * pair.infrared).astype(np.uint8))


def stages(result: StepResult) -> list[str]:
    return list(result.timings_ms)


def test_the_age_rises_to_the_period_and_each_frame_does_only_its_work(weights: str, counted: list[str]) -> None:
    engine, work = make_engine(weights, backend=Backend.TORCH), []
    results = []
    for _ in range(9):
        counted.clear()
        results.append(engine.step(scene()))
        work.append(" ".join(counted))
    assert [result.plan_age for result in results] == [0, 1, 2, 3, 0, 1, 2, 3, 0]
    assert [stages(result) for result in results] == [AT_ONCE, HELD, HELD, HELD, ANEW, HELD, HELD, HELD, ANEW]
    held, anew = "encode finish", "encode plan finish"
    assert work == ["encode finish plan finish", held, held, held, anew, held, held, held, anew]
    assert all(result.plan == results[0].plan for result in results[:4])
    assert all(result.mode is LoopMode.STREAM and not result.error for result in results)


def test_the_first_frame_is_the_exact_one_and_the_next_have_its_plan(weights: str) -> None:
    engine, exact = make_engine(weights), make_engine(weights)
    exact.apply(replace(exact.settings, loop_mode=LoopMode.EXACT))
    expected = exact.step(scene())
    for _ in range(3):
        result = engine.step(scene())
        np.testing.assert_array_equal(result.fused, expected.fused)
        assert result.plan is not None and expected.plan is not None
        assert result.plan.describe() == expected.plan.describe()


def test_anew_is_by_the_last_compensated_image_and_this_frame(weights: str, monkeypatch: pytest.MonkeyPatch) -> None:
    engine, given = make_engine(weights, period=2), []
    original = Planner.plan

    def plan(self: Any, encoded: Any, feature: torch.Tensor, task: Task) -> Any:
        given.append((encoded.visible.clone(), feature.clone()))
        return original(self, encoded, feature, task)

    monkeypatch.setattr(Planner, "plan", plan)
    for gain in (1.0, 0.9, 0.8):
        result = engine.step(dimmed(scene(), gain))
    assert result.plan_age == 0
    network = next(iter(engine._networks.values()))
    assert isinstance(network, Watcher)
    first, *compensated = network.seen
    assert len(given) == 2 and len(compensated) == 3
    torch.testing.assert_close(given[0][1], first - 0.5)
    torch.testing.assert_close(given[1][1], compensated[1] - 0.5)  # of the frame before
    assert not torch.equal(given[0][0], given[1][0])


def test_another_scene_is_planned_at_once(weights: str) -> None:
    engine = make_engine(weights, period=100)
    assert [engine.step(scene(seed)).plan_age for seed in (0, 0, 0, 1, 1, 0)] == [0, 1, 2, 0, 1, 0]
    assert stages(engine.step(scene(5))) == AT_ONCE


def test_a_task_comes_back_to_its_plan_while_it_is_fresh(weights: str) -> None:
    engine = make_engine(weights, period=6)

    def steps(task: Task, count: int) -> list[tuple[int, bool]]:
        engine.apply(replace(engine.settings, task=task))
        results = [engine.step(scene()) for _ in range(count)]
        return [(result.plan_age, stages(result) == AT_ONCE) for result in results]

    assert steps(Task.DETECTION, 2) == [(0, True), (1, False)]
    assert steps(Task.SALIENCY, 2) == [(0, True), (1, False)]
    assert steps(Task.DETECTION, 1) == [(4, False)]
    engine.apply(replace(engine.settings, task=Task.NONE))
    nothing = engine.step(scene())
    assert (
        nothing.plan is None
        and nothing.plan_age == 0
        and stages(nothing) == ["prepare", "encode", "first_pass", "finish"]
    )
    assert steps(Task.SALIENCY, 2) == [(4, False), (5, False)]
    assert steps(Task.DETECTION, 1) == [(0, True)]  # 8 frames old, and its feature too


def test_a_cut_makes_the_plans_of_all_tasks_old(weights: str) -> None:
    engine = make_engine(weights, period=100)
    engine.step(scene())
    engine.apply(replace(engine.settings, task=Task.SALIENCY))
    engine.step(scene(1))
    engine.apply(replace(engine.settings, task=Task.DETECTION))
    assert stages(engine.step(scene(1))) == AT_ONCE


def test_the_period_changes_live(weights: str) -> None:
    engine = make_engine(weights, period=100)
    assert [engine.step(scene()).plan_age for _ in range(4)] == [0, 1, 2, 3]
    engine.apply(replace(engine.settings, loop_period=2))
    assert [engine.step(scene()).plan_age for _ in range(4)] == [0, 1, 0, 1]
    engine.apply(replace(engine.settings, loop_period=1))
    results = [engine.step(scene()) for _ in range(3)]
    assert [(result.plan_age, stages(result)) for result in results] == [(0, ANEW)] * 3


@pytest.mark.parametrize("between", [LoopMode.OPEN, LoopMode.EXACT])
def test_another_mode_forgets_the_plan(weights: str, between: LoopMode) -> None:
    engine = make_engine(weights, period=100)
    engine.step(scene())
    engine.apply(replace(engine.settings, loop_mode=between))
    result = engine.step(scene())
    assert result.plan_age == 0 and (result.plan is None) == (between is LoopMode.OPEN)
    engine.apply(replace(engine.settings, loop_mode=LoopMode.STREAM))
    assert stages(engine.step(scene())) == AT_ONCE


@pytest.mark.parametrize("frames_before", [0, 1, 4])
def test_a_failing_network_opens_the_loop_and_its_plan_is_forgotten(weights: str, frames_before: int) -> None:
    engine, opened = make_engine(weights), make_engine(weights, Task.NONE)
    for _ in range(frames_before):
        engine.step(scene())
    Watcher.fault = RuntimeError("out of memory")
    broken = engine.step(scene())
    assert broken.error == "detection: RuntimeError: out of memory"
    assert broken.plan is None and broken.output is None and broken.plan_age == 0
    np.testing.assert_array_equal(broken.fused, opened.step(scene()).fused)
    Watcher.fault = None
    assert stages(engine.step(scene())) == AT_ONCE


def test_nothing_grows(weights: str) -> None:
    engine = make_engine(weights, period=3)
    for k in range(30):
        task = Task.DETECTION if k % 4 < 2 else Task.SALIENCY
        engine.apply(replace(engine.settings, task=task, detector_weights=f"{k}.safetensors"))
        engine.step(scene(k % 5))
        engine.step(scene(k % 5))
    gc.collect()
    assert len(engine._networks) == 2 and len(engine._loop._held) <= 2


def test_without_injection_plans_are_made_all_the_same(tmp_path: Path) -> None:
    model = CLDyN.from_reference(random_tensors(2, 4, seed=9))
    for rsc in (model.rsc_ir, model.rsc_vi):
        torch.nn.init.zeros_(rsc.blocks[0].zero_conv.weight)
        torch.nn.init.zeros_(rsc.blocks[0].zero_conv.bias)
    save_weights(model, tmp_path / "w.safetensors")
    engine, opened = (
        make_engine(str(tmp_path / "w.safetensors")),
        make_engine(str(tmp_path / "w.safetensors"), Task.NONE),
    )
    for mode in (LoopMode.STREAM, LoopMode.EXACT):
        engine.apply(replace(engine.settings, loop_mode=mode))
        result = engine.step(scene())
        assert result.plan is not None and "vi0" in result.plan.describe()
        np.testing.assert_array_equal(result.fused, opened.step(scene()).fused)


@pytest.mark.parametrize("model", ["yolov5n", "yolo11n", "segformer-b0", "ctdnet-small", "rtdetr-r18", "detr-r18"])
def test_the_answer_is_one_pass(model: str) -> None:
    torch.manual_seed(1)
    try:
        network = tasks.build(model, ("one", "two"))
    except ValueError as error:
        pytest.skip(str(error))
    network.module.eval()
    network.configure(EngineSettings(detector_confidence=1e-6))
    first = next(m for m in network.module.modules() if not list(m.children()) and list(m.parameters()))
    passes: list[int] = []
    first.register_forward_hook(lambda *_: passes.append(1))
    image = torch.rand(1, 3, 70, 90)
    with torch.inference_mode():
        answer = network.answer(image)
        assert len(passes) == 1
        feature, outputs = network.feature(image), network.predict(image)
    assert isinstance(answer, Answer)
    torch.testing.assert_close(answer.feature, feature)
    assert len(answer.outputs) == len(outputs) == 1
    assert_same(answer.outputs[0], outputs[0])


def assert_same(answered: Any, predicted: Any) -> None:
    assert type(answered) is type(predicted)
    if isinstance(predicted, Detections):
        assert len(predicted.boxes) > 0
        np.testing.assert_allclose(answered.boxes, predicted.boxes, rtol=1e-5)
        np.testing.assert_allclose(answered.scores, predicted.scores, rtol=1e-5)
        np.testing.assert_array_equal(answered.labels, predicted.labels)
    elif isinstance(predicted, LabelMap):
        np.testing.assert_array_equal(answered.classes, predicted.classes)
    else:
        np.testing.assert_array_equal(answered.values, predicted.values)
