"""Stage 2: train the compensation (RSC and bank) in the closed loop, with reward and penalty (paper, "Training").

The fusion network and the task networks stay as they are.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from cldyn_core.checkpoint import save_weights
from cldyn_core.engine.folding import folded
from cldyn_core.model import Beginning, CLDyN
from cldyn_core.tasks.base import TaskNetwork
from cldyn_core.train.draws import Pairs, torch_generator
from cldyn_core.train.pictures import before_and_after
from cldyn_core.train.processes import Processes
from cldyn_core.train.run_folder import RunFolder
from cldyn_core.train.several_tasks import SeveralTasksRecipe, SeveralTasksTraining, relative_losses
from cldyn_core.types import FusionResult, LabelledPair, Task, as_pair_batch


@dataclass(frozen=True)
class _Observed:
    """The uncompensated pass of a batch."""

    begun: Beginning
    image: Tensor
    """(B, 3, H, W) in [0, 1]."""
    losses: Tensor
    """(B,)"""
    feature: Tensor
    """The requirement."""
    targets: list


@dataclass(frozen=True)
class ClosedLoopTraining(SeveralTasksRecipe):
    """Recipe of stage 2."""

    learning_rate: float = 1e-2
    penalty: float = 5.0
    """delta: how much heavier than the task loss an image weighs that compensation made worse. 0: no penalty."""
    settle: float = 0.0
    """Share of the steps over which the noise of the choices falls to nothing, so that the rest learns with the choices
    of use. 0: noise to the end, as the paper.
    """
    restraint: float = 0.0
    """What a mean absolute change of the image by 1 (black to white) costs, in relative task loss: with 0.5 a gray
    level must lower the loss by 0.2 %. 0: nothing, as the paper.
    """
    fixed_statistics: bool = False
    """Norms of the compensation keep the statistics they begin with. False: those of the batches, as the paper, which
    mix what the plans of all tasks make.
    """
    selection_stride: int = 8
    """Pixels between the samples by which an image is described in training; 1: every pixel, as in evaluation."""
    recompute: bool = False
    """Compute parts of the fusion network again in the backward pass instead of keeping them: slower, less memory."""
    closed_loop: bool = True
    """False: the compensation is not told what the task saw (a feature of zeros); an ablation."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.selection_stride < 1:
            raise ValueError(f"selection_stride must be at least 1, not {self.selection_stride}")
        if not 0 <= self.settle <= 1:
            raise ValueError(f"settle must be in 0..1, not {self.settle}")
        if self.restraint < 0:
            raise ValueError(f"restraint must not be negative, not {self.restraint}")

    def noise(self, step: int) -> float:
        """Factor of the noise of the choices in a step, from 1."""
        return max(0.0, 1.0 - (step - 1) / (self.settle * self.steps)) if self.settle else 1.0


class ClosedLoop(SeveralTasksTraining):
    """Stage 2, ready to run: everything but the compensation frozen and in evaluation mode.

    Raises ValueError when there is no task, or a task has no pair to train on or to judge with.
    """

    stage = "closed-loop"
    weights_file = "cldyn.safetensors"
    recipe: ClosedLoopTraining

    def __init__(
        self,
        model: CLDyN,
        networks: Mapping[Task, TaskNetwork],
        train: Mapping[Task, Pairs],
        held_out: Mapping[Task, Pairs],
        recipe: ClosedLoopTraining,
        processes: Processes | None = None,
    ) -> None:
        model.requires_grad_(False)
        processes = processes or Processes(next(model.parameters()).device)
        super().__init__(model.compensation(), networks, train, held_out, recipe, processes)
        self.model, self._running = model, _faster(model, recipe.recompute)
        for network in self.networks.values():
            network.module.requires_grad_(False).eval()
        for rsc in (model.rsc_ir, model.rsc_vi):
            for block in rsc.blocks:
                block.training_stride = recipe.selection_stride  # type: ignore[assignment]
        self.baseline = {task: math.nan for task in self.networks}
        """Mean loss of the held-out pairs without compensation; the scale of each task's loss. Set by `measure`."""

    def measure(self) -> None:
        """Judge the held-out pairs without compensation."""
        for task, pairs in self.held_out.items():

            def judge(pair: LabelledPair, task: Task = task) -> Sequence[float]:
                return [float(self._observe(task, [self.degraded(pair)]).losses)]

            (loss,) = self.held_out_means(pairs, judge)
            if not 0 < loss < math.inf:
                raise FloatingPointError(f"{task.value}: the loss without compensation is {loss}")
            self.baseline[task] = loss

    def train_mode(self, training: bool) -> None:
        """See Training.train_mode; with fixed statistics the norms stay in evaluation mode."""
        super().train_mode(training)
        if self.recipe.fixed_statistics:
            for module in self.modules.values():
                for part in module.modules():
                    if isinstance(part, nn.BatchNorm2d):
                        part.eval()

    def gradients(self, step: int) -> tuple[Tensor, dict[str, float]]:
        """One row a task. See Training.gradients."""
        self.train_mode(True)
        rows, figures = [], {}
        for index, (task, network) in enumerate(self.networks.items()):
            pairs = self.draws[task].degraded(self.draws[task].batch(step), step)
            seen = self._observe(task, pairs)
            noise = self._running.draw_noise(self.recipe.batch, torch_generator(self.recipe.seed, step, index))
            noise = self.recipe.noise(step) * noise[:, :, self.processes.part(self.recipe.batch)]
            with self.autocast():
                compensated = self._running.compensate(seen.begun, seen.feature, noise.to(self.processes.device), task)
                image = compensated.rgb.float().clamp(0.0, 1.0)
                after = network.losses(image, seen.targets).float()
            change = (image - seen.image).abs().mean((1, 2, 3))
            losses = (after + self.recipe.penalty * torch.relu(after - seen.losses)) / self.baseline[task]
            rows.append(self.gradient_row(losses + self.recipe.restraint * change, task.value, pairs, step))
            figures[f"{task.value}/loss"] = self.average(after)
            figures[f"{task.value}/gain"] = self.average(seen.losses - after) / self.average(seen.losses)
            figures[f"{task.value}/change"] = self.average(change)
        return torch.stack(rows), figures

    @torch.no_grad()
    def validate(self) -> dict[str, float]:
        """Loss of the held-out pairs with compensation over that without, by task and "mean"; below 1 it helps."""
        self.train_mode(False)
        relative = {}
        for task, network in self.networks.items():

            def judge(pair: LabelledPair, task: Task = task, network: TaskNetwork = network) -> Sequence[float]:
                seen = self._observe(task, [self.degraded(pair)])
                with self.autocast():
                    image = self._running.compensate(seen.begun, seen.feature, task=task).rgb.clamp(0.0, 1.0)
                    return [float(network.losses(image.float(), seen.targets))]

            relative[task] = self.held_out_means(self.held_out[task], judge)[0] / self.baseline[task]
        return relative_losses(relative)

    @torch.no_grad()
    def example(self, task: Task) -> tuple[FusionResult, FusionResult]:
        """The first held-out pair of a task, without and with compensation."""
        self.train_mode(False)
        seen = self._observe(task, [self.shrunk(self.held_out[task][0])])
        return self._running.fuse(seen.begun), self._running.compensate(seen.begun, seen.feature, task=task)

    def show(self, folder: RunFolder, step: int) -> None:
        """First held-out pair of each task: before, after, eight times their difference; and the plan."""
        for task in self.networks:
            before, after = self.example(task)
            folder.picture(step, f"{task.value}/before_after_difference", before_and_after(before.rgb, after.rgb))
            folder.text(step, f"{task.value}/plan", after.plan.describe() if after.plan else "")

    def save(self, path: Path, record: Mapping[str, Any]) -> None:
        """Write the CLDyN."""
        save_weights(self.model, path, record)

    @torch.no_grad()
    def _observe(self, task: Task, pairs: Pairs) -> _Observed:
        targets = [pair.target for pair in pairs]
        with self.autocast():
            begun = self._running.begin(*as_pair_batch(pairs, self.processes.device))
            image = self._running.fuse(begun).rgb.float().clamp(0.0, 1.0)
            seen = self.networks[task].observe(image, targets)
        feature = seen.feature if self.recipe.closed_loop else torch.zeros_like(seen.feature)
        return _Observed(begun, image, seen.losses.float(), feature, targets)


def _faster(model: CLDyN, recompute: bool) -> CLDyN:
    """The same compensation around a copy of the fusion network that is a third faster."""
    running = CLDyN(model.architecture)
    running.rsc_ir, running.rsc_vi, running.bank = model.rsc_ir, model.rsc_vi, model.bank
    running.vfn = folded(model.vfn).to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    if recompute:
        running.vfn.attention = _Recomputed(running.vfn.attention)  # type: ignore[assignment]
        running.vfn.decoder = _Recomputed(running.vfn.decoder)  # type: ignore[assignment]
    return running.eval()


class _Recomputed(nn.Module):
    """A frozen module whose intermediate results are not kept for the backward pass."""

    def __init__(self, inner: nn.Module) -> None:
        super().__init__()
        self.inner = inner

    def forward(self, *inputs: Tensor) -> Tensor:
        if not torch.is_grad_enabled():
            result: Tensor = self.inner(*inputs)
        else:
            result = checkpoint(self.inner, *inputs, use_reentrant=False)
        return result
