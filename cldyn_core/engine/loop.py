"""The closed loop of one stream, frame by frame: how what the task network saw becomes the plan of a fusion.

A frame costs one pass of the fusion network and one of the task network while a plan is held (stream mode), and two of
each, and the planning, where it is made from the frame's own first pass (exact mode).
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from weakref import WeakKeyDictionary

from torch import Tensor

from cldyn_core.engine.calls import Encode, Finish, Look, Steps
from cldyn_core.engine.clock import StageClock
from cldyn_core.engine.colors import recolor
from cldyn_core.engine.executors.base import Encoded
from cldyn_core.engine.kernels import KernelTables, PlanKernels
from cldyn_core.engine.memory import give_back, ran_out
from cldyn_core.engine.planner import Planner
from cldyn_core.engine.prepare import Frame
from cldyn_core.engine.scene import SceneChange
from cldyn_core.finite import check_finite
from cldyn_core.tasks.base import TaskNetwork
from cldyn_core.types import CompensationPlan, LoopMode, TaskOutput

_FELT = "the task network's feature"


@dataclass(frozen=True)
class Outcome:
    """What the loop makes of a frame; see StepResult."""

    rgb: Tensor
    """(1, 3, H, W) in [0, 1]."""
    output: TaskOutput = None
    plan: CompensationPlan | None = None
    plan_age: int = 0
    error: str = ""


@dataclass(frozen=True)
class _Held:
    """The plan of a task, and what its network felt last."""

    plan: CompensationPlan
    kernels: PlanKernels | None
    made: int
    """Number of the frame."""
    feature: Tensor
    felt: int
    """Number of the frame of `feature`."""


class _Passes:
    """The passes of one frame through the fusion network; their results are RGB (1, 3, H, W) in [0, 1]."""

    def __init__(self, encoded: Encoded, frame: Frame, clock: StageClock) -> None:
        self.encoded, self._frame, self._clock = encoded, frame, clock
        self._first: Tensor | None = None

    def first(self) -> Steps[Tensor]:
        """Without compensation."""
        if self._first is None:
            self._first = yield from self._finish(None)
            self._clock.lap("first_pass")
        return self._first

    def compensated(self, kernels: PlanKernels | None) -> Steps[Tensor]:
        """With the kernels of a plan."""
        rgb = yield from self._finish(kernels)
        self._clock.lap("execute")
        return rgb

    def _finish(self, kernels: PlanKernels | None) -> Steps[Tensor]:
        luma = check_finite((yield Finish(self.encoded, kernels)), "the fused image")
        return recolor(luma, self._frame.visible)


class Loop:
    """Owns what is remembered from frame to frame. The networks are run by who runs its steps."""

    def __init__(self, planner: Planner, tables: KernelTables) -> None:
        self._planner, self._tables = planner, tables
        self._scene = SceneChange()
        self._number = 0
        # A network that goes takes its plan along.
        self._held: WeakKeyDictionary[TaskNetwork, _Held] = WeakKeyDictionary()

    def step(
        self, frame: Frame, network: TaskNetwork | None, mode: LoopMode, period: int, clock: StageClock
    ) -> Steps[Outcome]:
        """Fuse a frame as the task requires. A task network that fails opens the loop for this frame, and its plan is
        forgotten.

        Raises FloatingPointError where the fusion without compensation gives NaN or infinite values.
        """
        self._number += 1
        self._watch(frame, mode)
        clock.lap("prepare")
        passes = _Passes((yield Encode(frame.infrared, frame.luma)), frame, clock)
        clock.lap("encode")
        if network is None:
            return Outcome((yield from passes.first()))
        try:
            return (yield from self._close(passes, network, mode, period, clock))
        except Exception as fault:  # whatever a task network does, the fused image goes out
            self._held.pop(network, None)
            error, no_memory = f"{network.task.value}: {type(fault).__name__}: {fault}", ran_out(fault)
        if no_memory:  # only here: a fault that is handled holds the tensors of what failed
            give_back(frame.luma.device)
        return Outcome((yield from passes.first()), error=error)

    def _watch(self, frame: Frame, mode: LoopMode) -> None:
        """Forget the plans that are not this scene's."""
        if mode is not LoopMode.STREAM:
            self._scene.forget()
            self._held.clear()
        elif self._scene.seen(frame.luma, frame.infrared):
            self._held.clear()

    def _close(
        self, passes: _Passes, network: TaskNetwork, mode: LoopMode, period: int, clock: StageClock
    ) -> Steps[Outcome]:
        if mode is LoopMode.STREAM:
            return (yield from self._stream(passes, network, period, clock))
        plan, rgb = None, (yield from passes.first())
        if mode is LoopMode.EXACT:
            held = yield from self._plan_at_once(passes, network, clock)
            plan, rgb = held.plan, (yield from passes.compensated(held.kernels))
        outputs = yield Look(network, "predict", rgb)
        clock.lap("task")
        return Outcome(rgb, outputs[0], plan)

    def _stream(self, passes: _Passes, network: TaskNetwork, period: int, clock: StageClock) -> Steps[Outcome]:
        held = self._held.get(network)
        if held is None or self._number - held.made >= period:
            if held is not None and held.felt == self._number - 1:
                held = self._make(passes, network, held.feature, clock)
            else:
                held = yield from self._plan_at_once(passes, network, clock)
        rgb = yield from passes.compensated(held.kernels)
        answer = yield Look(network, "answer", rgb)
        check_finite(answer.feature, _FELT)
        clock.lap("task")
        self._held[network] = replace(held, feature=answer.feature, felt=self._number)
        return Outcome(rgb, answer.outputs[0], held.plan, self._number - held.made)

    def _plan_at_once(self, passes: _Passes, network: TaskNetwork, clock: StageClock) -> Steps[_Held]:
        """From this frame's own first pass."""
        feature = yield Look(network, "feature", (yield from passes.first()))
        clock.lap("requirement")
        return self._make(passes, network, feature, clock)

    def _make(self, passes: _Passes, network: TaskNetwork, feature: Tensor, clock: StageClock) -> _Held:
        check_finite(feature, _FELT)
        plan = self._planner.plan(passes.encoded, feature, network.task)
        kernels = None if self._tables.identity else self._tables.look_up(plan)
        clock.lap("plan")
        return _Held(plan, kernels, self._number, feature, self._number)
