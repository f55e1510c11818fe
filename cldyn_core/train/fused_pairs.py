"""Pairs whose visible image is the fused one, fused once and whole: a training then draws its views from it.

Fusing costs more than a step of a small task network, and a view of a fused image hardly differs from a fused view.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import overload

import numpy as np

from cldyn_core.engine.engine import FusionEngine
from cldyn_core.train.draws import Pairs
from cldyn_core.train.recipe import Recipe
from cldyn_core.types import FramePair, LabelledPair


class FusedPairs(Sequence[LabelledPair]):
    """Each pair fused as it is, then `worse` times after the recipe's degradations; all are kept in memory."""

    def __init__(self, pairs: Pairs, engine: FusionEngine, recipe: Recipe, worse: int = 0) -> None:
        self._fused = [_fused(pair, engine) for pair in pairs]
        always = replace(recipe, degraded=1.0)
        for copy in range(worse):
            rng = np.random.default_rng((recipe.seed, copy, 4))
            self._fused += [_fused(always.worsened(pair, rng), engine) for pair in pairs]

    def __len__(self) -> int:
        return len(self._fused)

    @overload
    def __getitem__(self, index: int) -> LabelledPair: ...
    @overload
    def __getitem__(self, index: slice) -> list[LabelledPair]: ...
    def __getitem__(self, index: int | slice) -> LabelledPair | list[LabelledPair]:
        return self._fused[index]


def _fused(pair: LabelledPair, engine: FusionEngine) -> LabelledPair:
    return replace(pair, visible=engine.step(FramePair(pair.visible, pair.infrared)).fused)
