"""RGB <-> YCbCr as the network was defined with (JFIF weights, chroma offset 128/255)."""

from __future__ import annotations

import torch
from torch import Tensor

_OFFSET = 128.0 / 255.0


def rgb_to_ycbcr(rgb: Tensor) -> Tensor:
    """(B, 3, H, W) RGB in [0, 1] -> (B, 3, H, W) Y, Cb, Cr in [0, 1]."""
    r, g, b = rgb.unbind(1)
    y = 0.299 * r + 0.587 * g + 0.114 * b
    cb = -0.1687 * r - 0.3313 * g + 0.5 * b + _OFFSET
    cr = 0.5 * r - 0.4187 * g - 0.0813 * b + _OFFSET
    return torch.stack((y, cb, cr), dim=1)


def ycbcr_to_rgb(ycbcr: Tensor) -> Tensor:
    """(B, 3, H, W) Y, Cb, Cr -> (B, 3, H, W) RGB. Not clamped."""
    y, cb, cr = ycbcr.unbind(1)
    cb, cr = cb - _OFFSET, cr - _OFFSET
    return torch.stack((y + 1.402 * cr, y - 0.34414 * cb - 0.71414 * cr, y + 1.772 * cb), dim=1)
