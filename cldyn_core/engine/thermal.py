"""Thermal range: sensor values -> [0, 1] without invented hot spots and without flicker."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

_PERCENTILES = (1.0, 99.8)
_SMOOTHING = 0.1  # share of a new frame in the running limits: about ten frames of memory
_STEP = 0.03  # largest move of a limit in one frame, as a share of the span: what the eye does not see as flicker
_MINIMUM_SPAN = 0.002  # of the level: 0.6 K near 300 K, so that sensor noise is never stretched to black and white
_SAMPLES = 20_000


class ThermalRange:
    """Maps raw infrared images of one camera to float32 in [0, 1].

    8-bit images are the camera's own rendering: divided by 255, nothing else. 16-bit and float images are mapped
    between two limits: fixed ones, or percentiles of the images, smoothed over time.
    """

    def __init__(self, fixed: tuple[float, float] | None = None) -> None:
        self._fixed = fixed
        self._limits: NDArray[np.float64] | None = None if fixed is None else np.asarray(fixed, np.float64)

    def normalize(self, image: NDArray[Any]) -> NDArray[np.float32]:
        """(H, W) uint8, uint16 or float32 -> (H, W) float32 in [0, 1]; infinite and NaN values are the coldest."""
        if image.dtype == np.uint8 and self._fixed is None:
            return image.astype(np.float32) / np.float32(255.0)
        values = image.astype(np.float32)
        finite = np.isfinite(values)
        if not finite.all():
            if not finite.any():
                raise ValueError("the infrared image has no finite value")
            values = np.where(finite, values, values[finite].min())
        low, high = self._update(values)
        return np.clip((values - np.float32(low)) / np.float32(high - low), 0.0, 1.0)

    def _update(self, values: NDArray[np.float32]) -> tuple[float, float]:
        if self._fixed is None:
            step = max(1, int(np.sqrt(values.size / _SAMPLES)))
            self._follow(np.percentile(values[::step, ::step], _PERCENTILES))
        assert self._limits is not None
        return _widened(*(float(v) for v in self._limits))

    def _follow(self, new: NDArray[np.float64]) -> None:
        if self._limits is None or new[0] > self._limits[1] or new[1] < self._limits[0]:
            self._limits = new  # the first frame, or another scene altogether
            return
        low, high = _widened(*self._limits)
        largest = _STEP * (high - low)
        self._limits = self._limits + np.clip(_SMOOTHING * (new - self._limits), -largest, largest)


def _widened(low: float, high: float) -> tuple[float, float]:
    missing = _MINIMUM_SPAN * max(abs(low), abs(high), 1e-6) - (high - low)
    return (low - missing / 2, high + missing / 2) if missing > 0 else (low, high)
