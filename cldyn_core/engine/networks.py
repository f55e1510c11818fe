"""What several streams of a process can share: the fusion network, its kernels and planner, the task networks."""

from __future__ import annotations

import threading
import weakref
from pathlib import Path

import torch

from cldyn_core import tasks
from cldyn_core.checkpoint import resolve_weights
from cldyn_core.engine.allocator import keep_freed_memory
from cldyn_core.engine.batcher import Batcher
from cldyn_core.engine.executors.choose import create
from cldyn_core.engine.kernels import KernelTables
from cldyn_core.engine.load import load_model, resolve_device
from cldyn_core.engine.planner import Planner
from cldyn_core.engine.selection import Selection, fastest_describer
from cldyn_core.engine.turn import Turn
from cldyn_core.tasks.base import TaskNetwork
from cldyn_core.types import EngineSettings, Task


class Networks:
    """The networks of some settings, without anything that belongs to one stream."""

    def __init__(self, settings: EngineSettings) -> None:
        """Load all but the task networks. Raises as FusionEngine does."""
        self.device = resolve_device(settings.device)
        keep_freed_memory()
        model, self.weights = load_model(settings.weights, self.device)
        self.tables = KernelTables(model)
        self.executor, reason = create(settings.backend, settings.precision, model, self.tables, self.device)
        self.backend = f"{self.executor.describe()} ({reason})" if reason else self.executor.describe()
        self.selection = Selection(fastest_describer(self.device))
        self.planner = Planner(model, self.tables, self.selection)
        self.turn = Turn()
        """To be held while anything here runs: neither executors nor task networks are made for several threads."""
        self.most = 1 if self.executor.one_at_a_time else settings.max_batch or _most(self.device)
        """Streams that step together."""
        self.batcher = Batcher(self.executor, self.turn, self.most)
        self._loading = threading.Lock()
        self._tasks: weakref.WeakValueDictionary[object, TaskNetwork] = weakref.WeakValueDictionary()
        weakref.finalize(self, self.executor.close)

    def task_network(self, settings: EngineSettings) -> TaskNetwork:
        """The network of the task (not none), loaded if no stream has it. Raises as tasks.create does."""
        task, weights = network_key(settings)
        with self._loading:
            key = task, _file_key(tasks.weights_path(task, weights))
            network = self._tasks.get(key)
            if network is None:
                network = self._tasks[key] = tasks.create(task, settings, self.device)
            return network


class NetworkPool:
    """Networks by their settings, for the engines of several streams. What no engine has any more is freed."""

    def __init__(self) -> None:
        self._loading = threading.Lock()
        self._made: weakref.WeakValueDictionary[object, Networks] = weakref.WeakValueDictionary()

    def networks(self, settings: EngineSettings) -> Networks:
        """Those of these settings, loaded if no engine has them. Raises as FusionEngine does."""
        file, device = _file_key(resolve_weights(settings.weights, "cldyn")), resolve_device(settings.device)
        key = file, device, settings.backend, settings.precision, settings.max_batch
        with self._loading:
            networks = self._made.get(key)
            if networks is None:
                networks = self._made[key] = Networks(settings)
            return networks


def network_key(settings: EngineSettings) -> tuple[Task, str]:
    """What tells the task networks of a stream apart."""
    return settings.task, tasks.weights_setting(settings.task, settings)


def _file_key(path: Path) -> object:
    """Another one as soon as the file is written anew."""
    return path.resolve(), path.stat().st_mtime_ns if path.exists() else 0


def _most(device: torch.device) -> int:
    """A batch pays on a GPU, which one image does not fill."""
    return 8 if device.type == "cuda" else 1
