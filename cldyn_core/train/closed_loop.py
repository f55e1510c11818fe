"""Stage 2: train the compensation (RSC and bank) in the closed loop, with reward and penalty (paper, "Training").

The fusion network and the task networks stay as they are. What a step draws (pairs, views, noise) is a function of seed
and step alone, so a run that was interrupted continues as if it had not been.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from cldyn_core.data.pair_views import random_pair_view, shrink_pair
from cldyn_core.model import Beginning, CLDyN
from cldyn_core.tasks.base import TaskNetwork
from cldyn_core.train.gradients import GradientMethod, combine
from cldyn_core.train.recipes import check_recipe
from cldyn_core.types import FusionResult, LabelledPair, Task, as_pair_batch

Pairs = Sequence[LabelledPair]


@dataclass(frozen=True)
class ClosedLoopTraining:
    """Recipe of stage 2."""

    steps: int = 1000
    """In all; the learning rate falls to 1 % along a cosine."""
    batch: int = 4
    """Pairs of each task in a step."""
    size: int = 256
    """Side of the square training windows in pixels, a multiple of 32."""
    learning_rate: float = 1e-2
    """Of Adam with decoupled weight decay."""
    weight_decay: float = 1e-4
    penalty: float = 5.0
    """delta: how much heavier than the task loss an image weighs that compensation made worse. 0: no penalty."""
    combine: GradientMethod = "cagrad"
    """How the tasks' gradients become one: cagrad, pcgrad or sum."""
    cagrad_c: float = 0.5
    """Radius of CAGrad's ball, as a share of the mean gradient."""
    clip: float = 1.0
    """Largest norm of the combined gradient."""
    selection_stride: int = 4
    """Pixels between the samples of the basis query's image branch in training; 1: every pixel."""
    closed_loop: bool = True
    """False: the compensation is not told what the task saw (a feature of zeros); an ablation."""
    bfloat16: bool = False
    """Compute under autocast; weights and moments stay float32."""
    validate_every: int = 100
    validate_side: int = 640
    """Longer side to which held-out pairs are shrunk."""
    patience: int = 0
    """Stop after so many validations without a better one; 0: never."""
    seed: int = 0

    def __post_init__(self) -> None:
        check_recipe(self, "steps", "batch", "size", "selection_stride", "validate_every", "validate_side")


class ClosedLoop:
    """The networks of stage 2, ready for it: everything but the compensation frozen and in evaluation mode.

    Raises ValueError when there is no task, or a task has no pair to train on or to judge with.
    """

    def __init__(
        self,
        model: CLDyN,
        networks: Mapping[Task, TaskNetwork],
        train: Mapping[Task, Pairs],
        held_out: Mapping[Task, Pairs],
        recipe: ClosedLoopTraining,
    ) -> None:
        if not networks:
            raise ValueError("stage 2 needs at least one task with data")
        for task in networks:
            if not train[task] or not held_out[task]:
                raise ValueError(f"{task.value}: stage 2 needs pairs to train on and pairs held out, at least one each")
        self.model, self.networks, self.recipe = model, dict(networks), recipe
        self._train, self._held_out = train, held_out
        self.parameters = model.compensation()
        self._device = self.parameters[0].device
        model.requires_grad_(False)
        for parameter in self.parameters:
            parameter.requires_grad_(True)
        for network in self.networks.values():
            network.module.requires_grad_(False).eval()
        for rsc in (model.rsc_ir, model.rsc_vi):
            for block in rsc.blocks:
                block.query.training_stride = recipe.selection_stride  # type: ignore[union-attr]
        self._train_mode(True)
        self.baseline = {task: math.nan for task in self.networks}
        """Mean loss of the held-out pairs without compensation; the scale of each task's loss. Set by `measure`."""

    def measure(self) -> None:
        """Judge the held-out pairs without compensation, once, before the first step."""
        for task in self.networks:
            losses = [float(self._observe_batch(task, [pair])[1]) for pair in self._shrunk(task)]
            self.baseline[task] = float(np.mean(losses))
            if not 0 < self.baseline[task] < math.inf:
                raise FloatingPointError(f"{task.value}: the loss without compensation is {self.baseline[task]}")

    def gradient(self, step: int) -> tuple[Tensor, dict[str, float]]:
        """The combined gradient of all parameters, flat, and the step's figures. Raises FloatingPointError, naming the
        batch, for a loss that is not finite.
        """
        rows, figures = [], {}
        for index, task in enumerate(self.networks):
            pairs = self._draw(task, step, index)
            begun, before, feature, targets = self._observe_batch(task, pairs)
            noise = self.model.draw_noise(len(pairs), _generator(self.recipe.seed, step, index)).to(self._device)
            with self._autocast():
                fused = self.model.compensate(begun, feature, noise)
            after = self.networks[task].losses(fused.rgb.float().clamp(0.0, 1.0), targets)
            loss = (after + self.recipe.penalty * torch.relu(after - before)).mean() / self.baseline[task]
            if not torch.isfinite(loss):
                names = ", ".join(pair.name for pair in pairs)
                raise FloatingPointError(f"{task.value}: the loss is {loss.item()} at step {step}, batch {names}")
            rows.append(self._flat_gradient(loss))
            figures[f"{task.value}/loss"] = float(after.detach().mean())
            figures[f"{task.value}/gain"] = float((before - after.detach()).mean() / before.mean())
        combined = combine(torch.stack(rows), self.recipe.combine, c=self.recipe.cagrad_c, seed=self.recipe.seed + step)
        return combined, figures

    @torch.no_grad()
    def validate(self) -> dict[str, float]:
        """Loss of the held-out pairs with compensation over that without, by task and "mean"; below 1 it helps."""
        self._train_mode(False)
        relative = {}
        for task, network in self.networks.items():
            losses = []
            for pair in self._shrunk(task):
                begun, _, feature, targets = self._observe_batch(task, [pair])
                image = self.model.compensate(begun, feature).rgb.clamp(0.0, 1.0)
                losses.append(float(network.losses(image, targets)))
            relative[task.value] = float(np.mean(losses)) / self.baseline[task]
        self._train_mode(True)
        return {**relative, "mean": float(np.mean(list(relative.values())))}

    @torch.no_grad()
    def example(self, task: Task) -> tuple[FusionResult, FusionResult]:
        """The first held-out pair of a task, without and with compensation."""
        self._train_mode(False)
        begun, _, feature, _ = self._observe_batch(task, [next(self._shrunk(task))])
        pictures = self.model.fuse(begun), self.model.compensate(begun, feature)
        self._train_mode(True)
        return pictures

    @torch.no_grad()
    def _observe_batch(self, task: Task, pairs: Pairs) -> tuple[Beginning, Tensor, Tensor, list]:
        """The uncompensated pass: its shared beginning, each image's loss, the requirement, the ground truths."""
        targets = [pair.target for pair in pairs]
        begun = self.model.begin(*as_pair_batch(pairs, self._device))
        seen = self.networks[task].observe(self.model.fuse(begun).rgb.clamp(0.0, 1.0), targets)
        feature = seen.feature if self.recipe.closed_loop else torch.zeros_like(seen.feature)
        return begun, seen.losses, feature, targets

    def _draw(self, task: Task, step: int, index: int) -> list[LabelledPair]:
        pairs, size = self._train[task], (self.recipe.size, self.recipe.size)
        drawn = []
        for place in range((step - 1) * self.recipe.batch, step * self.recipe.batch):
            epoch, offset = divmod(place, len(pairs))
            order = np.random.default_rng((self.recipe.seed, index, epoch)).permutation(len(pairs))
            rng = np.random.default_rng((self.recipe.seed, index, place, 1))
            drawn.append(random_pair_view(pairs[int(order[offset])], size, rng))
        return drawn

    def _shrunk(self, task: Task) -> Iterator[LabelledPair]:
        return (shrink_pair(pair, self.recipe.validate_side) for pair in self._held_out[task])

    def _flat_gradient(self, loss: Tensor) -> Tensor:
        gradients = torch.autograd.grad(loss, self.parameters, allow_unused=True)
        parts = zip(self.parameters, gradients, strict=True)
        return torch.cat([torch.zeros(p.numel(), device=p.device) if g is None else g.flatten() for p, g in parts])

    def _train_mode(self, training: bool) -> None:
        self.model.eval()
        for part in (self.model.rsc_ir, self.model.rsc_vi, self.model.bank):
            part.train(training)

    def _autocast(self) -> AbstractContextManager:
        return torch.autocast(self._device.type, torch.bfloat16) if self.recipe.bfloat16 else nullcontext()


def _generator(*seeds: int) -> torch.Generator:
    return torch.Generator().manual_seed(int(np.random.SeedSequence(seeds).generate_state(1, np.uint64)[0] >> 1))
