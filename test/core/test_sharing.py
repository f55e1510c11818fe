"""Several streams on one set of networks: what is shared, what is not, and that nobody disturbs or starves another."""

from __future__ import annotations

import gc
import threading
import time
import weakref
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from naive import random_tensors

from cldyn_core import CLDyN, EngineSettings, FramePair, LoopMode, StepResult, Task, save_weights, tasks
from cldyn_core.engine import FusionEngine, NetworkPool
from cldyn_core.engine.turn import Turn
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
    assert found.plan is not None and expected.plan is not None
    assert found.plan.describe() == expected.plan.describe()
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
    assert first._loop._executor is second._loop._executor is not other._loop._executor
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
