"""Value noise: the texture of everything."""

from __future__ import annotations

import cv2
import numpy as np

from cldyn_core.data.synthetic.images import Image, resized


def fractal_tile(size: int, cells: int, octaves: int, rng: np.random.Generator) -> Image:
    """(size, size) float32 fractal noise, zero mean, unit deviation, that repeats without a seam.

    The coarsest octave has `cells` cells a side.
    """
    total = np.zeros((size, size), np.float32)
    for octave in range(octaves):
        grid = min(cells << octave, size)
        values = rng.standard_normal((grid, grid), dtype=np.float32)
        pad = 2
        step = size // grid
        wrapped = np.pad(values, pad, mode="wrap")
        large = cv2.resize(wrapped, None, fx=step, fy=step, interpolation=cv2.INTER_CUBIC)
        large = large[pad * step :, pad * step :][: grid * step, : grid * step]
        total += resized(np.asarray(large, np.float32), size, size) * np.float32(0.6**octave)
    return (total - total.mean()) / (total.std() + 1e-6)


def sample(tile: Image, u: Image, v: Image) -> Image:
    """Noise at (u, v), both in units of the tile's side, of any shape (h, w); repeats."""
    size = tile.shape[0]
    x = (np.mod(u, 1.0) * size).astype(np.float32)
    y = (np.mod(v, 1.0) * size).astype(np.float32)
    return np.asarray(cv2.remap(tile, x, y, cv2.INTER_LINEAR, borderMode=cv2.BORDER_WRAP), np.float32)
