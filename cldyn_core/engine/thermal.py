"""Thermal range: sensor values -> [0, 1] without invented hot spots and without flicker."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

_PERCENTILES = (1.0, 99.8)
_SMOOTHING = 0.1  # share of a new frame in the running limits: about ten frames of memory
_STEP = 0.03  # largest move of a limit in one frame, as a share of the span: what the eye does not see as flicker
_MINIMUM_SPAN = 0.002  # of the level: 0.6 K near 300 K, so that sensor noise is never stretched to black and white
_MINIMUM_COUNTS = 30.0  # of integer sensors, whose values may begin at 0
_SAMPLES = 20_000


class ThermalRange:
    """Maps raw infrared images of one camera to float32 in [0, 1].

    8-bit images are the camera's own rendering: divided by 255, nothing else. 16-bit and float images are mapped
    between two limits: fixed ones, or percentiles of the images, smoothed over time.
    """

    def __init__(self, fixed: tuple[float, float] | None = None) -> None:
        self._fixed = fixed
        self._limits: NDArray[np.float64] | None = None

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
        low, high = self._fixed or self._smoothed(values, _MINIMUM_COUNTS if image.dtype.kind == "u" else 0.0)
        return np.clip((values - np.float32(low)) / np.float32(high - low), 0.0, 1.0)

    def _smoothed(self, values: NDArray[np.float32], least: float) -> tuple[float, float]:
        """Limits that follow the image's percentiles, at least `least` apart."""
        step = max(1, int(np.sqrt(values.size / _SAMPLES)))
        new = np.asarray(np.percentile(values[::step, ::step].astype(np.float64), _PERCENTILES), np.float64)
        old = self._limits
        if old is None or _missing_span(old, least) > 0 or new[0] > old[1] or new[1] < old[0]:
            limits = new  # the first image with something on it, or another scene altogether
        else:
            largest = _STEP * (old[1] - old[0])
            limits = old + np.clip(_SMOOTHING * (new - old), -largest, largest)
        self._limits = limits
        missing = max(0.0, _missing_span(limits, least))
        return float(limits[0] - missing / 2), float(limits[1] + missing / 2)


def _missing_span(limits: NDArray[np.float64], least: float) -> float:
    """What the limits lack to be as far apart as an image must be; positive for a closed shutter."""
    return float(max(least, _MINIMUM_SPAN * np.abs(limits).max(), 1e-6) - (limits[1] - limits[0]))
