"""What is compared, each in a process of its own: the paper's order, and the engine with one backend and precision."""

from __future__ import annotations

import array
import statistics
import time
from abc import ABC, abstractmethod
from collections import defaultdict
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

import torch
from numpy.typing import NDArray
from torch import Tensor

from cldyn_core import tasks
from cldyn_core.bench.floor import multiply_adds
from cldyn_core.bench.laps import FUSION, LOOP, MODES, Job, Lap, UnavailableError
from cldyn_core.bench.machine import Probe
from cldyn_core.bench.reference_loop import reference_frame
from cldyn_core.bench.subject import fixed_feature, rendered_pair
from cldyn_core.checkpoint import load_weights
from cldyn_core.engine import FusionEngine
from cldyn_core.engine.allocator import keep_freed_memory
from cldyn_core.engine.clock import StageClock
from cldyn_core.engine.colors import luma, to_image
from cldyn_core.engine.executors.choose import create
from cldyn_core.engine.kernels import KernelTables
from cldyn_core.engine.planner import Planner
from cldyn_core.engine.selection import Selection, fastest_describer
from cldyn_core.types import Backend, EngineSettings, LoopMode, Precision, Task, as_batch

_STAGES = {  # the engine's names -> those of the tables
    "prepare": "convert",
    "encode": "execute",
    "first_pass": "execute",
    "requirement": "task",
    "finish": "convert",
}
_TURN_SECONDS, _TURN_FRAMES = 0.15, 4  # how long a way has its turn


class Side(ABC):
    """One of the compared programs."""

    def __init__(self, job: Job) -> None:
        self.job = job
        self.device = torch.device(job.device)
        self.pair = rendered_pair(job.width, job.height)
        self.model = load_weights(job.weights).to(self.device)
        self.feature = fixed_feature(job.width, job.height).to(self.device)

    @abstractmethod
    def turn(self) -> list[Lap]:
        """Some frames of each way."""

    def facts(self) -> dict[str, Any]:
        """What ran, for the record."""
        return {}


class ReferenceSide(Side):
    """The paper's order. Its process keeps glibc's own ways of allocating."""

    def __init__(self, job: Job) -> None:
        super().__init__(job)
        self._network = None
        if job.task is not Task.NONE:
            self._network = tasks.create(job.task, EngineSettings(), self.device)

    @torch.inference_mode()
    def turn(self) -> list[Lap]:
        """One frame; fusion alone is what the passes of the loop took, and its first pass by itself."""
        network = self._network
        clock = StageClock(self.device)
        visible, infrared = as_batch(self.pair.visible, self.device), as_batch(self.pair.infrared, self.device)
        first_pass: dict[str, float] = {}

        def requirement(image: Tensor) -> Tensor:
            first_pass["execute"] = clock.laps_ms["execute"]
            return network.feature(image) if network else self.feature

        frame = reference_frame(self.model, visible, infrared, requirement, clock.lap)
        laps = [_lap(FUSION, "reference", {stage: clock.laps_ms[stage] for stage in ("plan", "execute")})]
        laps.append(_lap(FUSION, "first_pass", first_pass))
        if network:
            network.predict(frame.fused.clamp(0, 1))
            clock.lap("task")
            image = to_image(frame.fused)
            clock.lap("convert")
            to_message(image)
            clock.lap("publish")
            laps.append(_lap(LOOP, "reference", clock.laps_ms))
        return laps


class EngineSide(Side):
    """The project's engine with one backend. Raises UnavailableError when another one would take its place."""

    def __init__(self, job: Job) -> None:
        super().__init__(job)
        keep_freed_memory()  # as the engine does
        self._tables = KernelTables(self.model)
        self._executor, why = create(job.backend, job.precision, self.model, self._tables, self.device)
        if job.backend not in (Backend.AUTO, self._executor.backend) or job.precision not in (
            Precision.AUTO,
            self._executor.precision,
        ):
            raise UnavailableError(why)
        if job.task is not Task.NONE:
            self._engine = FusionEngine(_settings(job))
        self._planner = Planner(self.model, self._tables, Selection(fastest_describer(self.device)))
        visible = torch.from_numpy(self.pair.visible).to(self.device)
        self._images = as_batch(self.pair.infrared, self.device), luma(visible)
        with torch.inference_mode():
            self._plan = self._planner.plan(self._executor.encode(*self._images), self.feature)
        self._kernels = self._tables.look_up(self._plan)

    @torch.inference_mode()
    def turn(self) -> list[Lap]:
        """Fusion alone in each way, then the whole loop."""
        laps = [_middle(lambda way=way: self._fuse(way)) for way in self.job.ways]  # type: ignore[misc]
        if self.job.task is not Task.NONE:
            laps += [self._loop(way) for way in self.job.ways]
        return laps

    def facts(self) -> dict[str, Any]:
        """See Side.facts."""
        executor = self._executor
        return {
            "backend": executor.backend.value,
            "precision": executor.precision.value,
            "describe": executor.describe(),
            "multiply_adds": {
                "open": multiply_adds(self.model.vfn, None),
                "stream_held": multiply_adds(self.model.vfn, self._plan),
            },
        }

    def _fuse(self, way: str) -> Lap:
        executor, kernels = self._executor, self._kernels if way == "stream_held" else None
        clock = StageClock(self.device)
        encoded = executor.encode(*self._images)
        if way == "exact":
            executor.finish(encoded, None)
        clock.lap("execute")
        if way in ("exact", "stream_made"):
            kernels = self._tables.look_up(self._planner.plan(encoded, self.feature))
            clock.lap("plan")
        executor.finish(encoded, kernels)
        clock.lap("execute")
        return _lap(FUSION, way, clock.laps_ms)

    def _loop(self, way: str) -> Lap:
        mode, period = MODES[way]
        before = self._engine.settings
        self._engine.apply(replace(before, loop_mode=mode, loop_period=period))
        if mode is LoopMode.STREAM and before.loop_mode is not mode:
            self._engine.step(self.pair)  # the first frame of a stream is planned at once, as exact plans
        return _middle(lambda: self._step(way))

    def _step(self, way: str) -> Lap:
        start = time.perf_counter()
        result = self._engine.step(self.pair)
        stepped = time.perf_counter()
        to_message(result.fused)
        done = time.perf_counter()
        if result.error:
            raise RuntimeError(f"the task network failed: {result.error}")
        stages: dict[str, float] = defaultdict(float)
        for name, value in result.timings_ms.items():
            stages[_STAGES.get(name, name)] += value
        stages["publish"] = 1e3 * (done - stepped)
        return Lap(LOOP, way, 1e3 * (done - start), dict(stages))


class ProbeSide:
    """The machine itself."""

    def __init__(self, job: Job) -> None:
        self._probe = Probe(torch.device(job.device))

    def turn(self) -> dict[str, float]:
        """See Probe.rates."""
        return self._probe.rates()

    def facts(self) -> dict[str, Any]:
        """Nothing to add."""
        return {}


def _settings(job: Job) -> EngineSettings:
    return EngineSettings(
        job.task, backend=job.backend, precision=job.precision, weights=job.weights, device=job.device
    )


def to_message(image: NDArray[Any]) -> array.array[int]:
    """The bytes of an image message, in the container that rclpy takes without looking at every byte."""
    content = array.array("B")
    content.frombytes(image.data)
    return content


def _lap(scope: str, way: str, stages_ms: Mapping[str, float]) -> Lap:
    return Lap(scope, way, sum(stages_ms.values()), dict(stages_ms))


def _middle(frame: Callable[[], Lap]) -> Lap:
    """The median of some frames in a row."""
    start = time.perf_counter()
    laps = [frame()]
    while len(laps) < _TURN_FRAMES and time.perf_counter() - start < _TURN_SECONDS:
        laps.append(frame())
    stages = {name: statistics.median(lap.stages_ms[name] for lap in laps) for name in laps[0].stages_ms}
    total = statistics.median(lap.total_ms for lap in laps)
    return replace(laps[0], total_ms=total, stages_ms=stages, frames=len(laps))
