"""Salient object detection with a small convolutional network (csp_pyramid.py), behind the task protocol."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor, nn

from cldyn_core.tasks.base import Answer, Observation, TaskNetwork
from cldyn_core.tasks.csp_pyramid import CspPyramid
from cldyn_core.tasks.saliency import masks, region_loss, to_maps
from cldyn_core.types import SaliencyMap, Task


class FpnSaliency(TaskNetwork):
    """One logit a pixel from the pyramid."""

    task = Task.SALIENCY
    kind = "fpn-saliency"

    def __init__(self, model: str = "csp-fpn-saliency", names: Sequence[str] = ()) -> None:
        if model not in self.models():
            raise ValueError(f"unknown saliency network {model!r}; known: {', '.join(self.models())}")
        self.model, self.names = model, ()
        self.module: nn.Module = CspPyramid(1)

    @classmethod
    def models(cls) -> tuple[str, ...]:
        """See TaskNetwork.models."""
        return ("csp-fpn-saliency",)

    def feature(self, image: Tensor) -> Tensor:
        """The backbone's last output, (B, 256, ceil(H/32), ceil(W/32))."""
        return self._run(image)[0]

    def losses(self, image: Tensor, targets: Sequence[SaliencyMap]) -> Tensor:
        """Soft IoU and cross entropy of the mask; each image's own."""
        return self.observe(image, targets).losses

    def observe(self, image: Tensor, targets: Sequence[SaliencyMap]) -> Observation:
        """See TaskNetwork.observe."""
        feature, logits = self._run(image)
        return Observation(feature, region_loss(logits, masks(targets, image)))

    def predict(self, image: Tensor) -> list[SaliencyMap]:  # type: ignore[override]
        """Probability of salience, 0..255."""
        return to_maps(self._run(image)[1])

    def answer(self, image: Tensor) -> Answer:
        """Feature and probabilities from one pass."""
        feature, logits = self._run(image)
        return Answer(feature, [*to_maps(logits)])

    def _run(self, image: Tensor) -> tuple[Tensor, Tensor]:
        feature, logits = self.module(image)
        return feature, logits
