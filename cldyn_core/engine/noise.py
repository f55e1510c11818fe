"""Sensor noise of an image: how much of it there is, and less of it. What shows none passes untouched."""

from __future__ import annotations

import math
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

LEAST = 2.5
"""Gray levels of 255. By day and night recorded pairs of twelve data sets stay below it, 2.2 at most."""
_SAMPLES, _TOO_FEW = 20_000, 1_000
_WINDOW = (5, 5)
_STRENGTHS = (1.2, 0.6)  # of two passes, times the noise: what restores thermal and low-light images best
_NORMAL = 0.6745  # median of |x| for a standard normal x
_GAIN = 6.0  # of _second_difference for independent noise: the root of its squared weights' sum


def denoised(image: NDArray[Any], white: float) -> tuple[NDArray[Any], float]:
    """The image with less noise, and how much was in it in gray levels of 255: the standard deviation.

    image: (H, W) or (H, W, 3) in [0, white], uint8 or float32; given back itself when it has LEAST or less. Beyond it
    the filter sets in gradually, so that noise about the limit does not make a video flicker.

    A locally adaptive Wiener filter (Lee, "Digital image enhancement and noise filtering by use of local statistics",
    PAMI 1980), twice: where a window varies as the noise does it is averaged, where it varies more it stays.
    """
    scale = 255.0 / white
    noise = scale * noise_level(image[..., 1] if image.ndim == 3 else image, white)  # green is most of the luma
    if noise <= LEAST:
        return image, noise
    beyond = math.sqrt(noise**2 - LEAST**2)
    gray = image.astype(np.float32) * np.float32(scale)
    for strength in _STRENGTHS:
        gray = _wiener(gray, strength * beyond)
    if image.dtype.kind == "u":
        gray = np.rint(gray)
    return (np.clip(gray, 0.0, 255.0) / np.float32(scale)).astype(image.dtype), noise


def noise_level(plane: NDArray[Any], white: float) -> float:
    """Standard deviation of noise that is independent from pixel to pixel, in the units of the (H, W) plane.

    Of second differences (Immerkaer, "Fast noise variance estimation", CVIU 1996) the median, which edges and texture
    hardly move, over pixels that are neither black nor white, where noise is cut off. 0 for planes too small to tell.
    """
    step = max(1, math.isqrt(plane.size // _SAMPLES))
    center = plane[1:-1:step, 1:-1:step]
    differences = _second_difference(plane, step)[(center > 0) & (center < white)]
    if differences.size < _TOO_FEW:
        return 0.0
    return float(np.median(np.abs(differences))) / (_NORMAL * _GAIN)


def _second_difference(plane: NDArray[Any], step: int) -> NDArray[np.float32]:
    """In both directions, at every `step`th pixel: [1 -2 1] across times [1 -2 1] down."""
    height, width = plane.shape
    rows = [plane[row : height - 2 + row : step].astype(np.float32) for row in range(3)]
    down = rows[0] - 2 * rows[1] + rows[2]
    return down[:, : width - 2 : step] - 2 * down[:, 1 : width - 1 : step] + down[:, 2::step]


def _wiener(gray: NDArray[np.float32], noise: float) -> NDArray[np.float32]:
    """Each pixel moved towards the mean of its window, as far as noise explains the window's variance."""
    mean = cv2.blur(gray, _WINDOW)
    variance = cv2.blur(gray * gray, _WINDOW) - mean * mean
    kept = np.maximum(variance - np.float32(noise**2), 0.0) / np.maximum(variance, 1e-6)
    return np.asarray(mean + kept * (gray - mean), np.float32)
