"""From light and heat to pixels: a small color camera and an uncooled thermal core."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from cldyn_core.data.synthetic.images import Image, resized
from cldyn_core.data.synthetic.light import Weather
from cldyn_core.data.synthetic.noise import fractal_tile

KELVIN = 273.15


@dataclass(frozen=True)
class VisibleSensor:
    """Exposure, color cast, lens and noise of the visible camera."""

    weather: Weather
    vignette: Image
    blur: float

    def expose(self, radiance: Image, rng: np.random.Generator) -> NDArray[np.uint8]:
        """(H, W, 3) linear radiance to RGB."""
        weather = self.weather
        gain = np.float32(weather.exposure * (2.6 if weather.night else 1.25))
        light = radiance * (weather.tint.astype(np.float32) * gain) * self.vignette[..., None]
        light = cv2.GaussianBlur(light, (0, 0), self.blur)
        tone = np.sqrt(np.maximum(1 - np.exp(-light), 0)) ** np.float32(0.9)
        read, shot = 0.006 * weather.noise, 0.012 * weather.noise
        grain = rng.standard_normal(tone.shape, dtype=np.float32)
        if weather.night:
            grain = cv2.blur(grain, (2, 2)) * 1.6
        tone += grain * (read + shot * np.sqrt(np.maximum(tone, 0)))
        return np.clip(tone * 255 + 0.5, 0, 255).astype(np.uint8)


@dataclass(frozen=True)
class ThermalSensor:
    """Blur, noise and fixed pattern of the thermal core, and the tone curve of its 8-bit output."""

    blur: float
    noise: float
    """Noise-equivalent temperature difference, degrees."""
    pattern: Image
    curve: NDArray[np.uint8]
    """(65536,) 8-bit value of every 16-bit count; fixed for a sequence, so nothing flickers."""

    def measure(self, temperature: Image, rng: np.random.Generator) -> NDArray[np.uint16]:
        """(H, W) Celsius to hundredths of a kelvin."""
        noise = self.noise * rng.standard_normal(temperature.shape, dtype=np.float32)
        return to_counts(blurred(temperature, self.blur) + self.pattern + noise)

    def display(self, counts: NDArray[np.uint16]) -> NDArray[np.uint8]:
        """White-hot 8-bit picture."""
        return self.curve[counts]


def to_counts(temperature: Image) -> NDArray[np.uint16]:
    """Celsius to hundredths of a kelvin."""
    return np.clip((temperature + KELVIN) * 100 + 0.5, 0, 65535).astype(np.uint16)


def blurred(temperature: Image, sigma: float) -> Image:
    """Optics blur with a faint halo."""
    sharp = cv2.GaussianBlur(temperature, (0, 0), sigma)
    return sharp * np.float32(0.94) + cv2.GaussianBlur(temperature, (0, 0), sigma * 4) * np.float32(0.06)


def make_visible(weather: Weather, width: int, height: int, rng: np.random.Generator) -> VisibleSensor:
    """Draws the visible camera."""
    vignette = _vignette(width, height, rng.uniform(0.1, 0.3))
    return VisibleSensor(weather, vignette, rng.uniform(0.45, 0.75) * max(0.6, width / 640))


def make_thermal(still: Image, hottest: float, rng: np.random.Generator) -> ThermalSensor:
    """Draws the thermal core; its curve suits the empty scene `still` (Celsius) and objects up to `hottest`."""
    height, width = still.shape
    columns = rng.standard_normal(width, dtype=np.float32) * np.float32(rng.uniform(0.03, 0.09))
    uneven = resized(fractal_tile(64, 2, 3, rng), width, height)
    pattern = columns[None] + 0.6 * (_vignette(width, height, 0.5) - 1) + 0.12 * uneven
    levels = np.linspace(0, 1, 65)
    quantiles = np.quantile(resized(still, 160, 120, cv2.INTER_AREA), levels)
    low = float(quantiles[1]) - rng.uniform(0.5, 4.0)
    high = max(float(quantiles[-3]) + 2.0, hottest + rng.uniform(-1.5, 3.0))
    celsius = np.arange(65536) / 100.0 - KELVIN
    linear = np.clip((celsius - low) / (high - low), 0, 1)
    equalized = np.interp(celsius, quantiles + np.arange(65) * 1e-6, levels)
    share = rng.uniform(0.0, 0.5)
    tone = (linear * (1 - share) + share * equalized * 0.75) / (1 - share + share * 0.75)
    top = rng.uniform(190, 255)
    curve = np.clip(tone * top + rng.uniform(0, 14), 0, 255).astype(np.uint8)
    blur, noise = rng.uniform(0.75, 1.15) * max(0.6, width / 640), rng.uniform(0.05, 0.14)
    return ThermalSensor(blur, noise, pattern.astype(np.float32), curve)


def _vignette(width: int, height: int, strength: float) -> Image:
    v, u = np.mgrid[-1 : 1 : height * 1j, -1 : 1 : width * 1j]
    return (1 - strength * (u * u + v * v) / 2).astype(np.float32)
