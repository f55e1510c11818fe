"""Whether a backend computes what the reference backend computes: pairs, plans at random, a bar in dB."""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import cache
from pathlib import Path

import torch
from torch import Tensor

from cldyn_core.bank import CONFIGURATIONS, VECTORS
from cldyn_core.color import rgb_to_ycbcr
from cldyn_core.data.pairs import find_pairs
from cldyn_core.data.synthetic import CONDITIONS, SceneConfig, render_frame
from cldyn_core.engine.executors.base import Executor
from cldyn_core.engine.kernels import KernelTables, PlanKernels
from cldyn_core.engine.prepare import infrared_8bit
from cldyn_core.engine.thermal import ThermalRange
from cldyn_core.model import CLDyN
from cldyn_core.types import BlockPlan, CompensationPlan, as_batch

BAR_DB = 45.0
"""A backend whose image differs more from the reference's is refused: a mean error of 1.4 of 255."""
Pairs = Sequence[tuple[Tensor, Tensor]]
"""Infrared and luma, (1, 1, H, W) float32 in [0, 1] each, of any sizes."""
HELD_OUT = 6
"""Of the pairs for int8, how many only check it."""


@cache
def rendered_pairs(count: int, height: int = 96, width: int = 128, seed: int = 0) -> Pairs:
    """Rendered streets, the same ones each time."""
    pairs = []
    for i in range(count):
        config = SceneConfig(CONDITIONS[i % len(CONDITIONS)], width, height, 1, seed=seed + i)
        frame = render_frame(config, 0)
        pairs.append((as_batch(frame.infrared), _luma(as_batch(frame.visible))))
    return tuple(pairs)


def pairs_of(folder: Path, most: int) -> Pairs:
    """At most so many pairs of a folder, evenly over its length. Raises PairError, as `find_pairs` does."""
    found = find_pairs(folder)
    count = min(most, len(found))
    pairs = [found.load(i * len(found) // count) for i in range(count)]
    return [(as_batch(infrared_8bit(pair, ThermalRange())), _luma(as_batch(pair.visible))) for pair in pairs]


def split_calibration(pairs: Pairs) -> tuple[Pairs, Pairs]:
    """Pairs for int8 -> those that calibrate it and the last ones, which check it. Raises ValueError for too few.

    Real pairs, as the cameras give them: int8 that holds on rendered ones can be 5 dB worse on real ones.
    """
    if len(pairs) <= HELD_OUT:
        raise ValueError(
            f"int8 is calibrated with {HELD_OUT + 1} pairs or more of your cameras, {HELD_OUT} of which only check it, "
            f"not with {len(pairs)}"
        )
    return pairs[:-HELD_OUT], pairs[-HELD_OUT:]


def random_kernels(model: CLDyN, tables: KernelTables, count: int, seed: int = 0) -> list[PlanKernels]:
    """Kernels of `count` plans of one image, any that A2SI could choose."""
    generator = torch.Generator().manual_seed(seed)
    branches, blocks = model.architecture.branches, range(model.architecture.encoder_blocks - 1)

    def block() -> BlockPlan:
        configurations = torch.randint(CONFIGURATIONS, (1, branches), generator=generator)
        # Branches of the same configuration have different vectors.
        return BlockPlan(configurations, torch.randperm(VECTORS, generator=generator)[None, :branches])

    def plan() -> CompensationPlan:
        return CompensationPlan(tuple(block() for _ in blocks), tuple(block() for _ in blocks))

    return [tables.look_up(plan()) for _ in range(count)]


def worst_psnr(executor: Executor, reference: Executor, pairs: Pairs, kernels: Sequence[PlanKernels]) -> float:
    """The lowest peak signal-to-noise ratio of any pair, in dB, with its kernels and without; inf for equal images,
    -inf for one that is not finite.
    """
    worst = math.inf
    for (infrared, luma), plan in zip(pairs, kernels, strict=True):
        infrared, luma = infrared.to(executor.device), luma.to(executor.device)
        for given in (None, plan):
            expected = reference.fuse(infrared, luma, given)
            worst = min(worst, psnr(executor.fuse(infrared, luma, given), expected))
    return worst


def psnr(image: Tensor, expected: Tensor) -> float:
    """In dB for images in [0, 1]; inf for equal ones, -inf for one that is not finite."""
    error = float((image - expected).double().square().mean())
    if not math.isfinite(error):
        return -math.inf
    return -10 * math.log10(error) if error else math.inf


def _luma(rgb: Tensor) -> Tensor:
    return rgb_to_ycbcr(rgb)[:, :1].contiguous()
