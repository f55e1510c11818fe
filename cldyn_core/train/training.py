"""What the trainings have in common, so that one runner (run.py) serves them all."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Any, ClassVar
from zlib import crc32

import numpy as np
import torch
from torch import Tensor, nn

from cldyn_core.data.pair_views import shrink_pair
from cldyn_core.train.draws import Pairs
from cldyn_core.train.processes import Processes, share_statistics
from cldyn_core.train.recipe import Recipe
from cldyn_core.train.run_folder import RunFolder
from cldyn_core.types import LabelledPair


class Training(ABC):
    """Networks and data, ready to be trained: gradients of a step, validation, pictures, the file of the weights."""

    stage: ClassVar[str]
    """Its name in the record of the weights."""
    weights_file: ClassVar[str]
    """Name of the best weights in the run folder."""
    loss_scale: float = 1.0
    """Factor of the loss while gradients are computed; above 1 in half precision."""

    def __init__(self, modules: Mapping[str, nn.Module], recipe: Recipe, processes: Processes) -> None:
        self.modules, self.recipe, self.processes = dict(modules), recipe, processes
        """Modules that learn, by name: what a run saves and resumes."""
        for module in self.modules.values():
            module.requires_grad_(True)
            share_statistics(module, processes)
        self.parameters: list[nn.Parameter] = [p for module in self.modules.values() for p in module.parameters()]

    def measure(self) -> None:  # noqa: B027
        """Find out what must be known before the first step. Called once."""

    @abstractmethod
    def gradients(self, step: int) -> tuple[Tensor, dict[str, float]]:
        """One row of this process's flat gradient a loss, (T, P), and the step's figures. See `gradient_row`."""

    def combine(self, rows: Tensor, step: int) -> Tensor:
        """Rows (T, P), summed over the processes, -> one gradient (P,)."""
        return rows.mean(0)

    @abstractmethod
    def validate(self) -> dict[str, float]:
        """Figures of the held-out pairs; the smaller "mean", the better."""

    def show(self, folder: RunFolder, step: int) -> None:  # noqa: B027
        """Leave pictures of the state in the run folder."""

    @abstractmethod
    def save(self, path: Path, record: Mapping[str, Any]) -> None:
        """Write the weights."""

    def train_mode(self, training: bool) -> None:
        """Put what learns into training or evaluation mode; the rest is in evaluation mode for good."""
        for module in self.modules.values():
            module.train(training)

    def autocast(self) -> AbstractContextManager:
        """The recipe's precision."""
        if self.recipe.precision == "float32":
            return nullcontext()
        return torch.autocast(self.processes.device.type, getattr(torch, self.recipe.precision))

    def gradient_row(self, losses: Tensor, what: str, pairs: Pairs, step: int) -> Tensor:
        """Flat gradient (P,) of this process's share of the mean of `losses`, one a pair of this process.

        Raises FloatingPointError, in all processes, naming the batch, for a loss that is not finite.
        """
        mean = losses.mean() / self.processes.count
        if not torch.isfinite(total := self.processes.sum(mean.detach())):
            names = ", ".join(pair.name for pair in pairs)
            raise FloatingPointError(f"{what}: the loss is {total.item()} at step {step}, batch {names}")
        gradients = torch.autograd.grad(mean * self.loss_scale, self.parameters, allow_unused=True)
        flat = [
            torch.zeros_like(p).flatten() if g is None else g.flatten()
            for p, g in zip(self.parameters, gradients, strict=True)
        ]
        return torch.cat(flat)

    def average(self, values: Tensor) -> float:
        """Mean over all processes' batches of equal size, without gradient."""
        return float(self.processes.sum(values.detach().mean()) / self.processes.count)

    def held_out_means(
        self, pairs: Pairs, figures: Callable[[LabelledPair], Sequence[float]], width: int = 1
    ) -> list[float]:
        """Means of `width` figures over held-out pairs, each shrunk to `validate_side`; processes share the work."""
        mine: Iterable[int] = range(self.processes.rank, len(pairs), self.processes.count)
        sums = torch.zeros(width, dtype=torch.float64, device=self.processes.device)
        for index in mine:
            values = figures(self.shrunk(pairs[index]))
            sums += torch.tensor(values, dtype=torch.float64, device=sums.device)
        means: list[float] = (self.processes.sum(sums) / len(pairs)).tolist()
        return means

    def shrunk(self, pair: LabelledPair) -> LabelledPair:
        """A held-out pair as it is judged."""
        return shrink_pair(pair, self.recipe.validate_side)

    def degraded(self, pair: LabelledPair) -> LabelledPair:
        """A held-out pair as the networks see it: if the recipe degrades pairs, some, always the same ones."""
        return self.recipe.worsened(pair, np.random.default_rng(crc32(pair.name.encode())))


def check_pairs(what: str, train: Pairs, held_out: Pairs) -> None:
    """Raise ValueError unless there are pairs to train on and pairs to judge with."""
    if not len(train) or not len(held_out):
        raise ValueError(f"{what}: needs pairs to train on and pairs held out, at least one each. Remedy: more pairs")
