"""FusionEngine: one camera pair's closed loop. Frames in, fused images and answers out; the task changes while it
runs.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Mapping
from dataclasses import replace

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from cldyn_core import tasks
from cldyn_core.checkpoint import load_weights, read_manifest, resolve_weights
from cldyn_core.engine.allocator import keep_freed_memory
from cldyn_core.engine.prepare import homography_fault, prepare
from cldyn_core.engine.thermal import ThermalRange
from cldyn_core.model import Beginning, CLDyN
from cldyn_core.tasks.base import TaskNetwork
from cldyn_core.types import EngineSettings, FramePair, FusionResult, LoopMode, StepResult, Task, TaskOutput

_FIXED = ("weights", "device")


class FusionEngine:
    """Owns the networks and the state of one stream. One thread calls `step`; any thread may call the rest."""

    def __init__(self, settings: EngineSettings | None = None) -> None:
        """Load everything. Raises ValueError or FileNotFoundError that names what is wrong (WeightsError is a
        ValueError).
        """
        settings = settings or EngineSettings()
        self._device = resolve_device(settings.device)
        keep_freed_memory()
        self._model, self._weights = load_model(settings.weights, self._device)
        self._networks: dict[tuple[Task, str], TaskNetwork] = {}
        self._lock = threading.Lock()  # of what `step` reads
        self._applying = threading.Lock()  # longer held: a network may be loaded under it
        self._settings = replace(settings, task=Task.NONE)
        self._thermal = _thermal_range(settings)
        self.apply(settings)

    @property
    def settings(self) -> EngineSettings:
        """What the next step will use."""
        return self._settings

    @property
    def available_tasks(self) -> tuple[Task, ...]:
        """The tasks that can be selected on this machine, with these settings."""
        return tasks.available_tasks(self._settings)

    def explain(self, task: Task) -> str:
        """Why a task cannot be selected here; "" when it can."""
        return tasks.explain(task, self._settings)

    def class_names(self, task: Task) -> tuple[str, ...]:
        """Class names of a task's answer; empty before its network was first used."""
        network = self._networks.get(_network_key(replace(self._settings, task=task)))
        return network.names if network else ()

    def describe(self) -> Mapping[str, str]:
        """What was loaded, for people."""
        return {
            "weights": self._weights,
            "device": str(self._device),
            "backend": f"torch {torch.__version__}, {torch.get_num_threads()} threads",
            "tasks": ", ".join(task.value for task in self.available_tasks),
        }

    def check(self, settings: EngineSettings) -> str:
        """Why `apply` would refuse these settings; "" when it would not. Loads nothing."""
        for name in _FIXED:
            if getattr(settings, name) != getattr(self._settings, name):
                return f"{name} cannot change while the engine runs"
        low, high = settings.thermal_limits
        if settings.thermal_range not in {"auto", "fixed"}:
            return f"thermal_range is 'auto' or 'fixed', not {settings.thermal_range!r}"
        if settings.thermal_range == "fixed" and not (np.isfinite((low, high)).all() and low < high):
            return f"the thermal limits must be finite and rise, not {low} to {high}"
        for name in ("detector_confidence", "detector_iou"):
            if not 0.0 <= getattr(settings, name) <= 1.0:
                return f"{name} lies in 0..1, not {getattr(settings, name)}"
        return homography_fault(settings.homography) or tasks.explain(settings.task, settings)

    def apply(self, settings: EngineSettings) -> None:
        """Use these settings from the next step on. May take seconds the first time a task is chosen. Raises
        ValueError.
        """
        reason = self.check(settings)
        if reason:
            raise ValueError(reason)
        with self._applying:
            networks = self._networks
            if settings.task is not Task.NONE:
                key = _network_key(settings)
                network = networks.get(key) or tasks.create(settings.task, settings, self._device)
                network.configure(settings)
                # One network a task: other weights replace it.
                networks = {k: v for k, v in networks.items() if k[0] is not settings.task} | {key: network}
            with self._lock:
                old, self._settings, self._networks = self._settings, settings, networks
                if _thermal_key(old) != _thermal_key(settings):
                    self._thermal = _thermal_range(settings)

    @torch.inference_mode()
    def step(self, pair: FramePair) -> StepResult:
        """Fuse one pair and answer the task. Raises ValueError for a pair it does not take; a task network that fails
        opens the loop for this frame and is reported in `error`.
        """
        with self._lock:
            settings, thermal = self._settings, self._thermal
            network = self._networks.get(_network_key(settings))
        clock = _StageClock(self._device)
        visible, infrared = prepare(pair, thermal, settings, self._device)
        clock.lap("prepare")
        begun = self._model.begin(visible, infrared)
        fused = self._model.fuse(begun)
        clock.lap("first_pass")
        output, error = None, ""
        if network is not None:
            try:
                fused, output = self._close_loop(network, settings.loop_mode, begun, fused, clock)
            except Exception as fault:  # whatever a task network does, the fused image goes out
                error = f"{settings.task.value}: {type(fault).__name__}: {fault}"
        image = to_image(fused.rgb)
        clock.lap("finish")
        return StepResult(image, settings.task, settings.loop_mode, output, fused.plan, 0, clock.laps_ms, error)

    def close(self) -> None:
        """Drop the networks; the engine cannot step afterwards. More than once does no harm."""
        self._networks = {}
        self.__dict__.pop("_model", None)

    def _close_loop(
        self,
        network: TaskNetwork,
        mode: LoopMode,
        begun: Beginning,
        first: FusionResult,
        clock: _StageClock,
    ) -> tuple[FusionResult, TaskOutput]:
        fused = first
        if mode is LoopMode.EXACT:
            requirement = network.feature(first.rgb.clamp(0.0, 1.0))
            clock.lap("requirement")
            fused = self._model.compensate(begun, requirement)
            clock.lap("compensate")
        output = network.predict(fused.rgb.clamp(0.0, 1.0))[0]
        clock.lap("task")
        return fused, output


class _StageClock:
    """Milliseconds from lap to lap. CUDA work is waited for, so that a stage is charged with its own time."""

    def __init__(self, device: torch.device) -> None:
        self.laps_ms: dict[str, float] = {}
        self._device = device
        self._last = time.perf_counter()

    def lap(self, stage: str) -> None:
        if self._device.type == "cuda":
            torch.cuda.synchronize(self._device)
        now = time.perf_counter()
        self.laps_ms[stage] = 1e3 * (now - self._last)
        self._last = now


def load_model(weights: str, device: torch.device) -> tuple[CLDyN, str]:
    """Load "default" or a .safetensors path: the network in evaluation mode, and a line that says what it is."""
    path = resolve_weights(weights, "cldyn")
    model = load_weights(path).to(device)
    return model, f"{path.name} (sha256 {read_manifest(path)['sha256'][:12]})"


def resolve_device(name: str) -> torch.device:
    """Turn a name into a device; "auto" is CUDA when there is one. Raises ValueError for one that is not there."""
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    try:
        device = torch.device(name)
    except RuntimeError as error:
        raise ValueError(f"unknown device {name!r}; use auto, cpu, cuda or cuda:<number>") from error
    if device.type == "cuda" and (device.index or 0) >= torch.cuda.device_count():
        raise ValueError(
            f"device {name!r} is not there: torch sees {torch.cuda.device_count()} CUDA devices; use auto or cpu"
        )
    return device


def to_image(rgb: Tensor) -> NDArray[np.uint8]:
    """(1, 3, H, W) unclamped RGB -> (H, W, 3) uint8, rounded."""
    image = rgb[0].clamp(0.0, 1.0).mul(255.0).round_().to(torch.uint8)
    return image.permute(1, 2, 0).contiguous().cpu().numpy()


def _network_key(settings: EngineSettings) -> tuple[Task, str]:
    return settings.task, tasks.weights_setting(settings.task, settings)


def _thermal_key(settings: EngineSettings) -> tuple[str, tuple[float, float]]:
    return settings.thermal_range, settings.thermal_limits


def _thermal_range(settings: EngineSettings) -> ThermalRange:
    return ThermalRange(settings.thermal_limits if settings.thermal_range == "fixed" else None)
