"""Semantic segmentation with a small convolutional network (csp_pyramid.py), behind the task protocol."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor, nn

from cldyn_core.tasks.csp_pyramid import CspPyramid
from cldyn_core.tasks.semantic import SemanticNetwork, check_names


class FpnSegmenter(SemanticNetwork):
    """Logits of each class from the pyramid."""

    kind = "fpn-segmenter"

    def __init__(self, model: str = "csp-fpn", names: Sequence[str] = ()) -> None:
        if model not in self.models():
            raise ValueError(f"unknown segmenter {model!r}; known: {', '.join(self.models())}")
        self.model, self.names = model, check_names(names)
        self.module: nn.Module = CspPyramid(len(self.names))

    @classmethod
    def models(cls) -> tuple[str, ...]:
        """See TaskNetwork.models."""
        return ("csp-fpn",)

    def forward(self, image: Tensor) -> tuple[Tensor, Tensor]:
        """Feature: the backbone's last output, (B, 256, ceil(H/32), ceil(W/32)). Logits (B, classes, H, W)."""
        feature, logits = self.module(image)
        return feature, logits
