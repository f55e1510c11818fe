"""Too little light and too much: dimming, low light, glare."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from cldyn_core.data.degrade.base import (
    Chance,
    Degradation,
    DegradationError,
    Image,
    Infrared,
    Visible,
    bounded,
    stored,
    to_linear,
    to_srgb,
)

_BANDS = ("both", "visible", "infrared")
_LAMP = np.array([1.0, 0.96, 0.88], np.float32)  # a headlamp or a low sun: slightly warm white


@dataclass(frozen=True)
class Dim(Degradation):
    """Stored intensities times alpha: the complex scenes of the CLDyN paper, which takes alpha from 0.4 to 0.8."""

    alpha: float = bounded(0.4, 0.0, 1.0)
    """Factor of the intensities, no unit."""
    bands: str = "both"
    """Which images: "both", "visible" or "infrared"."""

    def __post_init__(self) -> None:
        """Raises DegradationError."""
        super().__post_init__()
        if self.bands not in _BANDS:
            raise DegradationError(f"{self.name}: bands is {self.bands!r}. Remedy: choose one of {', '.join(_BANDS)}")

    def _degrade(self, visible: Visible, infrared: Infrared, chance: Chance) -> tuple[Visible, Infrared]:
        if self.bands != "infrared":
            visible = stored(visible * self.alpha, visible.dtype)
        if self.bands != "visible":
            infrared = stored(infrared * self.alpha, infrared.dtype)
        return visible, infrared


@dataclass(frozen=True)
class LowLight(Degradation):
    """Visible only: less light on the sensor, hence shot noise and read noise, partly made up for by gain.

    The photon transfer model of EMVA 1288: Poisson electrons, plus normal read noise.
    """

    stops: float = bounded(6.0, 0.0, 16.0, "stops")
    """Loss of exposure: the light is divided by 2 ** stops."""
    gain: float = bounded(3.0, 0.0, 16.0, "stops")
    """Amplification after the readout, of signal and noise alike."""
    full_well: float = bounded(10_000.0, 100.0, 1_000_000.0, "electrons")
    """Electrons of a white pixel."""
    read_noise: float = bounded(4.0, 0.0, 1000.0, "electrons")
    """Standard deviation."""

    def electrons(self, light: Image, rng: np.random.Generator) -> Image:
        """Light, 1 = white, to what the sensor reads, with its noise, in electrons."""
        caught = rng.poisson(light * (self.full_well * 2.0**-self.stops)).astype(np.float32)
        return caught + np.float32(self.read_noise) * rng.standard_normal(light.shape, dtype=np.float32)

    def _degrade(self, visible: Visible, infrared: Infrared, chance: Chance) -> tuple[Visible, Infrared]:
        read = self.electrons(to_linear(visible), chance.frame)
        return to_srgb(read * np.float32(2.0**self.gain / self.full_well)), infrared


@dataclass(frozen=True)
class Glare(Degradation):
    """Visible only: a dazzling lamp or sun, white itself, and its veil that falls with the square of the distance.

    Veiling glare after Stiles and Holladay (CIE 146:2002), in pixels instead of degrees.
    """

    x: float = bounded(0.6, -1.0, 2.0, "image widths")
    """Place of the source from the left edge; it may be outside."""
    y: float = bounded(0.45, -1.0, 2.0, "image heights")
    """Place of the source from the upper edge."""
    radius: float = bounded(0.02, 0.001, 1.0, "image heights")
    """Of the source."""
    strength: float = bounded(20.0, 0.0, 1000.0, "times white")
    """Light of the veil at the rim of the source, 1 = white."""

    def _degrade(self, visible: Visible, infrared: Infrared, chance: Chance) -> tuple[Visible, Infrared]:
        height, width = visible.shape[:2]
        v, u = np.mgrid[:height, :width].astype(np.float32)
        squared = ((u + 0.5 - self.x * width) ** 2 + (v + 0.5 - self.y * height) ** 2) / (self.radius * height) ** 2
        veil = np.float32(self.strength) / np.maximum(squared, 1.0)
        return to_srgb(to_linear(visible) + veil[..., None] * _LAMP), infrared
