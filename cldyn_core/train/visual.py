"""Stage 1: train the VFN on the visual loss, without labels (paper, section "Training")."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from cldyn_core.losses import visual_loss
from cldyn_core.types import as_batch
from cldyn_core.vfn import VFN

LumaPair = tuple[NDArray[np.uint8], NDArray[np.uint8]]
"""Infrared and visible luma, (H, W) each, of the same size."""


@dataclass(frozen=True)
class VisualTraining:
    """Recipe of stage 1. The paper's: 100 epochs of batches of 16 crops of 256 pixels, learning rate 1e-3."""

    steps: int = 3000
    batch: int = 8
    crop: int = 128
    """Side of the square crops in pixels."""
    learning_rate: float = 1e-3
    """Of Adam; falls to 1 % along a cosine."""
    seed: int = 0
    report_every: int = 50


@dataclass(frozen=True)
class Progress:
    """Mean of the loss and its terms over the last `report_every` steps."""

    step: int
    loss: float
    intensity: float
    gradient: float
    seconds: float


def train_visual(
    vfn: VFN, pairs: Sequence[LumaPair], recipe: VisualTraining, report: Callable[[Progress], None] = lambda _: None
) -> VFN:
    """Train in place and return the network in evaluation mode. Raises ValueError for pairs smaller than the crop and
    FloatingPointError for a loss that is not finite.
    """
    if recipe.crop < 8:
        raise ValueError(f"crops of {recipe.crop} pixels teach nothing; take at least 8")
    small = [i for i, (ir, _) in enumerate(pairs) if min(ir.shape) < recipe.crop]
    if small or not pairs:
        raise ValueError(
            f"stage 1 needs pairs of at least {recipe.crop} pixels; too small: {small[:5] or 'no pairs at all'}"
        )
    torch.manual_seed(recipe.seed)
    rng = np.random.default_rng(recipe.seed)
    device = next(vfn.parameters()).device
    vfn.to(memory_format=torch.channels_last)  # type: ignore[call-overload]  # a third faster on a CPU
    optimizer = torch.optim.Adam(vfn.parameters(), lr=recipe.learning_rate)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, recipe.steps, 0.01 * recipe.learning_rate)
    vfn.train()
    sums, start = np.zeros(3), time.monotonic()
    for step in range(1, recipe.steps + 1):
        infrared, luma = sample_batch(pairs, recipe, rng)
        infrared, luma = infrared.to(device), luma.to(device)
        total, intensity, gradient = visual_loss(vfn(infrared, luma), infrared, luma)
        if not torch.isfinite(total):
            raise FloatingPointError(f"the loss is {total.item()} at step {step}; lower the learning rate")
        optimizer.zero_grad()
        total.backward()
        optimizer.step()
        schedule.step()
        sums += total.item(), intensity.item(), gradient.item()
        if step % recipe.report_every == 0 or step == recipe.steps:
            loss, *terms = (sums / ((step - 1) % recipe.report_every + 1)).tolist()
            report(Progress(step, loss, terms[0], terms[1], time.monotonic() - start))
            sums[:] = 0
    return vfn.eval().to(memory_format=torch.contiguous_format)  # type: ignore[call-overload]


@torch.inference_mode()
def judge_visual(vfn: VFN, pairs: Sequence[LumaPair]) -> dict[str, float]:
    """Mean visual loss over whole images of the network, and of the fusions that need none: "vfn", "average",
    "maximum".
    """
    device = next(vfn.parameters()).device
    sums = {"vfn": 0.0, "average": 0.0, "maximum": 0.0}
    for pair in pairs:
        infrared, luma = (as_batch(image, device) for image in pair)
        fused = {
            "vfn": vfn(infrared, luma),
            "average": (infrared + luma) / 2,
            "maximum": torch.maximum(infrared, luma),
        }
        for name, image in fused.items():
            sums[name] += visual_loss(image, infrared, luma)[0].item() / len(pairs)
    return sums


def sample_batch(pairs: Sequence[LumaPair], recipe: VisualTraining, rng: np.random.Generator) -> tuple[Tensor, Tensor]:
    """Random crops, the same flip and quarter turn for both modalities -> two (B, 1, crop, crop) float32 in [0, 1]."""
    crops = np.empty((2, recipe.batch, 1, recipe.crop, recipe.crop), np.uint8)
    for b in range(recipe.batch):
        pair = pairs[int(rng.integers(len(pairs)))]
        h, w = pair[0].shape
        top, left = int(rng.integers(h - recipe.crop + 1)), int(rng.integers(w - recipe.crop + 1))
        flip, turns = bool(rng.integers(2)), int(rng.integers(4))
        for modality, image in enumerate(pair):
            crop = np.rot90(image[top : top + recipe.crop, left : left + recipe.crop], turns)
            crops[modality, b, 0] = crop[:, ::-1] if flip else crop
    infrared, luma = torch.from_numpy(crops).float().div_(255.0)
    return infrared, luma
