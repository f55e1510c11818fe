"""Rain: a veil of far drops and the streaks of near ones."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from cldyn_core.data.degrade.air import Air
from cldyn_core.data.degrade.base import Chance, Image, bounded
from cldyn_core.data.synthetic.images import resized

_DENSITY = 8000.0  # drops per cubic metre and millimetre of diameter, extrapolated to diameter 0
_SMALLEST = 0.8  # mm; smaller drops are not seen one by one
_NEAR, _FAR = 0.4, 8.0  # metres between which drops are seen one by one
_MARGIN = 0.1  # of the image's sides: streaks that begin outside
_WIDEST = 4  # octaves of streak width

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Streaks:
    """N drops as they are drawn in one exposure."""

    middle: Floats
    """(N, 2) x, y in pixels."""
    way: Floats
    """(N, 2) how far they move while the shutter is open, in pixels."""
    width: Floats
    """(N,) pixels."""
    opacity: Floats
    """(N,) share of the exposure for which a drop covers a place on its way."""


@dataclass(frozen=True)
class Rain(Air):
    """Rain of a rate: drop sizes of Marshall and Palmer (1948), fall speeds of Atlas, Srivastava and Sekhon (1973).

    A drop is opaque with the light of the sky, and its streak as faint as the time it spends before a pixel is short
    (Garg and Nayar, 2007). The infrared image has the same streaks, fainter by `thermal_share`.
    """

    rate: float = bounded(50.0, 0.1, 300.0, "mm/h")
    """Rainfall: 2.5 is light, 10 moderate, 50 heavy, 100 a cloudburst."""
    shutter: float = bounded(4.0, 0.05, 100.0, "ms")
    """Exposure time: longer makes streaks longer and fainter."""
    wind: float = bounded(1.5, -30.0, 30.0, "m/s")
    """From left to right across the view."""

    def streaks(self, height: int, width: int, rng: np.random.Generator) -> Streaks:
        """The drops in the view of an image of that size."""
        focal = width / 2 / math.tan(math.radians(self.view) / 2)
        sides = np.array([width, height]) * (1 + 2 * _MARGIN)
        volume = sides.prod() / focal**2 * (_FAR**3 - _NEAR**3) / 3
        count = rng.poisson(volume * _DENSITY / self._slope * math.exp(-self._slope * _SMALLEST))
        diameter = _SMALLEST + rng.exponential(1 / self._slope, count)
        distance = np.cbrt(rng.uniform(_NEAR**3, _FAR**3, count))
        middle = rng.uniform(0, 1, (count, 2)) * sides - _MARGIN * np.array([width, height])
        speed = 9.65 - 10.3 * np.exp(-0.6 * diameter)  # m/s
        moved = np.stack((np.full(count, self.wind), speed), axis=1) * (self.shutter / 1000)  # metres
        size = diameter / 1000
        opacity = size / (size + np.hypot(*moved.T))
        return Streaks(middle, moved * (focal / distance)[:, None], size * focal / distance, opacity)

    @property
    def extinction(self) -> float:
        """Of visible light, per metre: twice the drops' cross-section in a cubic metre, as of all large particles."""
        return 2 * math.pi / 4 * _DENSITY * 2 / self._slope**3 * 1e-6

    @property
    def _slope(self) -> float:
        """Of the exponential distribution of diameters, per millimetre."""
        return 4.1 * self.rate**-0.21

    def _optical_depth(self, depth: Image, chance: Chance) -> Image:
        height, width = depth.shape
        return np.float32(self.extinction) * depth + drawn(self.streaks(height, width, chance.frame), height, width)


def drawn(streaks: Streaks, height: int, width: int) -> Image:
    """(height, width) optical depth of streaks. Those wider than a pixel are drawn smaller and enlarged, hence soft, as
    drops so near are out of focus.
    """
    total = np.zeros((height, width), np.float32)
    octaves = np.clip(np.floor(np.log2(streaks.width)), 0, _WIDEST).astype(int)
    for octave in np.unique(octaves).tolist():
        chosen, shrink = octaves == octave, 0.5**octave
        part = Streaks(
            (streaks.middle[chosen] + 0.5) * shrink - 0.5,
            streaks.way[chosen] * shrink,
            streaks.width[chosen] * shrink,
            streaks.opacity[chosen],
        )
        lines = _lines(part, math.ceil(height * shrink), math.ceil(width * shrink))
        total += resized(lines, lines.shape[1] << octave, lines.shape[0] << octave)[:height, :width]
    return total


def _lines(streaks: Streaks, height: int, width: int) -> Image:
    """Streaks as rows of dots half a pixel apart, each dot shared among the four pixels around it."""
    length = np.hypot(*streaks.way.T) + streaks.width
    dots = np.ceil(2 * length).astype(int) + 1
    streak = np.repeat(np.arange(len(dots)), dots)
    place = (np.arange(len(streak)) - np.repeat(np.cumsum(dots) - dots, dots) + 0.5) / dots[streak] - 0.5
    weight = (streaks.opacity * streaks.width * length / dots)[streak]
    at = streaks.middle[streak] + place[:, None] * streaks.way[streak]
    corner = np.floor(at).astype(int)
    share = at - corner
    total = np.zeros(height * width)
    for right in (0, 1):
        for below in (0, 1):
            x, y = corner[:, 0] + right, corner[:, 1] + below
            inside = (x >= 0) & (x < width) & (y >= 0) & (y < height)
            part = weight * np.abs(1 - right - share[:, 0]) * np.abs(1 - below - share[:, 1])
            total += np.bincount((y * width + x)[inside], part[inside], height * width)
    return total.reshape(height, width).astype(np.float32)
