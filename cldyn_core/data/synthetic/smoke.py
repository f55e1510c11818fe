"""Smoke: plumes of drifting puffs."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from cldyn_core.data.synthetic.brush import Canvas
from cldyn_core.data.synthetic.camera import Camera, Points
from cldyn_core.data.synthetic.images import Image, resized
from cldyn_core.data.synthetic.light import Light, Weather
from cldyn_core.data.synthetic.noise import fractal_tile
from cldyn_core.data.synthetic.street import Street


@dataclass(frozen=True)
class Plume:
    """Smoke that rises from a place and drifts: hides in the visible, hardly in the thermal image."""

    x: float
    z: float
    wind: float
    """Meters per second along X."""
    rise: float
    """Meters that a puff rises while it lasts."""
    size: float
    """Radius of a puff in meters, about."""
    density: float
    """Optical depth of a puff."""
    color: Points
    """(3,) radiance."""
    puffs: tuple[Image, ...]
    """(64, 64) shapes, 0..2."""
    life: float = 9.0
    """Seconds that a puff lasts."""

    def alpha(self, camera: Camera, time: float) -> Image:
        """(H, W) cover of the canvas; drawn at a third of its size."""
        coarse = 3
        shape = (camera.height // coarse + 1, camera.width // coarse + 1)
        depth = np.zeros(shape, np.float32)
        count = 14
        for k in range(count):
            age = (time / self.life + k / count) % 1.0
            wobble = 0.8 * np.sin(0.9 * time + 2.4 * k)
            place = np.array([[self.x + self.wind * age * self.life + wobble * age, 0.5 + self.rise * age, self.z]])
            at = camera.project(place)[0] / coarse
            radius = (0.35 + 1.3 * age) * self.size * camera.focal / self.z / coarse
            _stamp(depth, self.puffs[k % len(self.puffs)], at, radius, self.density * np.sin(np.pi * age) ** 0.7)
        return resized(1 - np.exp(-depth), camera.width, camera.height)

    def drift(self, canvas: Canvas, camera: Camera, weather: Weather, time: float) -> None:
        """Draws it before everything that stands behind."""
        cover = self.alpha(camera, time) * np.clip((canvas.depth - self.z) / 1.5, 0, 1)
        thermal = cover * np.float32(0.10)
        canvas.paint[..., :3] *= (1 - cover)[..., None]
        canvas.paint[..., :3] += cover[..., None] * self.color.astype(np.float32)
        canvas.paint[..., 3] += thermal * (np.float32(weather.air_temperature + 3.0) - canvas.paint[..., 3])


def make_plumes(street: Street, light: Light, rng: np.random.Generator) -> list[Plume]:
    """Draws the smoke of a sequence."""
    v, u = np.mgrid[-1:1:64j, -1:1:64j]
    round_off = np.clip(1.05 - np.hypot(u, v), 0, 1)
    puffs = [(round_off * np.clip(0.75 + 0.4 * fractal_tile(64, 4, 4, rng), 0, 2)).astype(np.float32) for _ in range(4)]
    plumes = []
    for _ in range(int(rng.integers(2, 4))):
        z = rng.uniform(5, 22)
        x = float(np.clip(rng.uniform(-1, 1) * street.half + street.middle(z), *_view(light.camera, z)))
        color = light.at(np.array([x, 2.0, z]), np.array([0.0, 0.6, -0.8])) * rng.uniform(0.5, 0.95)
        wind, rise = rng.uniform(-0.9, 0.9), rng.uniform(1.5, 5.0)
        size, density = rng.uniform(1.6, 3.2), rng.uniform(0.6, 1.6)
        plumes.append(Plume(x, z, wind, rise, size, density, color, tuple(puffs)))
    return plumes


def _view(camera: Camera, z: float) -> tuple[float, float]:
    """X of what is well inside the image at z: smoke that nobody sees is none."""
    left, right = (camera.x + (camera.width * edge - camera.center) * z / camera.focal for edge in (0.25, 0.75))
    return left, right


def _stamp(target: Image, puff: Image, at: Points, radius: float, strength: float) -> None:
    size = 2 * max(1, int(radius))
    x, y = int(at[0]) - size // 2, int(at[1]) - size // 2
    x0, y0, x1, y1 = max(0, x), max(0, y), min(target.shape[1], x + size), min(target.shape[0], y + size)
    if x0 >= x1 or y0 >= y1:
        return
    scaled = resized(puff, size, size)
    target[y0:y1, x0:x1] += np.float32(strength) * scaled[y0 - y : y1 - y, x0 - x : x1 - x]
