"""What a training step sees: a function of seed, step and place in the batch alone, whoever computes it and when."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor

import numpy as np
import torch

from cldyn_core.data.pair_views import random_pair_view
from cldyn_core.train.processes import Processes
from cldyn_core.train.recipe import Recipe
from cldyn_core.types import LabelledPair

Pairs = Sequence[LabelledPair]
View = Callable[[LabelledPair, tuple[int, int], np.random.Generator], LabelledPair]
"""Draws a window of a size (H, W) from a pair."""


class Draws:
    """Batches drawn from some pairs, this process's part of them; the next is made while a step computes.

    stream: distinguishes the draws of one training (one a task).
    """

    def __init__(
        self, pairs: Pairs, recipe: Recipe, processes: Processes, stream: int = 0, view: View = random_pair_view
    ) -> None:
        self._pairs, self._recipe, self._stream, self._view = pairs, recipe, stream, view
        part = processes.part(recipe.batch)
        self._places = range(recipe.batch)[part]
        self._worker = ThreadPoolExecutor(1)
        self._next: tuple[int, Future[list[LabelledPair]]] | None = None

    def batch(self, step: int) -> list[LabelledPair]:
        """The pairs of a step (from 1), every pair once an epoch."""
        ahead, self._next = self._next, (step + 1, self._worker.submit(self._draw, step + 1))
        return ahead[1].result() if ahead and ahead[0] == step else self._draw(step)

    def degraded(self, pairs: Pairs, step: int) -> list[LabelledPair]:
        """The pairs of a step as the networks see them: some made worse, if the recipe wants it."""
        return [self._recipe.worsened(pair, self._rng(step, place, 3)) for place, pair in enumerate(pairs)]

    def generator(self, step: int, place: int) -> np.random.Generator:
        """Another stream of random numbers, for what is drawn later for a pair of a step; place: in this part."""
        return self._rng(step, place, 2)

    def _rng(self, step: int, place: int, purpose: int) -> np.random.Generator:
        return np.random.default_rng((self._recipe.seed, self._stream, step, self._places[place], purpose))

    def _draw(self, step: int) -> list[LabelledPair]:
        drawn = []
        for place in self._places:
            position = (step - 1) * self._recipe.batch + place
            epoch, offset = divmod(position, len(self._pairs))
            order = np.random.default_rng((self._recipe.seed, self._stream, epoch)).permutation(len(self._pairs))
            rng = np.random.default_rng((self._recipe.seed, self._stream, position, 1))
            size = (self._recipe.size, self._recipe.size)
            drawn.append(self._view(self._pairs[int(order[offset])], size, rng))
        return drawn


def torch_seed(*seeds: int) -> int:
    """One 63-bit seed from several numbers."""
    return int(np.random.SeedSequence(seeds).generate_state(1, np.uint64)[0] >> 1)


def torch_generator(*seeds: int) -> torch.Generator:
    """A generator on the CPU that is a function of some numbers."""
    return torch.Generator().manual_seed(torch_seed(*seeds))
