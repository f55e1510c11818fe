"""Stage 1: train the VFN on the visual loss, without labels (paper, section "Training").

Where the recipe degrades pairs, the fused image is still compared with the clean ones: the VFN learns to fuse what lies
behind rain and noise.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor

from cldyn_core.checkpoint import save_weights
from cldyn_core.color import rgb_to_ycbcr
from cldyn_core.data.pair_views import random_crop
from cldyn_core.losses import missing_edges, vector_loss, visual_loss
from cldyn_core.model import CLDyN
from cldyn_core.train.draws import Draws, Pairs
from cldyn_core.train.pictures import side_by_side
from cldyn_core.train.processes import Processes
from cldyn_core.train.recipe import Recipe
from cldyn_core.train.run_folder import RunFolder
from cldyn_core.train.training import Training, check_pairs
from cldyn_core.types import LabelledPair, as_pair_batch

_LOSSES = {"paper": visual_loss, "vector": vector_loss}
_FIGURES = ("mean", "average", "maximum")
"""Visual loss of the network, and of the fusions that need none."""


@dataclass(frozen=True)
class VisualTraining(Recipe):
    """Recipe of stage 1. The paper's: 100 epochs of batches of 16 crops of 256 pixels."""

    steps: int = 3000
    batch: int = 8
    size: int = 128
    """Side of the square crops in pixels, a multiple of 32. Smaller pairs are enlarged."""
    weight_decay: float = 0.0
    clip: float = 100.0
    """Largest norm of the gradient; the visual loss rarely needs one."""
    loss: Literal["paper", "vector"] = "paper"
    """vector: edges keep the direction that they have in the stronger source."""
    edges: float = 0.0
    """Weight of the edges of both sources that are missing, as Q_AB/F counts them; not in the paper."""


class Visual(Training):
    """Stage 1, ready to run. Raises ValueError without a pair to train on and one to judge with."""

    stage = "visual"
    weights_file = "cldyn.safetensors"

    def __init__(
        self, model: CLDyN, train: Pairs, held_out: Pairs, recipe: VisualTraining, processes: Processes | None = None
    ) -> None:
        check_pairs("stage 1", train, held_out)
        super().__init__({"vfn": model.vfn}, recipe, processes or Processes(next(model.parameters()).device))
        self.model, self._held_out = model.eval(), held_out
        self._loss, self._edges = _LOSSES[recipe.loss], recipe.edges
        model.vfn.to(memory_format=torch.channels_last)  # type: ignore[call-overload]  # a third faster on a CPU
        self._draws = Draws(train, recipe, self.processes, view=random_crop)

    def gradients(self, step: int) -> tuple[Tensor, dict[str, float]]:
        """One row: of the visual loss. See Training.gradients."""
        pairs = self._draws.batch(step)
        self.train_mode(True)
        with self.autocast():
            fused = self.model.vfn(*self._inputs(self._draws.degraded(pairs, step)))
        losses, intensity, gradient = self._compare(fused.float(), *self._inputs(pairs))
        row = self.gradient_row(losses, "stage 1", pairs, step)
        figures = {"loss": losses, "intensity": intensity, "gradient": gradient}
        return row[None], {name: self.average(value) for name, value in figures.items()}

    @torch.no_grad()
    def validate(self) -> dict[str, float]:
        """Visual loss of the network ("mean"), of average and maximum, over the held-out pairs."""
        self.train_mode(False)
        return dict(zip(_FIGURES, self.held_out_means(self._held_out, self._judge, len(_FIGURES)), strict=True))

    @torch.no_grad()
    def show(self, folder: RunFolder, step: int) -> None:
        """First held-out pair: infrared, visible, fused."""
        visible, infrared = as_pair_batch([self.shrunk(self._held_out[0])], self.processes.device)
        fused = self.model.first_pass(visible, infrared).rgb
        folder.picture(step, "infrared_visible_fused", side_by_side(infrared, visible, fused))

    def save(self, path: Path, record: Mapping[str, Any]) -> None:
        """Write the CLDyN; its compensation is as it was."""
        save_weights(self.model, path, record)

    def _judge(self, pair: LabelledPair) -> Sequence[float]:
        infrared, luma = self._inputs([self.degraded(pair)])
        ways = (self.model.vfn(infrared, luma), (infrared + luma) / 2, torch.maximum(infrared, luma))
        wanted = self._inputs([pair])
        return [float(self._compare(fused, *wanted)[0]) for fused in ways]

    def _compare(self, fused: Tensor, infrared: Tensor, luma: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Loss, intensity and gradient term of each image, (B,)."""
        total, intensity, gradient = self._loss(fused, infrared, luma)
        if self._edges:
            total = total + self._edges * missing_edges(fused, infrared, luma)
        return total, intensity, gradient

    def _inputs(self, pairs: Pairs) -> tuple[Tensor, Tensor]:
        visible, infrared = as_pair_batch(pairs, self.processes.device)
        return infrared, rgb_to_ycbcr(visible)[:, :1]
