"""A small convolutional network for maps: CSP backbone, top-down pyramid (Lin et al., CVPR 2017). Needs only torch.

The backbone is the one of YOLOv5n (v6), with the names of its tensors, so that it can start from a detector trained on
a large data set: on a few dozen labelled pairs a network without such a start learns little.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from cldyn_core.tasks.images import pad_to_stride

_WIDTHS = (16, 32, 64, 128, 256)  # of YOLOv5n
_REPEATS = (1, 2, 3, 1)
_PYRAMID = 64


class CspPyramid(nn.Module):
    """Backbone and pyramid with `outputs` channels at a quarter of the size."""

    def __init__(self, outputs: int) -> None:
        super().__init__()
        layers: list[nn.Module] = [_Conv(3, _WIDTHS[0], 6, 2, 2)]
        for before, width, repeats in zip(_WIDTHS, _WIDTHS[1:], _REPEATS, strict=False):
            layers += [_Conv(before, width, 3, 2), _C3(width, repeats)]
        self.model = nn.ModuleList([*layers, _Sppf(_WIDTHS[-1])])
        self.lateral = nn.ModuleList(_Conv(width, _PYRAMID) for width in _WIDTHS[1:])
        self.smooth = nn.Sequential(_Conv(_PYRAMID, _PYRAMID, 3), _Conv(_PYRAMID, _PYRAMID, 3))
        self.head = nn.Conv2d(_PYRAMID, outputs, 1)

    def forward(self, image: Tensor) -> tuple[Tensor, Tensor]:
        """Image (B, 3, H, W) of any size -> feature (B, 256, ceil(H/32), ceil(W/32)), logits (B, outputs, H, W)."""
        height, width = image.shape[2:]
        padded = pad_to_stride(image)
        feature, logits = self._pyramid(padded)
        logits = F.interpolate(logits, padded.shape[2:], mode="bilinear", align_corners=False)
        return feature, logits[..., :height, :width]

    def _pyramid(self, x: Tensor) -> tuple[Tensor, Tensor]:
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
