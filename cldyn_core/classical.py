"""Fusions that need no network: what a network has to beat.

All take visible (H, W, 3) uint8 RGB and infrared (H, W) uint8 of the same size, and give (H, W, 3) uint8 RGB. They fuse
the luma; the color is the visible image's, as in the network.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping

import cv2
import numpy as np
import torch
from numpy.typing import NDArray

from cldyn_core.color import rgb_to_ycbcr, ycbcr_to_rgb
from cldyn_core.types import as_batch

Luma = NDArray[np.float32]
"""(H, W) in [0, 1]."""
Fusion = Callable[[NDArray[np.uint8], NDArray[np.uint8]], NDArray[np.uint8]]

_LEVELS = 5


def _of_luma(rule: Callable[[Luma, Luma], Luma]) -> Fusion:
    """A fusion from its rule for luma: (visible, infrared) -> fused."""

    @functools.wraps(rule)
    def fuse(visible: NDArray[np.uint8], infrared: NDArray[np.uint8]) -> NDArray[np.uint8]:
        _check(visible, infrared)
        ycbcr = rgb_to_ycbcr(as_batch(visible))
        fused = rule(ycbcr[0, 0].numpy(), as_batch(infrared)[0, 0].numpy())
        rgb = ycbcr_to_rgb(torch.cat((torch.from_numpy(fused)[None, None], ycbcr[:, 1:]), dim=1))
        return rgb[0].permute(1, 2, 0).clamp(0.0, 1.0).mul(255.0).round().to(torch.uint8).numpy()

    return fuse


@_of_luma
def average(visible: Luma, infrared: Luma) -> Luma:
    """Mean of both."""
    return (visible + infrared) * np.float32(0.5)


@_of_luma
def maximum(visible: Luma, infrared: Luma) -> Luma:
    """The brighter of both, pixel by pixel."""
    return np.maximum(visible, infrared)


@_of_luma
def laplacian(visible: Luma, infrared: Luma) -> Luma:
    """Laplacian pyramids (Burt and Adelson, 1983) of 5 levels: the stronger detail, the mean of the coarsest level."""
    return fuse_pyramids(visible, infrared, _LEVELS, consistent=True)


def visible_only(visible: NDArray[np.uint8], infrared: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """The visible image as it is."""
    _check(visible, infrared)
    return visible.copy()


def infrared_only(visible: NDArray[np.uint8], infrared: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """The infrared image in gray, without color."""
    _check(visible, infrared)
    return np.repeat(infrared[..., None], 3, axis=2)


CLASSICAL: Mapping[str, Fusion] = {
    "visible": visible_only,
    "infrared": infrared_only,
    "average": average,
    "maximum": maximum,
    "laplacian": laplacian,
}
"""By name."""


def fuse_pyramids(first: Luma, second: Luma, levels: int, consistent: bool) -> Luma:
    """(H, W) of any size. Detail: the larger magnitude; coarsest level: the mean.

    levels: of detail, at most; small images have fewer. consistent: each choice follows the majority of the 3x3 choices
    around it (Li, Manjunath and Mitra, 1995).
    """
    *details_1, base_1 = laplacian_pyramid(first, levels)
    *details_2, base_2 = laplacian_pyramid(second, levels)
    fused: Luma = (base_1 + base_2) * np.float32(0.5)
    for detail_1, detail_2 in zip(reversed(details_1), reversed(details_2), strict=True):
        choice = (np.abs(detail_2) > np.abs(detail_1)).astype(np.float32)
        if consistent:
            choice = np.asarray(cv2.blur(choice, (3, 3)), np.float32)
        fused = _enlarged(fused, detail_1.shape) + np.where(choice > 0.5, detail_2, detail_1)
    return fused


def laplacian_pyramid(image: Luma, levels: int) -> list[Luma]:
    """Detail of the image and of its halves, finest first, then what is left: at most `levels` + 1 arrays."""
    pyramid = []
    for _ in range(min(levels, int(np.log2(min(image.shape))))):
        half = np.asarray(cv2.pyrDown(image), np.float32)
        pyramid.append(image - _enlarged(half, image.shape))
        image = half
    return [*pyramid, image]


def _enlarged(image: Luma, shape: tuple[int, ...]) -> Luma:
    return np.asarray(cv2.pyrUp(image, dstsize=(shape[1], shape[0])), np.float32)


def _check(visible: NDArray[np.uint8], infrared: NDArray[np.uint8]) -> None:
    if visible.dtype != np.uint8 or infrared.dtype != np.uint8 or visible.shape != (*infrared.shape, 3):
        raise ValueError(
            f"cannot fuse visible {visible.dtype} {visible.shape} with infrared {infrared.dtype} {infrared.shape}. "
            "Remedy: give (H, W, 3) and (H, W) uint8"
        )
