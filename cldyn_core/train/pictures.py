"""Pictures of a training, for TensorBoard."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

_GAIN = 8


def side_by_side(*images: Tensor) -> NDArray[np.uint8]:
    """Images (1, 3 or 1, H, W) in [0, 1] of one size -> one picture (H, n W, 3) uint8."""
    row = torch.cat([image[0].detach().float().clamp(0, 1).expand(3, -1, -1) for image in images], dim=2)
    return np.asarray(row.permute(1, 2, 0).mul(255).round().to(torch.uint8).cpu().numpy())


def before_and_after(before: Tensor, after: Tensor) -> NDArray[np.uint8]:
    """Before, after, and eight times their difference (gray: none): (H, 3 W, 3) uint8."""
    return side_by_side(before, after, 0.5 + _GAIN * (after - before))
