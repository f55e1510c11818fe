"""The task networks, by task. A new one: a TaskNetwork in a file of its own and a line in `_NETWORKS`."""

from __future__ import annotations

from importlib import import_module

import torch

from cldyn_core.tasks.base import TaskNetwork
from cldyn_core.types import EngineSettings, Task

# Imported only when asked for: a task network may need packages that the rest of the project does not.
_NETWORKS: dict[Task, tuple[str, str]] = {Task.DETECTION: ("cldyn_core.tasks.detection", "Detector")}


def explain(task: Task) -> str:
    """Why `task` cannot be selected on this machine; "" when it can."""
    if task is Task.NONE:
        return ""
    if task not in _NETWORKS:
        return f"this version has no network for the task {task.value!r}"
    return _network_class(task).missing()


def available_tasks() -> tuple[Task, ...]:
    """The tasks that can be selected here, `none` first."""
    return tuple(task for task in Task if not explain(task))


def create(task: Task, settings: EngineSettings, device: torch.device) -> TaskNetwork:
    """Build the network of a task (not none). Raises ValueError with `explain`'s reason when it is not available."""
    reason = explain(task)
    if reason or task is Task.NONE:
        raise ValueError(reason or "the task none has no network")
    return _network_class(task).from_settings(settings, device)


def _network_class(task: Task) -> type[TaskNetwork]:
    module, name = _NETWORKS[task]
    return getattr(import_module(module), name)


__all__ = ["TaskNetwork", "available_tasks", "create", "explain"]
