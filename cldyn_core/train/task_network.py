"""Training of any task network on visible, infrared or fused images; on fused ones it is the paper's "retraining"."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from torch import Tensor

from cldyn_core.data.pair_views import random_pair_view, shrink_pair
from cldyn_core.model import CLDyN
from cldyn_core.tasks.base import TaskNetwork
from cldyn_core.train.recipes import check_recipe, cosine
from cldyn_core.types import LabelledPair, as_pair_batch

Input = Literal["fused", "visible", "infrared"]


@dataclass(frozen=True)
class TaskTraining:
    """Recipe of a task network: Adam with decoupled decay, warm-up, cosine; the best by validation is kept."""

    steps: int = 1000
    batch: int = 8
    size: int = 256
    """Side of the square training windows in pixels, a multiple of 32."""
    learning_rate: float = 1e-3
    weight_decay: float = 1e-4
    warmup: int = 50
    clip: float = 10.0
    validate_every: int = 100
    validate_side: int = 640
    """Longer side to which held-out pairs are shrunk."""
    seed: int = 0

    def __post_init__(self) -> None:
        check_recipe(self, "steps", "batch", "size", "validate_every", "validate_side")


@dataclass(frozen=True)
class TaskProgress:
    """Loss of a step; mean loss of the held-out pairs after the steps that judged."""

    step: int
    loss: float
    validation: float | None


def train_network(
    network: TaskNetwork,
    fusion: CLDyN,
    pairs: Sequence[LabelledPair],
    held_out: Sequence[LabelledPair],
    given: Input,
    recipe: TaskTraining,
    report: Callable[[TaskProgress], None],
) -> float:
    """Train in place; the network ends with its best weights, in evaluation mode. Returns their held-out loss.

    Raises ValueError without pairs, FloatingPointError, naming the batch, for a loss that is not finite.
    """
    if not pairs or not held_out:
        raise ValueError("a task network needs pairs to train on and pairs held out, at least one each")
    torch.manual_seed(recipe.seed)  # dropout
    rng = np.random.default_rng(recipe.seed)
    optimizer = torch.optim.AdamW(network.module.parameters(), weight_decay=recipe.weight_decay)
    best, weights = math.inf, network.module.state_dict()
    for step in range(1, recipe.steps + 1):
        batch = [_draw(pairs, recipe, rng) for _ in range(recipe.batch)]
        network.module.train()
        loss = network.losses(images(batch, fusion, given), [pair.target for pair in batch]).mean()
        if not torch.isfinite(loss):
            names = ", ".join(pair.name for pair in batch)
            raise FloatingPointError(f"the loss is {loss.item()} at step {step}, batch {names}")
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(network.module.parameters(), recipe.clip)
        for group in optimizer.param_groups:
            group["lr"] = recipe.learning_rate * _schedule(step, recipe)
        optimizer.step()
        validation = None
        if step % recipe.validate_every == 0 or step == recipe.steps:
            validation = judge_network(network, fusion, held_out, given, recipe.validate_side)
            if validation < best:
                best = validation
                weights = {name: value.clone() for name, value in network.module.state_dict().items()}
        report(TaskProgress(step, loss.item(), validation))
    network.module.load_state_dict(weights)
    network.module.eval()
    return best


@torch.no_grad()
def judge_network(network: TaskNetwork, fusion: CLDyN, pairs: Sequence[LabelledPair], given: Input, side: int) -> float:
    """Mean loss over whole pairs, their longer side shrunk to `side`."""
    network.module.eval()
    shrunk = (shrink_pair(pair, side) for pair in pairs)
    return float(np.mean([float(network.losses(images([pair], fusion, given), [pair.target])) for pair in shrunk]))


@torch.no_grad()
def images(pairs: Sequence[LabelledPair], fusion: CLDyN, given: Input) -> Tensor:
    """What the network is shown of pairs of one size, (B, 3, H, W) in [0, 1]."""
    device = next(fusion.parameters()).device
    visible, infrared = as_pair_batch(pairs, device)
    if given == "infrared":
        return infrared.expand(-1, 3, -1, -1)
    return visible if given == "visible" else fusion.first_pass(visible, infrared).rgb.clamp(0.0, 1.0)


def _draw(pairs: Sequence[LabelledPair], recipe: TaskTraining, rng: np.random.Generator) -> LabelledPair:
    return random_pair_view(pairs[int(rng.integers(len(pairs)))], (recipe.size, recipe.size), rng)


def _schedule(step: int, recipe: TaskTraining) -> float:
    warm = min(1.0, step / max(1, recipe.warmup))
    return warm * cosine(step / recipe.steps, 0.02)
