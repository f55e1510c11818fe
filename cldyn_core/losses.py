"""Visual losses of stage 1: fused intensity and gradient follow the stronger of the two sources.

`visual_loss` is the paper's (section "Training"). `vector_loss` differs in the gradient: the paper's compares
magnitudes, so a fused edge may point the other way than the one it replaces; this one wants the stronger source's edge
with its direction. `missing_edges` is what Q_AB/F misses of the edges of both sources.
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor

INTENSITY_WEIGHT = 0.2
GRADIENT_WEIGHT = 1.0

_TINY = 1e-3  # gradients are 0..4


def visual_loss(fused: Tensor, infrared: Tensor, luma: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """(B, 1, H, W) images in [0, 1] -> (total, intensity term, gradient term), (B,) each, the terms unweighted."""
    wanted = torch.maximum(sobel_magnitude(infrared), sobel_magnitude(luma))
    return _total(fused, infrared, luma, (sobel_magnitude(fused) - wanted).abs())


def vector_loss(fused: Tensor, infrared: Tensor, luma: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """As `visual_loss`, but the gradient keeps the direction that it has in the stronger source."""
    of_infrared, of_luma = sobel(infrared), sobel(luma)
    stronger = of_infrared.abs().sum(1, keepdim=True) > of_luma.abs().sum(1, keepdim=True)
    wanted = torch.where(stronger, of_infrared, of_luma)
    return _total(fused, infrared, luma, (sobel(fused) - wanted).abs().sum(1, keepdim=True))


def missing_edges(fused: Tensor, infrared: Tensor, luma: Tensor) -> Tensor:
    """(B, 1, H, W) images in [0, 1] -> 1 - Q_AB/F (see metrics/gradient.py), (B,), differentiable."""
    strength, angle = _polar(sobel(fused))
    kept, weight = fused.new_zeros(len(fused)), fused.new_zeros(len(fused))
    for source in (infrared, luma):
        own_strength, own_angle = _polar(sobel(source))
        ratio = torch.minimum(strength, own_strength) / torch.maximum(strength, own_strength)
        likeness = 1 - (angle - own_angle).abs() / (math.pi / 2)
        quality = 0.9994 * 0.9879 * torch.sigmoid(15 * (ratio - 0.5)) * torch.sigmoid(22 * (likeness - 0.8))
        kept = kept + (quality * own_strength).sum((1, 2, 3))
        weight = weight + own_strength.sum((1, 2, 3))
    return 1 - kept / weight


def sobel(x: Tensor) -> Tensor:
    """(B, 1, H, W) -> (B, 2, H, W), along x and along y: plain 3x3 kernels, zero padding."""
    kernel = x.new_tensor([[-1.0, 0.0, 1.0], [-2.0, 0.0, 2.0], [-1.0, 0.0, 1.0]])
    return F.conv2d(x, torch.stack((kernel, kernel.T))[:, None], padding=1)


def sobel_magnitude(x: Tensor) -> Tensor:
    """|Sobel_x * x| + |Sobel_y * x| of (B, 1, H, W), as `sobel`."""
    return sobel(x).abs().sum(1, keepdim=True)


def _polar(gradients: Tensor) -> tuple[Tensor, Tensor]:
    """(B, 2, H, W) -> magnitude and angle in -pi/2..pi/2 of an edge, (B, 1, H, W) each, smooth everywhere."""
    along_x, along_y = gradients[:, :1], gradients[:, 1:]
    safe = torch.where(along_x.abs() < _TINY, torch.full_like(along_x, _TINY), along_x)
    return (along_x**2 + along_y**2 + _TINY**2).sqrt(), torch.atan(along_y / safe)


def _total(fused: Tensor, infrared: Tensor, luma: Tensor, gradients: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    intensity = (fused - torch.maximum(infrared, luma)).abs().mean((1, 2, 3))
    gradient = gradients.mean((1, 2, 3))
    return INTENSITY_WEIGHT * intensity + GRADIENT_WEIGHT * gradient, intensity, gradient
