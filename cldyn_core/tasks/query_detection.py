"""What RT-DETR and DETR share: detectors of transformers (Apache-2.0, an optional extra) that answer with a set of
queries, each of them with logits of the classes and a box.

transformers is imported when a network is built, never with the package; nothing is downloaded.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from cldyn_core.packages import missing_packages
from cldyn_core.tasks.base import Answer, Observation, TaskNetwork
from cldyn_core.tasks.boxes import size_of, to_center, to_corners, to_detections, unannotated
from cldyn_core.types import Detections, EngineSettings, Task


@dataclass(frozen=True)
class Pass:
    """One pass over a batch."""

    feature: Tensor
    """(B, 256, h, w)"""
    logits: Tensor
    """(B, layers, queries, classes), of every layer of the decoder; DETR has one more, of no object."""
    boxes: Tensor
    """(B, layers, queries, 4) center and size in [0, 1] of the image that the network was given."""
    rest: Any = None
    """What else the loss needs."""


class QueryDetector(TaskNetwork):
    """A detector without anchors and without non-maximum suppression."""

    task = Task.DETECTION

    def __init__(self, model: str, names: Sequence[str]) -> None:
        if model not in self.models():
            raise ValueError(f"unknown detector {model!r}; known: {', '.join(self.models())}")
        self.model, self.names = model, tuple(names)
        self.module: nn.Module = self._build()
        self.confidence = EngineSettings().detector_confidence

    @classmethod
    def missing(cls) -> str:
        """See TaskNetwork.missing."""
        packages = {"transformers": "transformers==5.23.0", "scipy": "scipy", "PIL": "pillow"}
        return missing_packages("the transformer detector", packages)

    def configure(self, settings: EngineSettings) -> None:
        """Take over the confidence threshold."""
        self.confidence = settings.detector_confidence

    def feature(self, image: Tensor) -> Tensor:
        """Output of the encoder, (B, 256, h, w) at stride 32."""
        return self._run(self._extend(image)).feature

    def losses(self, image: Tensor, targets: Sequence[Detections]) -> Tensor:
        """The authors' loss over the layers of the decoder of each image on its own, (B,); classes that an image was
        not annotated for are not punished.
        """
        return self.observe(image, targets).losses

    def observe(self, image: Tensor, targets: Sequence[Detections]) -> Observation:
        """Feature and losses from one pass."""
        extended = self._extend(image)
        labels = [_to_label(target, extended) for target in targets]
        seen = self._run(extended, labels)
        hidden = [unannotated(target, len(self.names), image.device) for target in targets]
        losses = [self._loss(seen, i, labels[i], hidden[i]) for i in range(len(targets))]
        return Observation(seen.feature, torch.stack(losses))

    def predict(self, image: Tensor) -> list[Detections]:  # type: ignore[override]
        """Boxes above the confidence, at most 300, clipped to the image."""
        extended = self._extend(image)
        return self._found(self._run(extended), image, extended)

    def answer(self, image: Tensor) -> Answer:
        """Feature and boxes from one pass."""
        extended = self._extend(image)
        seen = self._run(extended)
        return Answer(seen.feature, [*self._found(seen, image, extended)])

    def _found(self, seen: Pass, image: Tensor, extended: Tensor) -> list[Detections]:
        scores, corners = self._scores(seen.logits[:, -1]), to_corners(seen.boxes[:, -1]) * size_of(extended)
        found = []
        for b in range(len(image)):
            query, label = (scores[b] > self.confidence).nonzero(as_tuple=True)
            found.append(to_detections(corners[b, query], scores[b, query, label], label, size_of(image), self.names))
        return found

    def _extend(self, image: Tensor) -> Tensor:
        """The image, padded at the right and below as the network needs it."""
        return image

    @abstractmethod
    def _build(self) -> nn.Module:
        """The network `self.model` for the classes `self.names`, with random weights."""

    @abstractmethod
    def _run(self, image: Tensor, labels: list[dict[str, Tensor]] | None = None) -> Pass:
        """One pass over extended images; labels (of `_to_label`) where the loss is asked for."""

    @abstractmethod
    def _loss(self, seen: Pass, index: int, label: dict[str, Tensor], hidden: Tensor) -> Tensor:
        """Loss () of image `index` alone: transformers' loss of a batch is normalized over all its boxes.

        hidden: `unannotated` classes.
        """

    @abstractmethod
    def _scores(self, logits: Tensor) -> Tensor:
        """Logits (B, queries, classes or one more) -> scores (B, queries, classes) in [0, 1]."""


def _to_label(target: Detections, image: Tensor) -> dict[str, Tensor]:
    """As transformers wants it: boxes as center and size in [0, 1] of the image."""
    boxes = to_center(torch.from_numpy(target.boxes).to(image) / size_of(image))
    return {"class_labels": torch.from_numpy(target.labels).to(image.device), "boxes": boxes}
