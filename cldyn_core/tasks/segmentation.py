"""Semantic segmentation with SegFormer (transformers, Apache-2.0, an optional extra), behind the task protocol.

transformers is imported when a network is built, never with the package; nothing is downloaded.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch.nn.functional as F
from torch import Tensor, nn

from cldyn_core.packages import import_transformers, missing_packages
from cldyn_core.tasks.images import IMAGENET, normalize, pad_to_stride
from cldyn_core.tasks.semantic import SemanticNetwork, check_names

_SMALL, _LARGE = (32, 64, 160, 256), (64, 128, 320, 512)
_MODELS: dict[str, dict[str, Any]] = {  # SegFormer (NeurIPS 2021), table 6: stages of the MiT, width of the decoder
    "segformer-b0": {"depths": (2, 2, 2, 2), "hidden_sizes": _SMALL, "decoder_hidden_size": 256},
    "segformer-b1": {"depths": (2, 2, 2, 2), "hidden_sizes": _LARGE, "decoder_hidden_size": 256},
    "segformer-b2": {"depths": (3, 4, 6, 3), "hidden_sizes": _LARGE, "decoder_hidden_size": 768},
    "segformer-b3": {"depths": (3, 4, 18, 3), "hidden_sizes": _LARGE, "decoder_hidden_size": 768},
    "segformer-b4": {"depths": (3, 8, 27, 3), "hidden_sizes": _LARGE, "decoder_hidden_size": 768},
    "segformer-b5": {"depths": (3, 6, 40, 3), "hidden_sizes": _LARGE, "decoder_hidden_size": 768},
}


class Segmenter(SemanticNetwork):
    """SegFormer B0 to B5; the paper's is B2."""

    kind = "segmenter"

    def __init__(self, model: str, names: Sequence[str]) -> None:
        if model not in _MODELS:
            raise ValueError(f"unknown segmenter {model!r}; known: {', '.join(_MODELS)}")
        self.model, self.names = model, check_names(names)
        config_class, network_class = import_transformers("SegformerConfig", "SegformerForSemanticSegmentation")
        self.module: nn.Module = network_class(config_class(num_labels=len(self.names), **_MODELS[model]))

    @classmethod
    def models(cls) -> tuple[str, ...]:
        """See TaskNetwork.models."""
        return tuple(_MODELS)

    @classmethod
    def missing(cls) -> str:
        """See TaskNetwork.missing."""
        return missing_packages("the segmenter", {"transformers": "transformers==5.23.0"})

    def forward(self, image: Tensor) -> tuple[Tensor, Tensor]:
        """Feature: output of the last LayerNorm of stage 4, tokens row by row, (B, ceil(H/32) * ceil(W/32), C); C = 256
        for B0, 512 for the others. Logits (B, classes, H, W).
        """
        height, width = image.shape[2:]
        padded = pad_to_stride(normalize(image, *IMAGENET))
        output = self.module(padded, output_hidden_states=True)
        logits = F.interpolate(output.logits, padded.shape[2:], mode="bilinear", align_corners=False)
        return output.hidden_states[-1].flatten(2).transpose(1, 2), logits[..., :height, :width]
