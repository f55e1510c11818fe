"""Motorcycles and bicycles, in (forward, right, up) meters."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from cldyn_core.data.synthetic.brush import Paint, Sprite
from cldyn_core.data.synthetic.camera import Camera, Points, Pose
from cldyn_core.data.synthetic.images import Image
from cldyn_core.data.synthetic.light import Light, Weather
from cldyn_core.data.synthetic.limbs import CLOTHES, Figure, Part, draw_figure, part

ALBEDO = {"metal": (0.3, 0.3, 0.3), "lens": (0.6, 0.6, 0.55), "red": (0.35, 0.02, 0.02), "dark": (0.025, 0.025, 0.025)}


@dataclass(frozen=True)
class Cycle:
    """A motorcycle, scooter or bicycle."""

    kind: str
    """"motorcycle" or "bicycle"."""
    color: Points
    running: bool
    length: float


def make_cycle(kind: str, rng: np.random.Generator, running: bool) -> Cycle:
    """A random two-wheeler."""
    color = np.array(CLOTHES[rng.integers(10)]) * 1.4
    return Cycle(kind, color, running, rng.uniform(1.7, 2.1) if kind == "motorcycle" else rng.uniform(1.6, 1.75))


def draw_cycle(cycle: Cycle, pose: Pose, camera: Camera, light: Light, tile: Image, semantic: int) -> Sprite | None:
    """A two-wheeler without its rider; None when out of view."""
    figure = _figure(cycle, _motorcycle(cycle) if cycle.kind == "motorcycle" else _bicycle(cycle), light.weather)
    return draw_figure(figure, pose, camera, light, tile, semantic)


def _figure(cycle: Cycle, parts: list[Part], weather: Weather) -> Figure:
    base = weather.air_temperature + weather.sun_heating * 0.6 - (1.5 if weather.night else 0.0)

    def paint(piece: Part, received: Points) -> Paint:
        albedo = cycle.color if piece.material == "body" else np.array(ALBEDO[piece.material])
        return Paint.lit(albedo, received, base + (piece.heat if cycle.running else 0.0))

    return Figure(parts, paint, (0.2, 1.0))


def _wheel(a: float, radius: float, half: float, heat: float) -> Part:
    angle = np.arange(10) * 2 * np.pi / 10
    ring = np.stack(
        [a + (radius - half) * np.cos(angle), np.zeros(10), radius + (radius - half) * np.sin(angle)], axis=1
    )
    return Part(ring, np.full(10, half), "dark", heat)


def _motorcycle(cycle: Cycle) -> list[Part]:
    f = cycle.length / 2 - 0.3
    parts = [_wheel(f, 0.3, 0.06, 6), _wheel(-f, 0.3, 0.07, 9)]
    parts += [
        part("metal", (f, -0.07, 0.3, 0.035), (f - 0.22, -0.07, 0.9, 0.04)),
        part("metal", (f, 0.07, 0.3, 0.035), (f - 0.22, 0.07, 0.9, 0.04)),
        part("dark", (0.16, 0, 0.38, 0.15), (-0.14, 0, 0.36, 0.16), heat=32),
        part("metal", (0.05, 0.15, 0.28, 0.045), (-f, 0.17, 0.36, 0.06), heat=40),
        part("body", (0.3, 0, 0.74, 0.12), (-0.02, 0, 0.68, 0.13), heat=8),
        part("dark", (-0.08, 0, 0.75, 0.1), (-f + 0.05, 0, 0.78, 0.1), heat=3),
        part("body", (-f + 0.1, 0, 0.68, 0.09), (-f - 0.12, 0, 0.78, 0.06)),
        part("dark", (f - 0.28, -0.34, 1.0, 0.03), (f - 0.24, 0, 0.98, 0.04), (f - 0.28, 0.34, 1.0, 0.03)),
        part("body", (f - 0.14, 0, 0.86, 0.13), (f - 0.1, 0, 0.72, 0.1)),
        part("lens", (f - 0.03, 0, 0.86, 0.075), heat=6),
        part("red", (-f - 0.18, 0, 0.74, 0.04), heat=2),
    ]
    return parts


def _bicycle(cycle: Cycle) -> list[Part]:
    f = cycle.length / 2 - 0.33
    saddle, crank, head = (-0.2, 0.0, 0.92), (-0.02, 0.0, 0.3), (f - 0.18, 0.0, 0.9)
    tube = 0.018
    lines = [
        (saddle, crank),
        (saddle, head),
        (crank, head),
        ((-f, 0.0, 0.33), saddle),
        ((-f, 0.0, 0.33), crank),
        ((f, 0.0, 0.33), head),
    ]
    parts = []
    for a in (f, -f):
        rim = [(a + 0.31 * np.cos(t), 0.0, 0.33 + 0.31 * np.sin(t)) for t in np.arange(15) * 2 * np.pi / 14]
        parts += [part("dark", (*p, 0.018), (*q, 0.018)) for p, q in pairwise(rim)]
    parts += [part("body", (*p, tube), (*q, tube)) for p, q in lines]
    parts.append(part("dark", (-0.3, 0, 0.95, 0.05), (-0.1, 0, 0.96, 0.03)))
    parts.append(part("metal", (f - 0.1, -0.28, 1.04, 0.02), (f - 0.2, 0, 1.0, 0.025), (f - 0.1, 0.28, 1.04, 0.02)))
    return parts
