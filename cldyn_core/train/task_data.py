"""What each task brings to a training of several: a network and labelled pairs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import torch

from cldyn_core import tasks
from cldyn_core.data.images import PairError
from cldyn_core.tasks.base import TaskNetwork
from cldyn_core.train.draws import Pairs
from cldyn_core.train.reading import PairData, read_pairs
from cldyn_core.types import Task


@dataclass(frozen=True)
class TaskData(PairData):
    """What one task brings. Without folders the task is left out."""

    weights: str = "default"
    """Of its network: default (the bundled ones) or path of a .safetensors file."""


@dataclass(frozen=True)
class SeveralTasks:
    """Networks, pairs to train on and pairs held out, by task."""

    networks: dict[Task, TaskNetwork] = field(default_factory=dict)
    train: dict[Task, Pairs] = field(default_factory=dict)
    held_out: dict[Task, Pairs] = field(default_factory=dict)

    def counts(self) -> dict[str, str]:
        """How many pairs each task has, as text."""
        return {
            task.value: f"{len(self.train[task])} pairs, {len(self.held_out[task])} held out; {network.model}"
            for task, network in self.networks.items()
        }


def read_tasks(folders: Sequence[str], sources: dict[Task, TaskData], device: torch.device) -> SeveralTasks:
    """Load the networks and pairs of every task that has folders of its own, or labels in `folders`.

    Raises PairError when `folders` hold no labels of any task that has a network.
    """
    found = SeveralTasks()
    faults = []
    for task, source in sources.items():
        settings = tasks.with_weights(task, source.weights)
        own = bool(source.folders)
        if not own and not folders:
            continue
        if not own and (reason := tasks.explain(task, settings)):
            faults.append(f"{task.value}: {reason}")
            continue
        network = tasks.create(task, settings, device)
        try:
            pairs = read_pairs(source if own else replace(source, folders=list(folders)), task, network.names)
        except PairError as error:
            if own or "no labels" not in str(error):
                raise
            faults.append(f"{task.value}: {error}")
            continue
        found.networks[task] = network
        found.train[task], found.held_out[task] = pairs
    if faults and not found.networks:
        raise PairError("nothing to train for. " + "; ".join(faults))
    return found
