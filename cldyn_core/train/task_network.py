"""Training of any task network on visible, infrared or fused images; on fused ones it is the paper's "retraining"."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor

from cldyn_core import tasks
from cldyn_core.data.transforms import random_light
from cldyn_core.model import CLDyN
from cldyn_core.tasks.base import TaskNetwork
from cldyn_core.train.draws import Draws, Pairs
from cldyn_core.train.pictures import side_by_side
from cldyn_core.train.processes import Processes
from cldyn_core.train.recipe import Recipe
from cldyn_core.train.run_folder import RunFolder
from cldyn_core.train.training import Training, check_pairs
from cldyn_core.types import LabelledPair, as_pair_batch

Input = Literal["fused", "compensated", "visible", "infrared", "mixed"]
"""What a network is shown; compensated: what the closed loop around the network to start from makes of a pair; mixed:
mostly fused images, so that one network serves all three.
"""

_HANDS = 4  # threads that vary the images; a GPU would wait for one
_KINDS = ("fused", "visible", "infrared")
_SHARES = (0.7, 0.15, 0.15)


@dataclass(frozen=True)
class TaskTraining(Recipe):
    """Recipe of a task network."""

    batch: int = 8
    warmup: int = 50
    clip: float = 10.0
    light: bool = True
    """Vary gain, gamma, saturation and noise of the images."""
    fuse_once: bool = False
    """Fuse whole pairs before the first step and draw views of the fused images; with given fused, and always with
    compensated. Much faster on a CPU. Needs memory: 1 MB for 640x480."""
    worse_copies: int = 3
    """With fuse_once and degraded above 0: so many degraded versions of each pair are fused beside the clean one."""


class TaskNetworkTraining(Training):
    """The training of one task network, ready to run; the fusion network is frozen."""

    stage = "task"
    weights_file = "network.safetensors"
    recipe: TaskTraining

    def __init__(
        self,
        network: TaskNetwork,
        fusion: CLDyN,
        train: Pairs,
        held_out: Pairs,
        given: Input,
        recipe: TaskTraining,
        processes: Processes | None = None,
    ) -> None:
        check_pairs(f"training {network.model}", train, held_out)
        device = next(fusion.parameters()).device
        super().__init__({"network": network.module}, recipe, processes or Processes(device))
        self.network, self._fusion, self._held_out, self._given = network, fusion.eval(), held_out, given
        self._draws = Draws(train, recipe, self.processes)
        self._hands = ThreadPoolExecutor(_HANDS)

    def gradients(self, step: int) -> tuple[Tensor, dict[str, float]]:
        """One row: of the task's loss. See Training.gradients."""
        pairs = self._draws.batch(step)
        generators = [self._draws.generator(step, place) for place in range(len(pairs))]
        images = torch.cat(list(self._hands.map(self._augmented, pairs, generators)))
        self.train_mode(True)
        with self.autocast():
            losses = self.network.losses(images, [pair.target for pair in pairs]).float()
        row = self.gradient_row(losses, self.network.task.value, pairs, step)
        return row[None], {"loss": self.average(losses)}

    @torch.no_grad()
    def validate(self) -> dict[str, float]:
        """The mean loss of the held-out pairs; of fused images where the training is mixed."""
        self.train_mode(False)
        (mean,) = self.held_out_means(self._held_out, self._judge)
        return {"mean": mean}

    @torch.no_grad()
    def show(self, folder: RunFolder, step: int) -> None:
        """What the network is shown of the first held-out pair."""
        image = shown(self.shrunk(self._held_out[0]), self._fusion, self._validated)
        folder.picture(step, self._validated, side_by_side(image))

    def save(self, path: Path, record: Mapping[str, Any]) -> None:
        """Write the network."""
        tasks.save_network(self.network, path, record)

    @property
    def _validated(self) -> str:
        return "fused" if self._given == "mixed" else self._given

    def _judge(self, pair: LabelledPair) -> Sequence[float]:
        image = shown(pair if self.recipe.fuse_once else self.degraded(pair), self._fusion, self._validated)
        return [float(self.network.losses(image, [pair.target]))]

    def _augmented(self, pair: LabelledPair, rng: np.random.Generator) -> Tensor:
        kind = str(rng.choice(_KINDS, p=_SHARES)) if self._given == "mixed" else self._given
        image = shown(pair if self.recipe.fuse_once else self.recipe.worsened(pair, rng), self._fusion, kind)
        if not self.recipe.light:
            return image
        lit = random_light(image[0].permute(1, 2, 0).cpu().numpy(), rng)
        return torch.from_numpy(lit).permute(2, 0, 1)[None].to(image)


@torch.no_grad()
def shown(pair: LabelledPair, fusion: CLDyN, kind: str) -> Tensor:
    """A pair as "fused", "visible" or "infrared" image, (1, 3, H, W) in [0, 1]."""
    visible, infrared = as_pair_batch([pair], next(fusion.parameters()).device)
    if kind == "infrared":
        return infrared.expand(-1, 3, -1, -1)
    return visible if kind == "visible" else fusion.first_pass(visible, infrared).rgb.clamp(0.0, 1.0)
