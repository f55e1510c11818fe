"""Visual loss of stage 1 (paper, section "Training"): fused intensity and gradient follow the stronger of the two
sources.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

INTENSITY_WEIGHT = 0.2
GRADIENT_WEIGHT = 1.0


def visual_loss(fused: Tensor, infrared: Tensor, luma: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """(B, 1, H, W) images in [0, 1] -> (total, intensity term, gradient term), (B,) each, the terms unweighted."""
    wanted = torch.maximum(infrared, luma)
    wanted_gradient = torch.maximum(sobel_magnitude(infrared), sobel_magnitude(luma))
    intensity = (fused - wanted).abs().mean((1, 2, 3))
    gradient = (sobel_magnitude(fused) - wanted_gradient).abs().mean((1, 2, 3))
    return INTENSITY_WEIGHT * intensity + GRADIENT_WEIGHT * gradient, intensity, gradient


def sobel_magnitude(x: Tensor) -> Tensor:
    """|Sobel_x * x| + |Sobel_y * x| of (B, 1, H, W): plain 3x3 kernels, zero padding."""
    kernel = x.new_tensor([[-1.0, 0.0, 1.0], [-2.0, 0.0, 2.0], [-1.0, 0.0, 1.0]])
    both = F.conv2d(x, torch.stack((kernel, kernel.T))[:, None], padding=1)
    return both.abs().sum(1, keepdim=True)
