"""FusionEngine: one camera pair's closed loop. Frames in, fused images and answers out; the task changes while it
runs.
"""

from __future__ import annotations

import copy
import threading
import time
from collections.abc import Callable, Hashable, Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import replace
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray

from cldyn_core import tasks
from cldyn_core.engine.backoff import BackOff
from cldyn_core.engine.calls import Steps
from cldyn_core.engine.clock import StageClock
from cldyn_core.engine.colors import to_image
from cldyn_core.engine.loop import Loop
from cldyn_core.engine.memory import give_back, ran_out
from cldyn_core.engine.networks import Networks, network_key
from cldyn_core.engine.noise import denoised
from cldyn_core.engine.prepare import prepare, registered_8bit
from cldyn_core.engine.thermal import ThermalRange
from cldyn_core.registration.misregistration import Misregistration, Shift
from cldyn_core.registration.registration import Registration
from cldyn_core.registry import describe_weights
from cldyn_core.tasks.base import TaskNetwork
from cldyn_core.types import EngineSettings, FramePair, LoopMode, StepResult, Task

_FIXED = ("weights", "device", "backend", "precision", "max_batch")


class _Force(NamedTuple):
    """What is in force for one step."""

    settings: EngineSettings
    thermal: ThermalRange
    registration: Registration
    network: TaskNetwork | None


class FusionEngine:
    """Owns the state of one stream, and networks that other streams may share. One thread calls `step`; any thread may
    call the rest.
    """

    def __init__(
        self,
        settings: EngineSettings | None = None,
        pause_s: float = 0.0,
        clock: Callable[[], float] = time.monotonic,
        shared: Networks | None = None,
    ) -> None:
        """Load everything.

        Args:
            settings: in force from the start.
            pause_s: how long what failed rests the first time before it is tried again; 0: every frame is a try.
            clock: seconds, for the pauses.
            shared: of a NetworkPool, for these settings; without it the networks are the engine's own.

        Raises:
            ValueError, FileNotFoundError: they name what is wrong (WeightsError is a ValueError).
        """
        settings = settings or EngineSettings()
        self._shared = shared = shared or Networks(settings)
        self._loop = Loop(shared.planner, shared.tables)
        self._networks: dict[tuple[Task, str], TaskNetwork] = {}
        self._loaded: dict[str, str] = {}
        self._lock = threading.Lock()  # of what `step` reads
        self._applying = threading.Lock()  # longer held: a network may be loaded under it
        self._settings = replace(settings, task=Task.NONE)
        self._thermal = _thermal_range(settings)
        self._registration = Registration(settings.homography, settings.calibration)
        self._misregistration = Misregistration()
        self._checked: Registration | None = None
        self._fusion_rest, self._task_rest = (BackOff(pause_s, clock=clock) for _ in range(2))
        self.apply(settings)

    @property
    def settings(self) -> EngineSettings:
        """What the next step will use."""
        return self._settings

    @property
    def turn(self) -> AbstractContextManager[None]:
        """Held during a step. Who holds it while choosing the frame of the next step shows the newest one, however long
        the other streams of the same networks took. Nothing where streams step together: they must wait side by side.
        """
        return self._shared.turn if self._shared.most == 1 else nullcontext()

    @property
    def available_tasks(self) -> tuple[Task, ...]:
        """The tasks that can be selected on this machine, with these settings."""
        return tasks.available_tasks(self._settings)

    def explain(self, task: Task) -> str:
        """Why a task cannot be selected here; "" when it can."""
        return tasks.explain(task, self._settings)

    def class_names(self, task: Task) -> tuple[str, ...]:
        """Class names of a task's answer; empty before its network was first used."""
        network = self._networks.get(network_key(replace(self._settings, task=task)))
        return network.names if network else ()

    def describe(self) -> Mapping[str, str]:
        """What was loaded, for people."""
        return {
            "weights": self._shared.weights,
            **self._loaded,
            "device": str(self._shared.device),
            "backend": self._shared.backend,
            "plans": self._shared.selection.describe(),
            "tasks": ", ".join(task.value for task in self.available_tasks),
        }

    def check(self, settings: EngineSettings) -> str:
        """Why `apply` would refuse these settings; "" when it would not. Loads no network.

        A new calibration is read from its file here; `apply` takes what was checked.
        """
        self._checked = None
        try:
            self._checked = self._examined(settings)
        except ValueError as error:
            return str(error)
        return ""

    def _examined(self, settings: EngineSettings) -> Registration:
        """What these settings register with: the one in force, with its table of pixels, if it is asked for again; else
        the one last checked, or a new one. Raises ValueError for settings that cannot be in force.
        """
        if fault := self._fault(settings):
            raise ValueError(fault)
        asked = settings.homography, settings.calibration
        for known in (self._registration, self._checked):
            if known is not None and known.asked == asked:
                return known
        return Registration(*asked)

    def _fault(self, settings: EngineSettings) -> str:
        for name in _FIXED:
            if getattr(settings, name) != getattr(self._settings, name):
                return f"{name} cannot change while the engine runs"
        low, high = settings.thermal_limits
        if settings.thermal_range not in {"auto", "fixed"}:
            return f"thermal_range is 'auto' or 'fixed', not {settings.thermal_range!r}"
        if settings.thermal_range == "fixed" and not (np.isfinite((low, high)).all() and low < high):
            return f"the thermal limits must be finite and rise, not {low} to {high}"
        if not 0.0 <= settings.thermal_min_span < np.inf:
            return f"thermal_min_span is finite and not negative, not {settings.thermal_min_span}"
        for name in ("detector_confidence", "detector_iou"):
            if not 0.0 <= getattr(settings, name) <= 1.0:
                return f"{name} lies in 0..1, not {getattr(settings, name)}"
        if settings.loop_period < 1:
            return f"loop_period is at least 1, not {settings.loop_period}"
        return tasks.explain(settings.task, settings)

    def apply(self, settings: EngineSettings) -> None:
        """Use these settings from the next step on. May take seconds the first time a task is chosen. Raises
        ValueError.
        """
        registration = self._examined(settings)
        self._checked = None
        with self._applying:
            networks = self._networks
            if settings.task is not Task.NONE:
                key = network_key(settings)
                network = networks.get(key) or self._load(settings)
                # One network a task: other weights replace it.
                networks = {k: v for k, v in networks.items() if k[0] is not settings.task} | {key: network}
            with self._lock:
                old, self._settings, self._networks = self._settings, settings, networks
                if registration is not self._registration:
                    self._registration, self._misregistration = registration, Misregistration()
                if _thermal_key(old) != _thermal_key(settings):
                    self._thermal = _thermal_range(settings)

    def _load(self, settings: EngineSettings) -> TaskNetwork:
        network = self._shared.task_network(settings)
        self._loaded[f"{settings.task.value} weights"] = describe_weights(tasks.weights_path(*network_key(settings)))
        return network

    @torch.inference_mode()
    def step(self, pair: FramePair) -> StepResult:
        """Fuse one pair and answer the task. A task network that fails opens the loop, and is reported in `error`.

        With `pause_s` it is tried again after a pause, longer each time; at once with other settings or image sizes.

        Raises:
            ValueError: a pair that it does not take.
            MemoryError: not enough of it for this size; during the pause without a try.
            FloatingPointError: the fused image would have NaN or infinite values.
        """
        shared = self._shared
        with self._lock:
            network = self._networks.get(network_key(self._settings))
            force = _Force(self._settings, self._thermal, self._registration, network)
        now = force.settings, pair.visible.shape, pair.infrared.shape
        if refusal := self._fusion_rest.resting(now):
            raise MemoryError(refusal)
        try:
            result = shared.batcher.run(self._step(pair, force, now), _kind(pair, force))
        except Exception as fault:
            if not ran_out(fault):
                raise
            text = _no_memory(pair, shared.device, fault)
        else:
            self._fusion_rest.succeeded()
            return result
        with shared.turn:
            give_back(shared.device)  # only here: a fault that is handled holds the tensors of what failed
        raise MemoryError(self._fusion_rest.failed(text, now))

    def _step(self, pair: FramePair, force: _Force, now: object) -> Steps[StepResult]:
        settings, thermal, registration, network = force
        error = self._task_rest.resting(now) if network is not None else ""
        if network is not None:
            network.configure(settings)
        clock = StageClock(self._shared.device)
        frame = prepare(pair, settings, thermal, registration, self._shared.device)
        network = None if error else network
        made = yield from self._loop.step(frame, network, settings.loop_mode, settings.loop_period, clock)
        if made.error:
            error = self._task_rest.failed(made.error, now)
        elif network is not None and not error:
            self._task_rest.succeeded()
        image = to_image(made.rgb)
        clock.lap("finish")
        mode = LoopMode.OPEN if error else settings.loop_mode
        return StepResult(
            image, settings.task, mode, made.output, made.plan, made.plan_age, clock.laps_ms, frame.noise, error
        )

    def show_infrared(self, infrared: NDArray[Any]) -> NDArray[np.uint8]:
        """An infrared image without its visible one, (h, w) as in a FramePair -> (h, w, 3) gray, in the range that the
        fused images have. For the thread that calls `step`. Raises ValueError.
        """
        shown = self._thermal.normalize(infrared)
        if self._settings.denoise:
            shown, _ = denoised(shown, 1.0)
        gray = np.rint(shown * 255).astype(np.uint8)
        return np.repeat(gray[..., None], 3, axis=2)

    def misregistration(self, pair: FramePair) -> Shift | None:
        """How far the infrared images lie beside the visible ones, by this pair, which `step` has taken, and those
        asked about before it with the same registration; None: not known. For the thread that calls `step`.
        """
        with self._lock:  # a copy of the range: `step` alone moves it
            thermal, registration, known = copy.copy(self._thermal), self._registration, self._misregistration
        known.look(pair.visible, registered_8bit(pair, thermal, registration))
        return known.shift

    def rest(self) -> None:
        """Give back the memory that is kept for speed, after the step in progress. The networks stay loaded."""
        with self._shared.turn:
            give_back(self._shared.device)

    def close(self) -> None:
        """Leave the networks, after the step in progress; the engine cannot step afterwards. More than once does no
        harm.
        """
        shared = self.__dict__.pop("_shared", None)
        if shared is not None:
            with shared.turn:
                del self._loop
            self._networks = {}
            device = shared.device
            del shared
            give_back(device)


def _no_memory(pair: FramePair, device: torch.device, fault: Exception) -> str:
    height, width = pair.visible.shape[:2]
    said = f"{type(fault).__name__}: {fault}".splitlines()[0]
    return (
        f"not enough memory on {device} to fuse a visible image of {width}x{height}: use smaller images (max_pixels "
        f"refuses larger ones) or another device ({said})"
    )


def _kind(pair: FramePair, force: _Force) -> Hashable:
    """Equal for frames that may be one batch: all but what is done with the input images is the same."""
    s, default = force.settings, EngineSettings()
    unlike = {"thermal_range", "thermal_limits", "thermal_min_span", "homography", "calibration"}
    unlike |= {"denoise", "loop_period", "max_pixels"}
    alike = replace(s, **{name: getattr(default, name) for name in unlike})
    return pair.visible.shape, alike, id(force.network)


def _thermal_key(settings: EngineSettings) -> tuple[str, tuple[float, float], float]:
    return settings.thermal_range, settings.thermal_limits, settings.thermal_min_span


def _thermal_range(settings: EngineSettings) -> ThermalRange:
    fixed = settings.thermal_limits if settings.thermal_range == "fixed" else None
    return ThermalRange(fixed, settings.thermal_min_span)
