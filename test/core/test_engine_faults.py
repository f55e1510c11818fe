"""What the engine does when a network fails, runs out of memory or gives values that are none."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from naive import random_tensors

from cldyn_core import CLDyN, EngineSettings, FramePair, LoopMode, Task, save_weights, tasks
from cldyn_core.engine import FusionEngine
from cldyn_core.engine.backoff import BackOff
from cldyn_core.engine.memory import ran_out
from cldyn_core.tasks.base import TaskNetwork
from cldyn_core.tasks.saliency import to_maps
from cldyn_core.tasks.semantic import SemanticNetwork


class Clock:
    now = 1000.0

    def __call__(self) -> float:
        return self.now


class Watcher(TaskNetwork):
    """A task network that fails as it is told, and counts how often it is asked."""

    task, kind, names, module = Task.SALIENCY, "watcher", (), torch.nn.Identity()

    def __init__(self, model: str = "", names: Sequence[str] = ()) -> None:
        self.fault: Exception | None = None
        self.feature_value, self.tries = 0.5, 0

    @classmethod
    def models(cls) -> tuple[str, ...]:
        return ("watcher",)

    def feature(self, image: torch.Tensor) -> torch.Tensor:
        self.tries += 1
        if self.fault:
            raise self.fault
        return image * self.feature_value

    def losses(self, image: torch.Tensor, targets: Sequence[Any]) -> torch.Tensor:
        return image.mean((1, 2, 3))

    def predict(self, image: torch.Tensor) -> list:
        return to_maps(image.mean(1, keepdim=True))


Made = tuple[FusionEngine, Watcher, Clock]


@pytest.fixture
def make(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Made]:
    save_weights(CLDyN.from_reference(random_tensors(2, 4, seed=9)), tmp_path / "w.safetensors")
    watcher, clock = Watcher(), Clock()
    monkeypatch.setattr(tasks, "explain", lambda task, settings=None: "")
    monkeypatch.setattr(tasks, "create", lambda task, settings, device: watcher)
    monkeypatch.setattr("cldyn_core.engine.engine.describe_weights", lambda path: path.name)

    def made(mode: LoopMode = LoopMode.EXACT, task: Task = Task.SALIENCY, pause_s: float = 1.0) -> Made:
        settings = EngineSettings(task, mode, weights=str(tmp_path / "w.safetensors"), device="cpu")
        return FusionEngine(settings, pause_s, clock), watcher, clock

    return made


def pair(height: int = 24, width: int = 32) -> FramePair:
    rng = np.random.default_rng(0)
    shape = (height, width)
    return FramePair(rng.integers(0, 256, (*shape, 3), np.uint8), rng.integers(0, 256, shape, np.uint8))


def test_pauses_double_up_to_a_minute_and_begin_again_after_a_success() -> None:
    clock = Clock()
    rest, pauses = BackOff(clock=clock), []
    assert rest.resting("a") == ""
    for _ in range(9):
        assert rest.failed("broken", "a").startswith("broken; tried again in ")
        started = clock.now
        while rest.resting("a"):
            clock.now += 0.5
        pauses.append(clock.now - started)
    assert pauses == [1, 2, 4, 8, 16, 32, 60, 60, 60]
    rest.failed("broken", "a")
    assert rest.resting("a") and not rest.resting("b")
    assert rest.failed("also broken", "b") == "also broken; tried again in 1.0 s"
    rest.succeeded()
    assert not rest.resting("b")
    assert rest.failed("broken", "b").endswith("in 1.0 s")
    without = BackOff(first_s=0.0, clock=clock)
    assert [without.failed("broken", 1), without.failed("broken", 1), without.resting(1)] == ["broken", "broken", ""]


@pytest.mark.parametrize("mode", list(LoopMode))
def test_a_task_network_that_fails_rests_and_the_result_says_so(make: Callable[..., Made], mode: LoopMode) -> None:
    engine, watcher, clock = make(mode)
    opened = make(task=Task.NONE)[0].step(pair()).fused
    assert engine.step(pair()).mode is mode
    watcher.fault, watcher.tries = torch.OutOfMemoryError("CUDA out of memory"), 0
    if mode is LoopMode.OPEN:
        watcher.predict = watcher.feature  # type: ignore[method-assign]
    errors = []
    for _ in range(35):  # of a tenth of a second
        result = engine.step(pair())
        assert (result.mode, result.plan, result.output, result.plan_age) == (LoopMode.OPEN, None, None, 0)
        np.testing.assert_array_equal(result.fused, opened)
        errors.append(result.error)
        clock.now += 0.1
    assert watcher.tries == 3, "at 0, 1 and 3 s"
    assert errors[0] == "saliency: OutOfMemoryError: CUDA out of memory; tried again in 1.0 s"
    assert errors[1].endswith("tried again in 0.9 s") and errors[-1].endswith("tried again in 3.6 s")
    engine.apply(replace(engine.settings, detector_iou=0.4))
    assert engine.step(pair()).error.endswith("in 1.0 s") and watcher.tries == 4, "another parameter: at once"
    assert engine.step(pair(24, 40)).error.endswith("in 1.0 s") and watcher.tries == 5, "another size: at once"
    watcher.fault = None
    clock.now += 2
    healed = engine.step(pair(24, 40))
    assert healed.error == "" and healed.mode is mode


def test_offline_every_frame_is_a_try(make: Callable[..., Made]) -> None:
    engine, watcher, _ = make(pause_s=0.0)
    watcher.fault = RuntimeError("broken")
    assert [engine.step(pair()).error for _ in range(3)] == ["saliency: RuntimeError: broken"] * 3
    assert watcher.tries == 3


@pytest.mark.parametrize("mode", [LoopMode.EXACT, LoopMode.STREAM])
def test_nothing_that_is_no_number_is_planned_or_answered(make: Callable[..., Made], mode: LoopMode) -> None:
    engine, watcher, _ = make(mode, pause_s=0.0)
    watcher.feature_value = float("nan")
    assert "the task network's feature has NaN or infinite values" in engine.step(pair()).error
    watcher.feature_value = 0.5
    assert engine.step(pair()).error == ""
    watcher.feature_value = float("inf")
    assert engine.step(pair()).error, "also where a plan is held"
    watcher.feature_value = 0.5
    watcher.predict = lambda image: to_maps(image[:, :1] * float("nan"))  # type: ignore[method-assign]
    result = engine.step(pair())
    assert "the saliency map has NaN" in result.error and result.output is None and result.mode is LoopMode.OPEN


def test_a_fused_image_that_is_no_image_does_not_go_out(
    make: Callable[..., Made], monkeypatch: pytest.MonkeyPatch
) -> None:
    engine, _, _ = make()
    expected = make(task=Task.NONE)[0].step(pair()).fused
    finish = engine._shared.executor.finish
    only_compensated = True

    def broken(encoded: Any, kernels: Any) -> torch.Tensor:
        luma = finish(encoded, kernels)
        return luma * float("nan") if kernels is not None or not only_compensated else luma

    monkeypatch.setattr(engine._shared.executor, "finish", broken)
    result = engine.step(pair())
    assert "the fused image has NaN or infinite values" in result.error and result.mode is LoopMode.OPEN
    np.testing.assert_array_equal(result.fused, expected)
    only_compensated = False
    with pytest.raises(FloatingPointError, match="the fused image has NaN"):
        engine.step(pair())


def test_a_fusion_without_memory_is_refused_and_tried_again(
    make: Callable[..., Made], monkeypatch: pytest.MonkeyPatch
) -> None:
    engine, _, clock = make()
    encode, tries = engine._shared.executor.encode, []

    def broken(infrared: torch.Tensor, luma: torch.Tensor) -> Any:
        tries.append(luma.shape)
        if luma.shape[3] > 50:
            raise MemoryError
        if luma.shape[3] > 40:
            raise RuntimeError("[enforce fail at alloc_cpu.cpp:127] DefaultCPUAllocator: can't allocate memory\nmore")
        return encode(infrared, luma)

    monkeypatch.setattr(engine._shared.executor, "encode", broken)
    for _ in range(35):
        with pytest.raises(MemoryError, match=r"not enough memory on cpu to fuse a visible image of 48x24: .*max_pix"):
            engine.step(pair(24, 48))
        clock.now += 0.1
    assert len(tries) == 3, "at 0, 1 and 3 s"
    assert engine.step(pair(24, 40)).error == "", "another size: at once"
    for width, text in ((48, "can't allocate memory"), (60, "MemoryError: ")):
        with pytest.raises(MemoryError, match=rf"{text}\); tried again in 1\.0 s"):
            engine.step(pair(24, width))


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (MemoryError(), True),
        (torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2 GiB"), True),
        (RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 8 bytes"), True),
        (RuntimeError("CUDA error: out of memory"), True),
        (Exception("OpenCV(4.13) alloc.cpp:73: error: (-4:Insufficient memory) Failed to allocate 9 bytes"), True),
        (RuntimeError("std::bad_alloc"), True),
        (RuntimeError("bad allocation"), True),
        (RuntimeError("the size of tensor a (3) must match"), False),
        (ValueError("unknown device"), False),
    ],
)
def test_memory_that_ran_out_is_recognized(error: Exception, expected: bool) -> None:
    assert ran_out(error) is expected


def test_answers_of_segmentation_are_numbers_too() -> None:
    likeliest, network = SemanticNetwork._likeliest, SimpleNamespace(names=("one", "two"))
    assert likeliest(network, torch.zeros(1, 2, 4, 4))[0].classes.shape == (4, 4)  # type: ignore[arg-type]
    with pytest.raises(FloatingPointError, match="the segmentation has NaN"):
        likeliest(network, torch.full((1, 2, 4, 4), float("nan")))  # type: ignore[arg-type]


LIMITED = """
import resource, sys
import numpy as np
from cldyn_core import EngineSettings, FramePair
from cldyn_core.engine import FusionEngine
from cldyn_core.types import Backend

def pair(height, width):
    return FramePair(np.full((height, width, 3), 90, np.uint8), np.full((height, width), 90, np.uint8))

engine = FusionEngine(EngineSettings(device="cpu", backend=Backend(sys.argv[1]), max_pixels=1 << 28))
first = engine.step(pair(48, 64)).fused
large = pair(4320, 7680)
used = int(open("/proc/self/statm").read().split()[0]) * resource.getpagesize()
resource.setrlimit(resource.RLIMIT_AS, (used + 400_000_000, -1))
for _ in range(2):
    try:
        engine.step(large)
        print("fused")
    except MemoryError as error:
        print(error)
    print((engine.step(pair(48, 64)).fused == first).all())
"""


@pytest.mark.parametrize("backend", ["native", "torch"])
def test_8k_in_too_little_memory_is_survived(backend: str) -> None:
    """Memory that really runs out: the process may take 400 MB more, the image needs many times that."""
    command = [sys.executable, "-c", LIMITED, backend]
    done = subprocess.run(command, capture_output=True, text=True, timeout=100, check=False)
    assert done.returncode == 0, done.stderr
    first, *others = done.stdout.splitlines()
    assert "not enough memory on cpu to fuse a visible image of 7680x4320: use smaller images" in first
    assert others[0] == others[2] == "True", others
    assert "7680x4320: use smaller images" in others[1]
