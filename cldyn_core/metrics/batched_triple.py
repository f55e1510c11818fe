"""B triples of images as tensors, and the maps that several metrics share, each computed once. float64."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from math import log

import torch
from torch import Tensor

from cldyn_core.metrics.triple import FUSED

_MOST_PIXELS = 11_000_000  # n^2 255^2 is an int64


class TripleBatch:
    """B triples of one size: (3, B, H, W) uint8 in the order infrared, visible, fused, and what metrics share."""

    def __init__(self, luma: Tensor) -> None:
        self.luma, self.planes = luma, luma.double()
        self._local: dict[tuple[float, ...], LocalMoments] = {}

    @cached_property
    def products(self) -> Tensor:
        """(B, 3, 3) int64 sums over the pixels of the products of two images."""
        flat = self.planes.flatten(2).transpose(0, 1)
        return (flat @ flat.mT).long()

    @cached_property
    def covariances(self) -> Tensor:
        """(B, 3, 3) int64, n^2 times the covariances of n pixels: exact."""
        sums, n = self.planes.sum((2, 3)).long().T, self.luma[0, 0].numel()
        if n > _MOST_PIXELS:
            raise ValueError(f"{n} pixels an image are more than {_MOST_PIXELS}. Remedy: score tiles or smaller images")
        return n * self.products - sums[:, :, None] * sums[:, None]

    @cached_property
    def entropies(self) -> Tensor:
        """(3, B) bits."""
        return torch.stack([entropy(histograms(image.long(), 256)) for image in self.luma])

    @cached_property
    def stretched(self) -> Tensor:
        """(3, B, H, W) each image stretched to 0..255 and rounded; nan if it is constant, unless black."""
        low, high = self.planes.amin((2, 3), keepdim=True), self.planes.amax((2, 3), keepdim=True)
        stretched = (255 * (self.planes - low) / (high - low) + 0.5).floor()
        return torch.where(high == 0, self.planes, stretched)

    def local(self, *kernel: float) -> LocalMoments:
        """Moments under this separable window, where it fits."""
        if kernel not in self._local:
            self._local[kernel] = LocalMoments(self.planes, kernel)
        return self._local[kernel]


class LocalMoments:
    """Local means (3, B, h, w) and covariances of three images under one separable window, each computed once."""

    def __init__(self, planes: Tensor, kernel: Sequence[float]) -> None:
        self._planes, self._kernel = planes, kernel
        self.means = filter_valid(planes, self._kernel)
        self._covariances: dict[tuple[int, int], Tensor] = {}

    def covariance(self, x: int, y: int) -> Tensor:
        """(B, h, w) of images x and y; the variance if they are one."""
        key = (min(x, y), max(x, y))
        if key not in self._covariances:
            product = filter_valid(self._planes[x] * self._planes[y], self._kernel)
            self._covariances[key] = product - self.means[x] * self.means[y]
        return self._covariances[key]

    def variance(self, x: int) -> Tensor:
        """(B, h, w); rounding may leave it a little below zero."""
        return self.covariance(x, x)

    def similarity(self, x: int, c1: float, c2: float) -> Tensor:
        """(B, h, w) SSIM map of image x and the fused one."""
        mx, my = self.means[x], self.means[FUSED]
        above = (2 * mx * my + c1) * (2 * self.covariance(x, FUSED) + c2)
        return above / ((mx * mx + my * my + c1) * (self.variance(x) + self.variance(FUSED) + c2))


def filter_valid(planes: Tensor, kernel: Sequence[float]) -> Tensor:
    """(..., H, W) -> (..., H - n + 1, W - n + 1), maybe empty: separable correlation, only where the window fits."""
    n = len(kernel)
    height, width = planes.shape[-2:]
    if min(height, width) < n:
        return planes.new_empty(*planes.shape[:-2], max(height - n + 1, 0), max(width - n + 1, 0))
    return separable(planes, kernel, kernel)


def separable(planes: Tensor, down: Sequence[float], along: Sequence[float]) -> Tensor:
    """(..., H, W) correlated with `down` along columns and `along` along rows, where both fit."""
    return _correlated(_correlated(planes, down, -2), along, -1)


def _correlated(planes: Tensor, kernel: Sequence[float], dim: int) -> Tensor:
    """Sum of shifted planes: on a CPU several times faster than a convolution of float64."""
    length = planes.shape[dim] - len(kernel) + 1
    result = planes.narrow(dim, 0, length) * kernel[0]
    for shift, weight in enumerate(kernel[1:], 1):
        result.add_(planes.narrow(dim, shift, length), alpha=weight)
    return result


def histograms(codes: Tensor, bins: int) -> Tensor:
    """(B, bins) frequencies of (B, H, W) int64 codes."""
    offsets = torch.arange(len(codes), device=codes.device)[:, None] * bins
    counts = torch.bincount((codes.flatten(1) + offsets).flatten(), minlength=len(codes) * bins)
    return counts.view(len(codes), bins).double() / codes[0].numel()


def entropy(frequencies: Tensor) -> Tensor:
    """(B, bins) -> (B,) bits."""
    return -torch.xlogy(frequencies, frequencies).sum(1) / log(2) + 0.0
