"""What the networks for semantic segmentation share: losses and answers from a feature and logits."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterable, Sequence

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from cldyn_core.finite import check_finite
from cldyn_core.tasks.base import Answer, Observation, TaskNetwork
from cldyn_core.types import IGNORED, LabelMap, Task


class SemanticNetwork(TaskNetwork):
    """A network that gives every pixel a class. At most 255 classes."""

    task = Task.SEGMENTATION
    balance: float = 0.0
    """Of the losses: 0 counts every pixel alike, 1 every class of an image; 0.5 lies between. Small things need it."""

    @abstractmethod
    def forward(self, image: Tensor) -> tuple[Tensor, Tensor]:
        """Image (B, 3, H, W) in [0, 1] -> the requirement F_d, and logits (B, classes, H, W)."""

    def feature(self, image: Tensor) -> Tensor:
        """See TaskNetwork.feature."""
        return self.forward(image)[0]

    def losses(self, image: Tensor, targets: Sequence[LabelMap]) -> Tensor:
        """Mean cross entropy over the labelled pixels of each image, (B,), weighed by `balance`; 0 for an image without
        any.
        """
        return _cross_entropy(self.forward(image)[1], targets, self.balance)

    def observe(self, image: Tensor, targets: Sequence[LabelMap]) -> Observation:
        """Feature and losses from one pass."""
        feature, logits = self.forward(image)
        return Observation(feature, _cross_entropy(logits, targets, self.balance))

    def predict(self, image: Tensor) -> list[LabelMap]:  # type: ignore[override]
        """The likeliest class of each pixel."""
        return self._likeliest(self.forward(image)[1])

    def answer(self, image: Tensor) -> Answer:
        """Feature and classes from one pass."""
        feature, logits = self.forward(image)
        return Answer(feature, [*self._likeliest(logits)])

    def _likeliest(self, logits: Tensor) -> list[LabelMap]:
        logits = check_finite(logits, "the segmentation")
        return [LabelMap(one, self.names) for one in logits.argmax(1).to(torch.uint8).cpu().numpy()]


def check_names(names: Sequence[str]) -> tuple[str, ...]:
    """The class names. Raises ValueError for none, or more than a label map can hold."""
    if not 1 <= len(names) <= IGNORED:
        raise ValueError(f"a segmenter needs 1 to {IGNORED} class names, not {len(names)}")
    return tuple(names)


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
