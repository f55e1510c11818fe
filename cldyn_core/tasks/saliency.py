"""Salient object detection with CTDNet behind the task protocol."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from cldyn_core.finite import check_finite
from cldyn_core.tasks.base import Answer, Observation, TaskNetwork
from cldyn_core.tasks.ctdnet import CTDNet, Saliency
from cldyn_core.tasks.images import normalize, pad_to_stride
from cldyn_core.types import SaliencyMap, Task

_WIDTHS = {"ctdnet-small": 32, "ctdnet18": 64}
_MEAN, _STD = (124.55, 118.90, 102.94), (56.77, 55.97, 57.50)  # RGB, of values in 0..255
_SIDE_WEIGHTS = (1 / 2, 1 / 4, 1 / 8, 1 / 16)


class SaliencyNetwork(TaskNetwork):
    """CTDNet-18, or its sibling of half the width. Images are extended to multiples of 32 by repeating their border.

    In training mode a batch has at least 2 images, else ValueError.
    """

    task = Task.SALIENCY
    kind = "saliency"

    def __init__(self, model: str = "ctdnet18", names: Sequence[str] = ()) -> None:
        if model not in _WIDTHS:
            raise ValueError(f"unknown saliency network {model!r}; known: {', '.join(_WIDTHS)}")
        self.model, self.names = model, ()
        self.module: nn.Module = CTDNet(_WIDTHS[model])

    @classmethod
    def models(cls) -> tuple[str, ...]:
        """See TaskNetwork.models."""
        return tuple(_WIDTHS)

    def feature(self, image: Tensor) -> Tensor:
        """Boundary refinement, (B, 64, H/4, W/4) of the extended image; 32 channels for the small one."""
        return self._run(image).feature

    def losses(self, image: Tensor, targets: Sequence[SaliencyMap]) -> Tensor:
        """Soft IoU and cross entropy of the mask and four side outputs, cross entropy of the edge; each image's own."""
        return self.observe(image, targets).losses

    def observe(self, image: Tensor, targets: Sequence[SaliencyMap]) -> Observation:
        """See TaskNetwork.observe."""
        seen = self._run(image)
        truth = masks(targets, image)
        total = region_loss(seen.mask, truth) + _cross_entropy(seen.edge, edge_of(truth))
        for weight, logits in zip(_SIDE_WEIGHTS, seen.side, strict=True):
            total = total + weight * region_loss(logits, truth)
        return Observation(seen.feature, total)

    def predict(self, image: Tensor) -> list[SaliencyMap]:  # type: ignore[override]
        """Probability of salience, 0..255."""
        return to_maps(self._run(image).mask)

    def answer(self, image: Tensor) -> Answer:
        """Feature and probabilities from one pass."""
        seen = self._run(image)
        return Answer(seen.feature, [*to_maps(seen.mask)])

    def _run(self, image: Tensor) -> Saliency:
        """Logits cropped to the image."""
        if self.module.training and len(image) < 2:  # BatchNorm of the global mean: one value per channel and image
            raise ValueError("CTDNet trains on batches of at least 2 images")
        height, width = image.shape[2:]
        seen: Saliency = self.module(pad_to_stride(normalize(image, _MEAN, _STD), mode="replicate"))
        mask, edge, *side = (x[:, :, :height, :width] for x in (seen.mask, seen.edge, *seen.side))
        return replace(seen, mask=mask, edge=edge, side=(side[0], side[1], side[2], side[3]))


def edge_of(mask: Tensor) -> Tensor:
    """(B, 1, H, W) in {0, 1} -> its boundary, two pixels wide: VT5000 comes without edges."""
    return F.max_pool2d(mask, 3, 1, 1) + F.max_pool2d(-mask, 3, 1, 1)


def masks(targets: Sequence[SaliencyMap], like: Tensor) -> Tensor:
    """(B, 1, H, W) in {0, 1}."""
    return torch.stack([torch.from_numpy(target.values >= 128).float()[None] for target in targets]).to(like)


def to_maps(logits: Tensor) -> list[SaliencyMap]:
    """(B, 1, H, W) logits -> probabilities, 0..255. Raises FloatingPointError for NaN or infinite ones."""
    values = torch.sigmoid(check_finite(logits, "the saliency map")[:, 0]).mul(255).round().to(torch.uint8)
    return [SaliencyMap(value) for value in values.cpu().numpy()]


def region_loss(logits: Tensor, truth: Tensor) -> Tensor:
    """(B,): soft IoU with 1 added to both areas, plus 0.6 times the cross entropy."""
    probability = torch.sigmoid(logits)
    intersection = (probability * truth).sum((1, 2, 3))
    union = (probability + truth).sum((1, 2, 3)) - intersection
    return 1 - (intersection + 1) / (union + 1) + 0.6 * _cross_entropy(logits, truth)


def _cross_entropy(logits: Tensor, truth: Tensor) -> Tensor:
    return F.binary_cross_entropy_with_logits(logits, truth, reduction="none").mean((1, 2, 3))
