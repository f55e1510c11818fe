"""Semantic segmentation with SegFormer (transformers, Apache-2.0, an optional extra), behind the task protocol.

transformers is imported when a network is built, never with the package; nothing is downloaded.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from cldyn_core.packages import import_transformers, missing_packages
from cldyn_core.tasks.base import Answer, Observation, TaskNetwork
from cldyn_core.tasks.images import IMAGENET, normalize, pad_to_stride
from cldyn_core.types import IGNORED, LabelMap, Task

_SMALL, _LARGE = (32, 64, 160, 256), (64, 128, 320, 512)
_MODELS: dict[str, dict[str, Any]] = {  # SegFormer (NeurIPS 2021), table 6: stages of the MiT, width of the decoder
    "segformer-b0": {"depths": (2, 2, 2, 2), "hidden_sizes": _SMALL, "decoder_hidden_size": 256},
    "segformer-b1": {"depths": (2, 2, 2, 2), "hidden_sizes": _LARGE, "decoder_hidden_size": 256},
    "segformer-b2": {"depths": (3, 4, 6, 3), "hidden_sizes": _LARGE, "decoder_hidden_size": 768},
    "segformer-b3": {"depths": (3, 4, 18, 3), "hidden_sizes": _LARGE, "decoder_hidden_size": 768},
    "segformer-b4": {"depths": (3, 8, 27, 3), "hidden_sizes": _LARGE, "decoder_hidden_size": 768},
    "segformer-b5": {"depths": (3, 6, 40, 3), "hidden_sizes": _LARGE, "decoder_hidden_size": 768},
}


class Segmenter(TaskNetwork):
    """SegFormer B0 to B5; the paper's is B2. At most 255 classes."""

    task = Task.SEGMENTATION
    kind = "segmenter"
    balance: float = 0.0
    """Of the losses: 0 counts every pixel alike, 1 every class of an image; 0.5 lies between. Small things need it."""

    def __init__(self, model: str, names: Sequence[str]) -> None:
        if model not in _MODELS:
            raise ValueError(f"unknown segmenter {model!r}; known: {', '.join(_MODELS)}")
        if not 1 <= len(names) <= IGNORED:
            raise ValueError(f"a segmenter needs 1 to {IGNORED} class names, not {len(names)}")
        config_class, network_class = import_transformers("SegformerConfig", "SegformerForSemanticSegmentation")
        self.model, self.names = model, tuple(names)
        self.module: nn.Module = network_class(config_class(num_labels=len(self.names), **_MODELS[model]))

    @classmethod
    def models(cls) -> tuple[str, ...]:
        """See TaskNetwork.models."""
        return tuple(_MODELS)

    @classmethod
    def missing(cls) -> str:
        """See TaskNetwork.missing."""
        return missing_packages("the segmenter", {"transformers": "transformers==5.23.0"})

    def feature(self, image: Tensor) -> Tensor:
        """Output of the last LayerNorm of stage 4, tokens row by row: (B, ceil(H/32) * ceil(W/32), C); C = 256 for B0,
        512 for the others.
        """
        return self._forward(image)[0]

    def losses(self, image: Tensor, targets: Sequence[LabelMap]) -> Tensor:
        """Mean cross entropy over the labelled pixels of each image, (B,), weighed by `balance`; 0 for an image without
        any.
        """
        return _cross_entropy(self._forward(image)[1], targets, self.balance)

    def observe(self, image: Tensor, targets: Sequence[LabelMap]) -> Observation:
        """Feature and losses from one pass."""
        feature, logits = self._forward(image)
        return Observation(feature, _cross_entropy(logits, targets, self.balance))

    def predict(self, image: Tensor) -> list[LabelMap]:  # type: ignore[override]
        """The likeliest class of each pixel."""
        return self._likeliest(self._forward(image)[1])

    def answer(self, image: Tensor) -> Answer:
        """Feature and classes from one pass."""
        feature, logits = self._forward(image)
        return Answer(feature, [*self._likeliest(logits)])

    def _likeliest(self, logits: Tensor) -> list[LabelMap]:
        return [LabelMap(one, self.names) for one in logits.argmax(1).to(torch.uint8).cpu().numpy()]

    def _forward(self, image: Tensor) -> tuple[Tensor, Tensor]:
        """Feature, and logits (B, classes, H, W)."""
        height, width = image.shape[2:]
        padded = pad_to_stride(normalize(image, *IMAGENET))
        output = self.module(padded, output_hidden_states=True)
        logits = F.interpolate(output.logits, padded.shape[2:], mode="bilinear", align_corners=False)
        return output.hidden_states[-1].flatten(2).transpose(1, 2), logits[..., :height, :width]


def _cross_entropy(logits: Tensor, targets: Iterable[LabelMap], balance: float) -> Tensor:
    classes = torch.from_numpy(np.stack([target.classes for target in targets])).to(logits.device).long()
    pixels = F.cross_entropy(logits, classes, ignore_index=IGNORED, reduction="none")  # 0 where ignored
    weights = _weights(classes, logits.shape[1], balance).to(pixels)
    return (weights * pixels).sum((1, 2)) / weights.sum((1, 2)).clamp(min=1e-6)


def _weights(classes: Tensor, count: int, balance: float) -> Tensor:
    """(B, H, W): a pixel of a class with n pixels in its image counts n ** -balance; an ignored one 0."""
    known = classes != IGNORED
    if not balance:
        return known
    index = torch.where(known, classes, count).flatten(1)
    sizes = torch.zeros(len(classes), count + 1, device=classes.device)
    sizes.scatter_add_(1, index, torch.ones_like(index, dtype=sizes.dtype))
    return sizes.clamp(min=1).pow(-balance).gather(1, index).view_as(classes) * known
