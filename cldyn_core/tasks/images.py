"""How task networks want their images."""

from __future__ import annotations

from collections.abc import Sequence

import torch.nn.functional as F
from torch import Tensor

STRIDE = 32
"""The networks divide the sides of an image so far."""
IMAGENET = (123.675, 116.28, 103.53), (58.395, 57.12, 57.375)
"""Mean and standard deviation of ImageNet's RGB, of values in 0..255."""


def pad_to_stride(image: Tensor, mode: str = "constant", value: float | None = None) -> Tensor:
    """Extend (B, C, H, W) at the right and below to multiples of 32; mode and value as of torch's `pad`."""
    height, width = image.shape[2:]
    return F.pad(image, (0, -width % STRIDE, 0, -height % STRIDE), mode, value)


def normalize(image: Tensor, mean: Sequence[float], std: Sequence[float]) -> Tensor:
    """RGB (B, 3, H, W) in [0, 1] by the mean and standard deviation of its channels, which are of values in 0..255."""
    means, stds = (image.new_tensor(values).view(1, 3, 1, 1) for values in (mean, std))
    return (255 * image - means) / stds
