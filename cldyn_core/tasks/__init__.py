"""The task networks. A new one: a TaskNetwork in a file of its own and a line in `_NETWORKS`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from importlib import import_module
from pathlib import Path
from reprlib import repr as short
from typing import Any

import torch

from cldyn_core.checkpoint import (
    WeightsError,
    load_into,
    read_manifest,
    read_tensors,
    resolve_weights,
    to_half,
    write_tensors,
)
from cldyn_core.tasks.base import TaskNetwork
from cldyn_core.types import EngineSettings, Task

# By kind. Imported only when asked for: a task network may need packages that the rest of the project does not.
_NETWORKS: dict[str, tuple[Task, str, str]] = {
    "detector": (Task.DETECTION, "cldyn_core.tasks.detection", "Detector"),
    "transformer-detector": (Task.DETECTION, "cldyn_core.tasks.transformer_detection", "TransformerDetector"),
    "detr": (Task.DETECTION, "cldyn_core.tasks.detr", "Detr"),
    "segmenter": (Task.SEGMENTATION, "cldyn_core.tasks.segmentation", "Segmenter"),
    "fpn-segmenter": (Task.SEGMENTATION, "cldyn_core.tasks.fpn_segmentation", "FpnSegmenter"),
    "saliency": (Task.SALIENCY, "cldyn_core.tasks.saliency", "SaliencyNetwork"),
    "fpn-saliency": (Task.SALIENCY, "cldyn_core.tasks.fpn_saliency", "FpnSaliency"),
}
# The field of EngineSettings that names a task's weights, and the bundled file.
_MAX_NAMES, _MAX_NAME = 1000, 100  # of a manifest: a head is built for the names, and messages carry them
_WEIGHTS: dict[Task, tuple[str, str]] = {
    Task.DETECTION: ("detector_weights", "detector"),
    Task.SEGMENTATION: ("segmentation_weights", "segmenter"),
    Task.SALIENCY: ("saliency_weights", "saliency"),
}


def weights_setting(task: Task, settings: EngineSettings) -> str:
    """What the settings say of the weights of a task; "" for none."""
    return getattr(settings, _WEIGHTS[task][0]) if task in _WEIGHTS else ""


def with_weights(task: Task, weights: str) -> EngineSettings:
    """Settings that name the weights of a task (not none)."""
    changed: dict[str, Any] = {_WEIGHTS[task][0]: weights}
    return EngineSettings(**changed)


def explain(task: Task, settings: EngineSettings | None = None) -> str:
    """Why `task` cannot be selected on this machine with (the weights of) these settings; "" when it can.

    Weight files are not opened: one that cannot be used is found by `create`.
    """
    if task is Task.NONE:
        return ""
    settings = settings or EngineSettings()
    try:
        path = weights_path(task, weights_setting(task, settings))
    except WeightsError as error:
        field = _WEIGHTS[task][0]
        return f"no weights for the task {task.value!r} ({field}, node parameter {field.replace('_', '.')}): {error}"
    try:
        return missing(path, task)
    except WeightsError:
        return ""


def missing(path: Path, task: Task | None = None) -> str:
    """Why the network of a weight file cannot be built on this machine, with the remedy; "" when it can.

    Reads the manifest alone. Raises WeightsError for one that cannot be used, or is of another task (None: any).
    """
    return _class_of(path, read_manifest(path), task).missing()


def available_tasks(settings: EngineSettings | None = None) -> tuple[Task, ...]:
    """The tasks that can be selected here with these settings, `none` first."""
    return tuple(task for task in Task if not explain(task, settings))


def create(task: Task, settings: EngineSettings, device: torch.device) -> TaskNetwork:
    """Load the network of a task (not none), in evaluation mode. Raises ValueError with `explain`'s reason when it is
    not available, and as `load_network` does.
    """
    reason = explain(task, settings)
    if reason or task is Task.NONE:
        raise ValueError(reason or "the task none has no network")
    network = load_network(weights_path(task, weights_setting(task, settings)), device, task)
    network.configure(settings)
    return network


def build(model: str, names: Sequence[str]) -> TaskNetwork:
    """A network with random weights by the name of its model. Raises ValueError for an unknown one, or without its
    package.
    """
    network_class = _class_of_model(model)
    if reason := network_class.missing():
        raise ValueError(reason)
    return network_class(model, names)


def task_of(model: str) -> Task:
    """The task of a network by the name of its model. Raises ValueError for an unknown one."""
    return _class_of_model(model).task


def save_network(network: TaskNetwork, path: Path | str, record: Mapping[str, Any], half: bool = False) -> None:
    """Write the weights and their manifest. half: in half precision, half as large."""
    tensors = network.module.state_dict()
    write_tensors(
        path, to_half(tensors) if half else tensors, kind=network.kind, architecture=network.architecture, record=record
    )


def load_network(path: Path | str, device: torch.device, task: Task | None = None) -> TaskNetwork:
    """Read what `save_network` wrote, in evaluation mode. Raises FileNotFoundError; WeightsError for unusable weights
    and those of another task than `task` (None: any); ValueError without the package that the network needs.
    """
    tensors, manifest = read_tensors(path)
    network_class = _class_of(path, manifest, task)
    if reason := network_class.missing():
        raise ValueError(reason)
    described = manifest["architecture"]
    model, names = described.get("model"), described.get("names")
    sound = isinstance(names, list) and len(names) <= _MAX_NAMES
    if not isinstance(model, str) or not sound or not all(isinstance(n, str) and len(n) <= _MAX_NAME for n in names):
        raise WeightsError(
            f"{path}: expected the architecture of a {network_class.kind} (model, names): {short(described)}"
        )
    try:
        network = network_class(model, names)
    except ValueError as error:
        raise WeightsError(f"{path}: {error}") from error
    load_into(network.module, tensors, path)
    network.module.to(device).eval()
    return network


def weights_path(task: Task, weights: str) -> Path:
    """The file of a task's weights by its path or the name of a variant; raises as `resolve_weights` does."""
    return resolve_weights(weights, _WEIGHTS[task][1])


def _class_of(path: Path | str, manifest: Mapping[str, Any], task: Task | None) -> type[TaskNetwork]:
    kinds = [kind for kind, (of, _, _) in _NETWORKS.items() if task in {None, of}]
    if manifest["kind"] not in kinds:
        expected = " or ".join(repr(kind) for kind in kinds)
        raise WeightsError(f"{path}: these are {manifest['kind']!r} weights, expected {expected}")
    return _network_class(manifest["kind"])


def _class_of_model(model: str) -> type[TaskNetwork]:
    known: list[str] = []
    for kind in _NETWORKS:
        network_class = _network_class(kind)
        if model in network_class.models():
            return network_class
        known += network_class.models()
    raise ValueError(f"unknown model {model!r}; known: {', '.join(known)}")


def _network_class(kind: str) -> type[TaskNetwork]:
    _, module, name = _NETWORKS[kind]
    return getattr(import_module(module), name)


__all__ = [
    "TaskNetwork",
    "available_tasks",
    "build",
    "create",
    "explain",
    "load_network",
    "missing",
    "save_network",
    "task_of",
    "weights_path",
    "weights_setting",
    "with_weights",
]
