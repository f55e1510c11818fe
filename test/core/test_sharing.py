"""Several streams on one set of networks: what is shared, what is not, and that nobody disturbs or starves another."""

from __future__ import annotations

import gc
import threading
import time
import weakref
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from naive import random_tensors

from cldyn_core import CLDyN, EngineSettings, FramePair, LoopMode, StepResult, Task, save_weights, tasks
from cldyn_core.engine import FusionEngine, NetworkPool
from cldyn_core.engine.executors.eager import EagerExecutor
from cldyn_core.engine.turn import Turn
from cldyn_core.tasks.fpn_saliency import FpnSaliency
from cldyn_core.types import Backend, SaliencyMap


@pytest.fixture
def settings(tmp_path: Path) -> EngineSettings:
    save_weights(CLDyN.from_reference(random_tensors(2, 4, seed=9)), tmp_path / "w.safetensors")
    torch.manual_seed(0)
    tasks.save_network(tasks.build("csp-fpn-saliency", ()), tmp_path / "saliency.safetensors", {})
    return EngineSettings(
        Task.SALIENCY,
        LoopMode.STREAM,
        loop_period=3,
        weights=str(tmp_path / "w.safetensors"),
        saliency_weights=str(tmp_path / "saliency.safetensors"),
        device="cpu",
    )


def engines(settings: EngineSettings, count: int) -> list[FusionEngine]:
    pool = NetworkPool()
    return [FusionEngine(settings, shared=pool.networks(settings)) for _ in range(count)]


def clip(seed: int, frames: int = 5, size: tuple[int, int] = (48, 64)) -> list[FramePair]:
    """A drifting scene with 16-bit infrared, so that thermal range and plans depend on the frames before."""
    rng = np.random.default_rng(seed)
    visible, infrared = rng.integers(0, 256, (*size, 3), np.uint8), rng.integers(9000, 9000 + 900 * (seed + 1), size)
    return [FramePair(np.roll(visible, k, 1), (infrared + 40 * k).astype(np.uint16)) for k in range(frames)]


def assert_alike(found: StepResult, expected: StepResult, tolerance: int = 0) -> None:
    assert (found.error, found.plan_age, found.task) == ("", expected.plan_age, expected.task)
    plans = [plan and plan.describe() for plan in (found.plan, expected.plan)]
    assert plans[0] == plans[1] and (plans[0] is None) == (found.mode is LoopMode.OPEN)
    assert isinstance(found.output, SaliencyMap) and isinstance(expected.output, SaliencyMap)
    for a, b in ((found.fused, expected.fused), (found.output.values, expected.output.values)):
        np.testing.assert_allclose(a.astype(int), b, rtol=0, atol=tolerance)


def step_side_by_side(streams: Sequence[FusionEngine], clips: Sequence[Sequence[FramePair]]) -> list[list[StepResult]]:
    """Each stream in a thread of its own, as fast as it can."""
    made: list[list[StepResult]] = [[] for _ in streams]
    threads = [
        threading.Thread(target=lambda i=i: made[i].extend(streams[i].step(pair) for pair in clips[i]))
        for i in range(len(streams))
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60.0)
    return made


def test_networks_are_there_once_and_freed_with_the_last_engine(settings: EngineSettings) -> None:
    pool = NetworkPool()
    first, second = (FusionEngine(settings, shared=pool.networks(settings)) for _ in range(2))
    other = FusionEngine(
        replace(settings, backend=Backend.TORCH), pool.networks(replace(settings, backend=Backend.TORCH))
    )
    alone = FusionEngine(settings)
    networks = [next(iter(engine._networks.values())) for engine in (first, second, other, alone)]
    pointers = [next(network.module.parameters()).data_ptr() for network in networks]
    assert pointers[0] == pointers[1] and len(set(pointers)) == 3
    assert first._shared.executor is second._shared.executor is not other._shared.executor
    assert first._loop is not second._loop and first._thermal is not second._thermal
    watched = weakref.ref(first._shared)
    del networks
    first.close()
    gc.collect()
    assert watched() is not None and second.step(clip(0)[0]).error == ""
    second.close()
    gc.collect()
    assert watched() is None
    assert FusionEngine(settings, shared=pool.networks(settings)).step(clip(0)[0]).error == ""


def test_a_weight_file_that_was_written_anew_is_loaded_anew(settings: EngineSettings) -> None:
    pool = NetworkPool()
    old = FusionEngine(settings, shared=pool.networks(settings))
    save_weights(CLDyN.from_reference(random_tensors(2, 4, seed=3)), Path(settings.weights))
    new = FusionEngine(settings, shared=pool.networks(settings))
    assert np.abs(old.step(clip(0)[0]).fused.astype(int) - new.step(clip(0)[0]).fused).max() > 2


@pytest.mark.parametrize("backend", [Backend.AUTO, Backend.TORCH])
def test_streams_side_by_side_give_what_each_gives_alone(backend: Backend, settings: EngineSettings) -> None:
    """Sizes differ, so that a buffer of one stream that another one had changed would show."""
    settings = replace(settings, backend=backend)
    clips = [clip(0), clip(1, size=(40, 56)), clip(2)]
    expected = []
    for pairs in clips:
        alone = FusionEngine(settings)
        expected.append([alone.step(pair) for pair in pairs])
    for found, wanted in zip(step_side_by_side(engines(settings, 3), clips), expected, strict=True):
        assert len(found) == len(wanted)
        for a, b in zip(found, wanted, strict=True):
            assert_alike(a, b)


def test_settings_of_a_stream_are_its_own(settings: EngineSettings) -> None:
    first, second = engines(settings, 2)
    first.apply(replace(settings, task=Task.NONE, thermal_range="fixed", thermal_limits=(0.0, 60_000.0)))
    results = first.step(clip(0)[0]), second.step(clip(0)[0])
    assert [result.task for result in results] == [Task.NONE, Task.SALIENCY]
    assert results[0].fused.mean() < results[1].fused.mean() - 5


def step_together(streams: Sequence[FusionEngine], pairs: Sequence[FramePair]) -> list[StepResult]:
    """One frame of each, all waiting before the first one runs."""
    made: dict[int, StepResult] = {}

    def step(i: int) -> None:
        made[i] = streams[i].step(pairs[i])

    threads = [threading.Thread(target=step, args=(i,)) for i in range(len(streams))]
    shared = streams[0]._shared
    with shared.turn:
        for count, thread in enumerate(threads, 1):
            thread.start()
            while len(shared.batcher._waiting) < count:
                time.sleep(0.001)
    for thread in threads:
        thread.join(60.0)
    return [made[i] for i in range(len(streams))]


@pytest.fixture
def batches(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, int]]:
    """Every pass, and over how many images."""
    seen: list[tuple[str, int]] = []
    for owner, name in ((EagerExecutor, "encode"), (EagerExecutor, "finish"), (FpnSaliency, "answer")):
        original = getattr(owner, name)

        def watch(self: Any, x: Any, *rest: Any, name: str = name, original: Any = original) -> Any:
            seen.append((name, len(x.visible if name == "finish" else x)))
            return original(self, x, *rest)

        monkeypatch.setattr(owner, name, watch)
    return seen


@pytest.mark.parametrize("mode", LoopMode)
def test_a_batch_gives_what_single_steps_give(
    mode: LoopMode, settings: EngineSettings, batches: list[tuple[str, int]]
) -> None:
    settings = replace(settings, loop_mode=mode, backend=Backend.TORCH, max_batch=4)
    streams, alone = engines(settings, 3), [FusionEngine(settings) for _ in range(3)]
    alone[2].step(clip(2)[0])
    streams[2].step(clip(2)[0])  # its plan is a frame older: frames that plan and frames that hold a plan together
    for pairs in zip(*map(clip, range(3)), strict=True):
        expected = [engine.step(pair) for engine, pair in zip(alone, pairs, strict=True)]
        batches.clear()
        for found, wanted in zip(step_together(streams, pairs), expected, strict=True):
            assert_alike(found, wanted, tolerance=1)
        assert batches[0] == ("encode", 3)
    assert ("finish", 3) in batches  # of the last frame, when all hold a plan
    assert (("answer", 3) in batches) == (mode is LoopMode.STREAM)


def test_only_frames_of_one_size_and_one_task_and_threshold_are_a_batch(
    settings: EngineSettings, batches: list[tuple[str, int]]
) -> None:
    settings = replace(settings, backend=Backend.TORCH, max_batch=2)
    streams = engines(settings, 6)
    streams[1].apply(replace(settings, detector_confidence=0.5))
    streams[2].apply(replace(settings, task=Task.NONE))
    streams[3].apply(replace(settings, homography=(1.0, 0.0, 2.0, 0.0, 1.0, 0.0, 0.0, 0.0, 1.0)))
    pairs = [clip(k, size=(40, 56) if k == 5 else (48, 64))[0] for k in range(6)]
    results = step_together(streams, pairs)
    assert [count for name, count in batches if name == "encode"] == [2, 1, 1, 1, 1]  # 0 and 3; 4 is one too many
    assert [result.fused.shape[0] for result in results] == [48] * 5 + [40]
    assert results[2].output is None and all(r.output is not None for k, r in enumerate(results) if k != 2)


def test_a_fault_in_a_batch_hits_who_has_it(settings: EngineSettings, monkeypatch: pytest.MonkeyPatch) -> None:
    answer = FpnSaliency.answer

    def picky(self: FpnSaliency, image: torch.Tensor) -> Any:
        if (image.std((1, 2, 3)) < 0.01).any():
            raise RuntimeError("too plain")
        return answer(self, image)

    monkeypatch.setattr(FpnSaliency, "answer", picky)
    streams = engines(replace(settings, backend=Backend.TORCH, max_batch=3), 3)
    white = FramePair(np.full((48, 64, 3), 255, np.uint8), np.full((48, 64), 255, np.uint8))
    results = step_together(streams, [clip(0)[0], white, clip(2)[0]])
    assert [result.error for result in results] == ["", "saliency: RuntimeError: too plain", ""]
    assert all(result.fused.shape == (48, 64, 3) for result in results)
    with pytest.raises(ValueError, match="at least 3x3"):
        streams[0].step(FramePair(np.zeros((2, 2, 3), np.uint8), np.zeros((2, 2), np.uint8)))
    assert streams[0].step(clip(0)[0]).error == ""


def test_turns_are_given_in_order_and_a_holder_may_ask_again() -> None:
    turn = Turn()
    order: list[str] = []

    def worker(name: str) -> None:
        with turn, turn:
            order.append(name)

    threads = [threading.Thread(target=worker, args=(name,)) for name in "abcd"]
    with turn:
        for count, thread in enumerate(threads, 1):
            thread.start()
            while len(turn._waiting) < count:
                time.sleep(0.001)
        with turn:
            assert order == []
    for thread in threads:
        thread.join(10.0)
    with turn:
        assert order == list("abcd")
