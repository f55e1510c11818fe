"""Semantic segmentation with a small convolutional network: CSP backbone, feature pyramid. Needs nothing but torch.

The backbone is the one of YOLOv5 (v6), with the names of its tensors, so that it can start from a detector trained on a
large data set: on a few dozen labelled pairs a transformer without such a start learns nothing.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from cldyn_core.tasks.images import pad_to_stride
from cldyn_core.tasks.semantic import SemanticNetwork, check_names

_WIDTHS = (16, 32, 64, 128, 256)  # of YOLOv5n
_REPEATS = (1, 2, 3, 1)
_PYRAMID = 64


class FpnSegmenter(SemanticNetwork):
    """Backbone of YOLOv5n, top-down pyramid (Lin et al., CVPR 2017), logits at a quarter of the size."""

    kind = "fpn-segmenter"

    def __init__(self, model: str = "csp-fpn", names: Sequence[str] = ()) -> None:
        if model not in self.models():
            raise ValueError(f"unknown segmenter {model!r}; known: {', '.join(self.models())}")
        self.model, self.names = model, check_names(names)
        self.module: nn.Module = _Network(len(self.names))

    @classmethod
    def models(cls) -> tuple[str, ...]:
        """See TaskNetwork.models."""
        return ("csp-fpn",)

    def forward(self, image: Tensor) -> tuple[Tensor, Tensor]:
        """Feature: the backbone's last output, (B, 256, ceil(H/32), ceil(W/32)). Logits (B, classes, H, W)."""
        height, width = image.shape[2:]
        padded = pad_to_stride(image)
        feature, logits = self.module(padded)
        logits = F.interpolate(logits, padded.shape[2:], mode="bilinear", align_corners=False)
        return feature, logits[..., :height, :width]


class _Network(nn.Module):
    def __init__(self, classes: int) -> None:
        super().__init__()
        layers: list[nn.Module] = [_Conv(3, _WIDTHS[0], 6, 2, 2)]
        for before, width, repeats in zip(_WIDTHS, _WIDTHS[1:], _REPEATS, strict=False):
            layers += [_Conv(before, width, 3, 2), _C3(width, repeats)]
        self.model = nn.ModuleList([*layers, _Sppf(_WIDTHS[-1])])
        self.lateral = nn.ModuleList(_Conv(width, _PYRAMID) for width in _WIDTHS[1:])
        self.smooth = nn.Sequential(_Conv(_PYRAMID, _PYRAMID, 3), _Conv(_PYRAMID, _PYRAMID, 3))
        self.head = nn.Conv2d(_PYRAMID, classes, 1)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Image whose sides are multiples of 32 -> feature of stride 32, logits of stride 4."""
        levels = []
        for layer in self.model:
            x = layer(x)
            if isinstance(layer, _C3):
                levels.append(x)
        levels[-1] = x  # after the pooling
        top = self.lateral[-1](x)
        for level, lateral in zip(levels[-2::-1], list(self.lateral)[-2::-1], strict=True):
            top = F.interpolate(top, level.shape[2:], mode="bilinear", align_corners=False) + lateral(level)
        return x, self.head(self.smooth(top))


class _Conv(nn.Module):
    """Convolution, BatchNorm, SiLU."""

    def __init__(self, before: int, after: int, kernel: int = 1, stride: int = 1, padding: int | None = None) -> None:
        super().__init__()
        self.conv = nn.Conv2d(before, after, kernel, stride, kernel // 2 if padding is None else padding, bias=False)
        self.bn = nn.BatchNorm2d(after, eps=1e-3, momentum=0.03)

    def forward(self, x: Tensor) -> Tensor:
        return F.silu(self.bn(self.conv(x)))


class _Bottleneck(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.cv1, self.cv2 = _Conv(width, width), _Conv(width, width, 3)

    def forward(self, x: Tensor) -> Tensor:
        return x + self.cv2(self.cv1(x))


class _C3(nn.Module):
    """Cross-stage partial block: half of the channels through bottlenecks, half past them."""

    def __init__(self, width: int, repeats: int) -> None:
        super().__init__()
        half = width // 2
        self.cv1, self.cv2, self.cv3 = _Conv(width, half), _Conv(width, half), _Conv(width, width)
        self.m = nn.Sequential(*(_Bottleneck(half) for _ in range(repeats)))

    def forward(self, x: Tensor) -> Tensor:
        return self.cv3(torch.cat((self.m(self.cv1(x)), self.cv2(x)), 1))


class _Sppf(nn.Module):
    """Spatial pyramid pooling: maxima over 5, 9 and 13 pixels."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.cv1, self.cv2 = _Conv(width, width // 2), _Conv(2 * width, width)

    def forward(self, x: Tensor) -> Tensor:
        pooled = [self.cv1(x)]
        for _ in range(3):
            pooled.append(F.max_pool2d(pooled[-1], 5, 1, 2))
        return self.cv2(torch.cat(pooled, 1))
