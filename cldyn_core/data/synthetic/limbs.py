"""Figures made of limbs: convex hulls of balls, in (forward, right, up) meters."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from cldyn_core.data.synthetic.brush import Brush, Paint, Sprite
from cldyn_core.data.synthetic.camera import NEAR, Camera, Points, Pose
from cldyn_core.data.synthetic.images import Image
from cldyn_core.data.synthetic.light import Light

CLOTHES = (
    (0.02, 0.02, 0.025), (0.03, 0.04, 0.08), (0.15, 0.15, 0.16), (0.55, 0.55, 0.55), (0.35, 0.04, 0.04),
    (0.06, 0.12, 0.35), (0.10, 0.16, 0.08), (0.55, 0.40, 0.08), (0.30, 0.20, 0.12), (0.05, 0.25, 0.22),
)  # fmt: skip


@dataclass(frozen=True)
class Part:
    """The convex hull of balls: (n, 3) centers, (n,) radii, of a material with its degrees above the material's own."""

    centers: Points
    radii: Points
    material: str
    heat: float = 0.0


@dataclass(frozen=True)
class Figure:
    """Parts and what they look like."""

    parts: list[Part]
    paint: Callable[[Part, Points], Paint]
    """Paint of a part under (3,) light."""
    rim: tuple[float, float]
    """How much the outline is darker (fraction) and colder (degrees) than the middle."""
    scale: float = 1.0


def part(material: str, *balls: tuple[float, float, float, float], heat: float = 0.0) -> Part:
    """A part from (forward, right, up, radius) of each ball."""
    values = np.array(balls)
    return Part(values[:, :3], values[:, 3], material, heat)


def draw_figure(figure: Figure, pose: Pose, camera: Camera, light: Light, tile: Image, semantic: int) -> Sprite | None:
    """The figure as seen, of class `semantic`; None when it is too near or beside the canvas."""
    worlds = [pose.to_world(limb.centers * figure.scale) for limb in figure.parts]
    if min(world[:, 2].min() for world in worlds) < NEAR + 0.4:
        return None
    pixels = [camera.project(world) for world in worlds]
    pairs = zip(figure.parts, worlds, strict=True)
    radii = [limb.radii * figure.scale * camera.focal / world[:, 2] for limb, world in pairs]
    low = np.min([(p - r[:, None]).min(axis=0) for p, r in zip(pixels, radii, strict=True)], axis=0)
    high = np.max([(p + r[:, None]).max(axis=0) for p, r in zip(pixels, radii, strict=True)], axis=0)
    brush = Brush(np.array([low, high]), (camera.height, camera.width))
    if brush.empty:
        return None
    toward = np.array([camera.x - pose.x, 1.0, -pose.z])
    received = light.at(np.array([pose.x, 1.1, pose.z]), toward / np.linalg.norm(toward))
    received = received + light.weather.sun * 0.25
    for index in sorted(range(len(worlds)), key=lambda i: -float(worlds[i][:, 2].mean())):
        paint = figure.paint(figure.parts[index], received)
        brush.hull(pixels[index], np.maximum(radii[index], 0.35), paint)
    brush.roundness(*figure.rim)
    brush.grain(tile, 0.10, 0.35)
    return brush.sprite(pose.z, semantic)
