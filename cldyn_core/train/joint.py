"""Baseline of the paper: fusion network and task networks trained together, without a compensation."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from cldyn_core import tasks
from cldyn_core.checkpoint import save_weights
from cldyn_core.losses import visual_loss
from cldyn_core.model import CLDyN
from cldyn_core.tasks.base import TaskNetwork
from cldyn_core.train.draws import Pairs
from cldyn_core.train.gradients import GradientMethod
from cldyn_core.train.pictures import before_and_after
from cldyn_core.train.processes import Processes
from cldyn_core.train.run_folder import RunFolder
from cldyn_core.train.several_tasks import SeveralTasksRecipe, SeveralTasksTraining, relative_losses
from cldyn_core.types import LabelledPair, Task, as_pair_batch


@dataclass(frozen=True)
class JointTraining(SeveralTasksRecipe):
    """Recipe of the joint training."""

    learning_rate: float = 1e-4
    clip: float = 10.0
    visual: float = 1.0
    """Weight of the visual loss beside the task's, which is taken relative to its beginning."""
    combine: GradientMethod = "sum"
    """The paper's joint training adds the losses. Or: cagrad, pcgrad."""


class Joint(SeveralTasksTraining):
    """The joint training, ready to run."""

    stage = "joint"
    weights_file = "cldyn.safetensors"
    recipe: JointTraining

    def __init__(
        self,
        model: CLDyN,
        networks: Mapping[Task, TaskNetwork],
        train: Mapping[Task, Pairs],
        held_out: Mapping[Task, Pairs],
        recipe: JointTraining,
        processes: Processes | None = None,
    ) -> None:
        modules = {"vfn": model.vfn, **{task.value: network.module for task, network in networks.items()}}
        processes = processes or Processes(next(model.parameters()).device)
        super().__init__(modules, networks, train, held_out, recipe, processes)
        self.model = model.eval()
        self._start = dict.fromkeys(self.networks, math.nan)
        self._first_picture: dict[Task, Tensor] = {}

    def measure(self) -> None:
        """Each task's loss before the first step: its scale. The networks must be those that the run began with."""
        self._start = self._losses()
        self._first_picture = {task: self._picture(task) for task in self.networks}

    def gradients(self, step: int) -> tuple[Tensor, dict[str, float]]:
        """One row a task. See Training.gradients."""
        self.train_mode(True)
        rows: list[Tensor] = []
        figures: dict[str, float] = {}
        for task, network in self.networks.items():
            pairs = self.draws[task].degraded(self.draws[task].batch(step), step)
            visible, infrared = as_pair_batch(pairs, self.processes.device)
            begun = self.model.begin(visible, infrared)
            with self.autocast():
                fused = self.model.fuse(begun)
                losses = network.losses(fused.rgb.float().clamp(0.0, 1.0), [pair.target for pair in pairs]).float()
            visual = visual_loss(fused.luma.float(), infrared, begun.ycbcr[:, :1])[0]
            both = losses / self._start[task] + self.recipe.visual * visual
            rows.append(self.gradient_row(both, task.value, pairs, step))
            figures |= {f"{task.value}/loss": self.average(losses), f"{task.value}/visual": self.average(visual)}
        return torch.stack(rows), figures

    def validate(self) -> dict[str, float]:
        """Loss of the held-out pairs over that before the first step, by task and "mean"."""
        return relative_losses({task: loss / self._start[task] for task, loss in self._losses().items()})

    def show(self, folder: RunFolder, step: int) -> None:
        """First held-out pair of each task: before, now, eight times their difference."""
        for task, first in self._first_picture.items():
            folder.picture(step, f"{task.value}/before_after_difference", before_and_after(first, self._picture(task)))

    def save(self, path: Path, record: Mapping[str, Any]) -> None:
        """Write the fusion network, and each task network beside it."""
        save_weights(self.model, path, record)
        for task, network in self.networks.items():
            tasks.save_network(network, path.with_name(f"{task.value}.safetensors"), record)

    @torch.no_grad()
    def _losses(self) -> dict[Task, float]:
        self.train_mode(False)

        def judge(task: Task, pair: LabelledPair) -> Sequence[float]:
            image = self.model.first_pass(*as_pair_batch([self.degraded(pair)], self.processes.device)).rgb.clamp(
                0.0, 1.0
            )
            return [float(self.networks[task].losses(image, [pair.target]))]

        return {
            task: self.held_out_means(self.held_out[task], lambda pair, task=task: judge(task, pair))[0]  # type: ignore[misc]
            for task in self.networks
        }

    @torch.no_grad()
    def _picture(self, task: Task) -> Tensor:
        self.train_mode(False)
        pair = self.shrunk(self.held_out[task][0])
        return self.model.first_pass(*as_pair_batch([pair], self.processes.device)).rgb
