"""Thermal range: sensor values -> [0, 1] without invented hot spots and without flicker."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from cldyn_core.types import THERMAL_MIN_COUNTS, THERMAL_MIN_KELVIN

_PERCENTILES = (1.0, 50.0, 99.8)
_SMOOTHING = 0.1  # share of a new frame in the running limits: about ten frames of memory
_STEP = 0.03  # largest move of a limit in one frame, as a share of the span: what the eye does not see as flicker
_SHUTTER = 30  # flat frames in a row that move nothing: a shutter is closed for less than a second
_FLAT = 1.1  # of the smallest span: limits that crept so near to it have arrived
_PLAIN = 0.02  # smallest span of float images in 0..1
_SAMPLES = 20_000
_LARGEST = 1e9  # no temperature: drivers mark pixels without a value as infinite, NaN or the largest float
_UNUSED = (0, 65_535)  # likewise of 16-bit images: dead, saturated

Limits = NDArray[np.float64]


class ThermalRange:
    """Maps raw infrared images of one camera to float32 in [0, 1].

    8-bit images are the camera's own rendering: divided by 255, nothing else. 16-bit and float images are mapped
    between two limits: fixed ones, or percentiles of the images, smoothed over time and at least a smallest span apart.
    """

    def __init__(self, fixed: tuple[float, float] | None = None, min_span: float = 0.0) -> None:
        """fixed: values shown 0 and 1, of 8-bit images too. min_span: in sensor values; 0: as the type has it."""
        self._fixed, self._min_span = fixed, min_span
        self._limits: Limits | None = None
        self._flat_frames = 0

    def normalize(self, image: NDArray[Any]) -> NDArray[np.float32]:
        """(H, W) uint8, uint16 or float32 -> (H, W) float32 in [0, 1]. Hotter is never darker.

        Float pixels without a usable value (NaN, infinite, beyond 1e9) are 0; 0 and 65535 of 16-bit images have no say
        in the limits. Raises ValueError for a float image without one usable value.
        """
        if image.dtype == np.uint8 and self._fixed is None:
            return image.astype(np.float32) / np.float32(255.0)
        values = image.astype(np.float32)
        usable = np.abs(values) < _LARGEST
        if not usable.all():
            if not usable.any():
                raise ValueError("the infrared image has no finite value")
            values[~usable] = -_LARGEST
        low, high = self._fixed or self._smoothed(values, whole=image.dtype.kind == "u")
        return np.clip((values - np.float32(low)) / np.float32(high - low), 0.0, 1.0)

    def _smoothed(self, values: NDArray[np.float32], whole: bool) -> tuple[float, float]:
        """Limits that follow the image's percentiles."""
        step = max(1, int(np.sqrt(values.size / _SAMPLES)))
        sample = values[::step, ::step].astype(np.float64)
        sample = sample[(sample > _UNUSED[0]) & (sample < _UNUSED[1]) if whole else sample > -_LARGEST]
        if sample.size:
            low, middle, high = np.percentile(sample, _PERCENTILES)
            plain = not whole and low >= 0.0 and high <= 1.0  # a float image in 0..1 is no temperature
            least = self._min_span or (_PLAIN if plain else THERMAL_MIN_COUNTS if whole else THERMAL_MIN_KELVIN)
            self._limits = self._follow(_widened(low, high, least), float(middle), least)
        low, high = _UNUSED if self._limits is None else self._limits
        return float(low), float(high)

    def _follow(self, new: Limits, middle: float, least: float) -> Limits:
        """Limits for a frame whose own are `new`, with half of its pixels above `middle`."""
        old, flat = self._limits, np.ptp(new) < _FLAT * least
        self._flat_frames = self._flat_frames + 1 if flat else 0
        if old is None:
            return new
        old = _widened(old[0], old[1], least)
        if (was_flat := np.ptp(old) < _FLAT * least) and not flat:
            return new  # the first scene after a blank start, a wall or a closed lens
        if flat and not was_flat and self._flat_frames <= _SHUTTER:
            return old
        if not old[0] <= middle <= old[1]:
            return new  # most of the image would be black or white: another scene
        largest = _STEP * np.ptp(old)
        return old + np.clip(_SMOOTHING * (new - old), -largest, largest)


def _widened(low: float, high: float, least: float) -> Limits:
    """The limits, moved apart alike where they are nearer than `least`."""
    missing = max(0.0, least - (high - low)) / 2
    return np.array((low - missing, high + missing))
