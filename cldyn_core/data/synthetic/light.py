"""Light, weather and heat of a scene, chosen by condition and seed."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from cldyn_core.data.synthetic.camera import Camera

Color = NDArray[np.float64]

WARM_LAMP = np.array([1.0, 0.66, 0.30])
WHITE_LAMP = np.array([0.85, 0.95, 1.0])


def rgb(red: float, green: float, blue: float) -> Color:
    """A linear color as an array."""
    return np.array([red, green, blue])


@dataclass(frozen=True)
class Weather:
    """What the air and the hour do. Radiances are linear, 1.0 is about white by day; temperatures in Celsius."""

    night: bool
    ambient: Color
    sun: Color
    sun_direction: Color
    """(3,) unit vector towards the sun."""
    sky_top: Color
    sky_horizon: Color
    clouds: float
    """0 clear .. 1 overcast."""
    air_temperature: float
    sun_heating: float
    """Degrees that a sunlit dark surface gains."""
    fog_visible: float
    """Extinction in 1/m."""
    fog_thermal: float
    fog_color: Color
    wet: float
    """0 dry .. 1 a film of water on the road."""
    headlamps: bool
    own_headlamps: float
    """Strength of the camera vehicle's own beams."""
    glare: str
    """"", "sun" or "headlamps"."""
    smoke: bool
    lamp_color: Color
    lamp_power: float
    tint: Color
    exposure: float
    noise: float
    """Gain of the visible sensor's noise."""

    @property
    def lamps_on(self) -> bool:
        """Whether street lamps burn."""
        return self.lamp_power > 0


@dataclass(frozen=True)
class Light:
    """Everything that shines on surfaces: sky, sun, street lamps and the camera vehicle's beams."""

    weather: Weather
    camera: Camera
    lamps: Color = field(default_factory=lambda: np.empty((0, 3)))
    """(K, 3) positions."""

    def at(self, points: Color, normals: Color) -> Color:
        """Irradiance (..., 3) at world points (..., 3) of surfaces with the given normals (broadcast)."""
        weather = self.weather
        up = (0.65 + 0.35 * normals[..., 1:2]) * np.ones_like(points[..., :1])
        total = weather.ambient * up
        total = total + weather.sun * np.maximum(normals @ weather.sun_direction, 0.0)[..., None]
        for lamp in self.lamps if weather.lamps_on else ():
            to_lamp = lamp - points
            square = (to_lamp**2).sum(axis=-1) + 1.0
            inverse = 1.0 / np.sqrt(square)
            cosine = np.abs((normals * to_lamp).sum(axis=-1)) * inverse * 0.8 + 0.2
            down = np.clip(to_lamp[..., 1] * inverse, 0.03, 1.0)
            total = total + weather.lamp_color * (weather.lamp_power * cosine * down / square)[..., None]
        if weather.own_headlamps > 0:
            total = total + self._own_beams(points, normals)
        return total

    def _own_beams(self, points: Color, normals: Color) -> Color:
        x, y, z = points[..., 0] - self.camera.x, points[..., 1], np.maximum(points[..., 2], 0.5)
        spread = np.exp(-((x / (0.42 * z + 1.2)) ** 2)) * np.exp(-(np.maximum(y - 1.0, 0) ** 2) / (0.02 * z * z + 0.3))
        facing = np.clip(-normals[..., 2] + 0.35 * normals[..., 1], 0.1, 1.0)
        power = self.weather.own_headlamps * spread * facing * np.exp(-z / 24.0) * (1 - np.exp(-z / 5.0))
        return power[..., None] * rgb(1.0, 0.95, 0.85)


def make_weather(condition: str, rng: np.random.Generator) -> Weather:
    """Draws the weather of a sequence."""
    glare = str(rng.choice(["sun", "headlamps"])) if condition == "glare" else ""
    after_dark = {"night": 1.0, "day": 0.0, "dusk": 0.0, "fog": 0.25, "smoke": 0.45, "glare": 0.0}[condition]
    night = bool(rng.random() < after_dark) or glare == "headlamps"
    if night:
        base = _night(rng)
    elif condition == "dusk" or glare == "sun":
        base = _low_sun(rng, glare == "sun")
    else:
        base = _day(rng, overcast=condition == "fog")
    base |= dict(night=night, glare=glare, smoke=condition == "smoke", fog_visible=0.0006, fog_thermal=0.0003)
    if condition == "fog":
        base |= _fog(rng, night, base)
    elif not night and rng.random() < 0.25:
        base |= dict(fog_visible=rng.uniform(0.001, 0.004))
    return Weather(**base)


def _day(rng: np.random.Generator, overcast: bool) -> dict:
    clouds = 1.0 if overcast else float(rng.choice([rng.uniform(0.1, 0.5), rng.uniform(0.5, 0.75), 1.0]))
    azimuth, height = rng.uniform(0, 2 * np.pi), rng.uniform(0.5, 1.1)
    sunny = clouds < 0.9
    blue = rgb(0.16, 0.33, 0.72) * rng.uniform(0.8, 1.2)
    gray = rgb(0.62, 0.66, 0.70) * rng.uniform(0.8, 1.1)
    return dict(
        ambient=rgb(0.42, 0.47, 0.55) if sunny else rgb(0.78, 0.80, 0.82) * rng.uniform(0.7, 1.0),
        sun=rgb(1.15, 1.08, 0.95) * rng.uniform(0.8, 1.1) if sunny else rgb(0.06, 0.06, 0.06),
        sun_direction=_direction(azimuth, height),
        sky_top=blue if sunny else gray * 0.8,
        sky_horizon=rgb(0.66, 0.76, 0.86) if sunny else gray,
        clouds=clouds,
        air_temperature=rng.uniform(6, 26),
        sun_heating=rng.uniform(8, 16) if sunny else rng.uniform(1, 3),
        fog_color=rgb(0.72, 0.77, 0.82),
        wet=0.0 if sunny else float(rng.random() < 0.3) * rng.uniform(0.3, 0.8),
        headlamps=not sunny and rng.random() < 0.5,
        own_headlamps=0.0,
        lamp_color=WARM_LAMP,
        lamp_power=0.0,
        tint=1.0 + rng.uniform(-0.07, 0.07, 3),
        exposure=rng.uniform(0.8, 1.3),
        noise=rng.uniform(0.5, 1.0),
    )


def _low_sun(rng: np.random.Generator, facing: bool) -> dict:
    azimuth = rng.uniform(-0.2, 0.2) if facing else rng.uniform(0, 2 * np.pi)
    color = rgb(1.0, rng.uniform(0.5, 0.7), rng.uniform(0.2, 0.4))
    lamps = not facing and rng.random() < 0.7
    return dict(
        ambient=rgb(0.24, 0.24, 0.32) * rng.uniform(0.6, 1.3),
        sun=color * rng.uniform(0.3, 0.6),
        sun_direction=_direction(azimuth, rng.uniform(0.1, 0.22)),
        sky_top=rgb(0.09, 0.16, 0.36) * rng.uniform(0.8, 1.3),
        sky_horizon=color * rng.uniform(0.7, 0.95),
        clouds=rng.uniform(0.2, 0.7),
        air_temperature=rng.uniform(4, 22),
        sun_heating=rng.uniform(3, 6),
        fog_color=color * 0.6 + 0.1,
        wet=float(rng.random() < 0.3) * rng.uniform(0.3, 0.9),
        headlamps=True,
        own_headlamps=0.0,
        lamp_color=WARM_LAMP if rng.random() < 0.6 else WHITE_LAMP,
        lamp_power=rng.uniform(4, 9) if lamps else 0.0,
        tint=1.0 + rng.uniform(-0.06, 0.06, 3),
        exposure=rng.uniform(0.9, 1.3),
        noise=rng.uniform(0.7, 1.4),
    )


def _night(rng: np.random.Generator) -> dict:
    glow = rgb(0.012, 0.013, 0.018) * rng.uniform(0.5, 2.2)
    color = WARM_LAMP if rng.random() < 0.6 else WHITE_LAMP
    return dict(
        ambient=glow,
        sun=np.zeros(3),
        sun_direction=_direction(rng.uniform(0, 6.28), 0.8),
        sky_top=glow * rgb(0.25, 0.32, 0.5),
        sky_horizon=glow * rgb(1.1, 0.9, 0.8),
        clouds=rng.uniform(0.0, 0.8),
        air_temperature=rng.uniform(-2, 20),
        sun_heating=0.0,
        fog_color=glow * 2.5 + color * 0.012,
        wet=float(rng.random() < 0.45) * rng.uniform(0.4, 1.0),
        headlamps=True,
        own_headlamps=float(rng.random() < 0.5) * rng.uniform(0.3, 0.9),
        lamp_color=color,
        lamp_power=rng.uniform(6, 20),
        tint=rgb(rng.uniform(0.85, 1.05), 1.0, rng.uniform(0.8, 1.1)),
        exposure=rng.uniform(0.7, 1.4),
        noise=rng.uniform(1.6, 3.2),
    )


def _fog(rng: np.random.Generator, night: bool, base: dict) -> dict:
    density = rng.uniform(0.018, 0.06)
    color = base["fog_color"] * 1.3 if night else rgb(0.55, 0.58, 0.60) * rng.uniform(0.75, 1.15)
    return dict(fog_visible=density, fog_thermal=density * rng.uniform(0.08, 0.2), fog_color=color, headlamps=True)


def _direction(azimuth: float, height: float) -> Color:
    return rgb(np.sin(azimuth) * np.cos(height), np.sin(height), np.cos(azimuth) * np.cos(height))
