"""Maps of images and boxes, and of light. Images are (H, W[, 3]) uint8, boxes (N, 4) float32 x1 y1 x2 y2."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

_MIN_VISIBLE = 0.35  # share of a box that a crop must keep for its label to stay
_MIN_SIDE = 3.0


def random_matrix(shape: tuple[int, int], size: tuple[int, int], rng: np.random.Generator) -> NDArray[np.float64]:
    """Axis-aligned 2x3 map of an image of `shape` (H, W) onto a window of `size` (H, W): scaled, shifted, mirrored."""
    height, width = shape
    fit = max(size[0] / height, size[1] / width)
    scale = fit * float(np.exp(rng.uniform(np.log(0.6), np.log(1.8))))
    stretch = float(np.exp(rng.uniform(-0.12, 0.12)))
    sx, sy = scale * stretch, scale / stretch
    dx = _offset(width * sx, size[1], rng)
    dy = _offset(height * sy, size[0], rng)
    matrix = np.array([[sx, 0.0, dx], [0.0, sy, dy]], np.float64)
    if rng.random() < 0.5:
        matrix = np.array([[-1.0, 0.0, size[1]], [0.0, 1.0, 0.0]]) @ np.vstack((matrix, [0.0, 0.0, 1.0]))
    return matrix


def warp(
    image: NDArray[np.uint8],
    matrix: NDArray[np.float64],
    size: tuple[int, int],
    border: int | tuple[int, int, int],
    nearest: bool = False,
) -> NDArray[np.uint8]:
    """(H, W[, 3]) under a map of `random_matrix`, `size` (H, W); nearest: values are taken, never mixed (masks)."""
    centers = matrix.copy()  # boxes are measured from pixel edges, warpAffine from pixel centers
    centers[:, 2] += matrix[:, :2] @ (0.5, 0.5) - 0.5
    flags = cv2.INTER_NEAREST if nearest else cv2.INTER_LINEAR
    color = border if isinstance(border, tuple) else (border,)
    warped = cv2.warpAffine(image, centers, (size[1], size[0]), flags=flags, borderValue=color)
    return np.asarray(warped, np.uint8)


def transform_boxes(
    boxes: NDArray[np.float32], labels: NDArray[np.int64], matrix: NDArray[np.float64], size: tuple[int, int]
) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    """Boxes under an axis-aligned 2x3 affine map, clipped to `size` (H, W); those mostly outside or too small are
    dropped.
    """
    if not len(boxes):
        return boxes, labels
    corners = np.stack((boxes[:, :2], boxes[:, 2:]), axis=1) @ matrix[:, :2].T + matrix[:, 2]
    mapped = np.concatenate((corners.min(1), corners.max(1)), axis=1)
    clipped = np.clip(mapped, 0, [size[1], size[0]] * 2)
    sides = clipped[:, 2:] - clipped[:, :2]
    visible = sides.prod(1) / np.maximum((mapped[:, 2:] - mapped[:, :2]).prod(1), 1e-6)
    keep = (visible > _MIN_VISIBLE) & (sides.min(1) > _MIN_SIDE)
    return clipped[keep].astype(np.float32), labels[keep]


def random_light(image: NDArray[np.float32], rng: np.random.Generator) -> NDArray[np.float32]:
    """Random gain, gamma, saturation and noise of (H, W, 3) in [0, 1]: cameras and hours of the day differ more than
    training sets do.
    """
    x = np.clip(image * rng.uniform(0.65, 1.35) + rng.uniform(-0.06, 0.06), 0.0, 1.0) ** rng.uniform(0.7, 1.5)
    gray = x.mean(-1, keepdims=True)
    x = gray + (x - gray) * (0.0 if rng.random() < 0.15 else rng.uniform(0.4, 1.5))
    if rng.random() < 0.3:
        x = x + rng.normal(0.0, rng.uniform(0.005, 0.04), x.shape)
    return np.clip(x, 0.0, 1.0).astype(np.float32)


def _offset(scaled: float, window: int, rng: np.random.Generator) -> float:
    """Where the scaled image starts in the window: inside it when smaller, anywhere that fills it when larger."""
    slack = window - scaled
    return float(rng.uniform(min(slack, 0.0), max(slack, 0.0)))
