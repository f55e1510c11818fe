"""What each task brings to a training of several: a network and labelled pairs."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

import torch

from cldyn_core import tasks
from cldyn_core.data.images import PairError
from cldyn_core.data.labelled import NoLabelsError
from cldyn_core.tasks.base import TaskNetwork
from cldyn_core.tasks.semantic import SemanticNetwork
from cldyn_core.train.draws import Pairs
from cldyn_core.train.reading import PairData, read_pairs
from cldyn_core.train.start import RunOptions
from cldyn_core.types import Task


@dataclass(frozen=True)
class TaskData(PairData):
    """What one task brings. Without folders the task is left out."""

    weights: str = "default"
    """Of its network: default, paper (bundled ones) or path of a .safetensors file."""
    background: list[str] = field(default_factory=list)
    """Classes of label maps that count as background; others that the network lacks are ignored."""
    balance: float = 0.0
    """Of a segmenter's loss: 0 counts every pixel alike, 1 every class of an image; 0.5 lies between."""


@dataclass(frozen=True, kw_only=True)
class SeveralTasksRun(RunOptions):
    """What a training of several tasks can be told."""

    folders: list[str] = field(default_factory=list)
    """Labelled folders of pairs, for every task that they have labels and a network for."""
    fusion: str = "default"
    """Weights to start from: default, paper (bundled ones) or path of a .safetensors file."""
    detection: TaskData = field(default_factory=TaskData)
    segmentation: TaskData = field(default_factory=TaskData)
    saliency: TaskData = field(default_factory=TaskData)


@dataclass(frozen=True)
class SeveralTasks:
    """Networks, pairs to train on and pairs held out, by task."""

    networks: dict[Task, TaskNetwork] = field(default_factory=dict)
    train: dict[Task, Pairs] = field(default_factory=dict)
    held_out: dict[Task, Pairs] = field(default_factory=dict)

    def to(self, device: torch.device) -> None:
        """Move the networks."""
        for network in self.networks.values():
            network.module.to(device)

    def counts(self) -> dict[str, str]:
        """How many pairs each task has, as text."""
        return {
            task.value: f"{len(self.train[task])} pairs, {len(self.held_out[task])} held out; {network.model}"
            for task, network in self.networks.items()
        }


def read_tasks(options: SeveralTasksRun) -> SeveralTasks:
    """Load, on the CPU, the networks and pairs of every task that has folders of its own, or labels in
    `options.folders`.

    Raises PairError, saying why for each task, when nothing is left.
    """
    found = SeveralTasks()
    faults = []
    sources = {
        Task.DETECTION: options.detection,
        Task.SEGMENTATION: options.segmentation,
        Task.SALIENCY: options.saliency,
    }
    for task, source in sources.items():
        try:
            _read_task(found, task, source, options.folders)
        except _NotThereError as fault:
            faults.append(f"{task.value}: {fault}")
    if not found.networks:
        raise PairError("nothing to train for. " + ("; ".join(faults) or "Remedy: name folders of labelled pairs"))
    return found


def set_balance(network: TaskNetwork, balance: float) -> None:
    """Weigh the classes of a segmenter's loss. Raises ValueError for a share outside 0..1, and for other networks."""
    if not 0 <= balance <= 1:
        raise ValueError(f"balance must be in 0..1, not {balance}")
    if isinstance(network, SemanticNetwork):
        network.balance = balance
    elif balance:
        raise ValueError(f"balance is for segmenters, not for {network.model}. Remedy: leave it out")


class _NotThereError(Exception):
    """The folders for all tasks have nothing for this one."""


def _read_task(found: SeveralTasks, task: Task, source: TaskData, folders: list[str]) -> None:
    settings = tasks.with_weights(task, source.weights)
    data = source
    if not source.folders:
        if not folders:
            return
        if reason := tasks.explain(task, settings):
            raise _NotThereError(reason)
        data = replace(source, folders=folders)
    network = tasks.create(task, settings, torch.device("cpu"))
    set_balance(network, data.balance)
    try:
        pairs = read_pairs(data, task, network.names, source.background)
    except NoLabelsError as error:
        if source.folders:
            raise
        raise _NotThereError(str(error)) from error
    found.networks[task] = network
    found.train[task], found.held_out[task] = pairs
