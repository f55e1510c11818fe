"""What vehicles are made of: flat faces in the vehicle's frame (forward, right, up in meters)."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from cldyn_core.data.synthetic.camera import Points


@dataclass(frozen=True)
class Face:
    """A flat polygon with what is drawn on it."""

    points: Points
    normal: Points
    material: str
    heat: float = 0.0
    """Degrees above the body's own temperature while the engine runs."""
    shade: float = 1.0
    details: tuple[Face, ...] = ()


@dataclass(frozen=True)
class Lamp:
    """A light of a vehicle: where, its (3,) radiance, radius in meters and which way (+1 ahead, -1 behind)."""

    point: Points
    color: Points
    radius: float
    direction: float


@dataclass(frozen=True)
class Vehicle:
    """A vehicle model and its state."""

    kind: str
    """"car", "bus" or "truck"."""
    length: float
    width: float
    height: float
    bodies: tuple[tuple[Face, ...], ...]
    """Convex parts, each its faces."""
    wheels: tuple[tuple[float, float], ...]
    """(forward, radius) of every axle."""
    paint: Points
    cargo: Points
    lamps: tuple[Lamp, ...]
    running: bool = True
    grime: float = 0.0


def bounds(vehicle: Vehicle) -> Points:
    """(8, 3) local corners of the box around it."""
    a, b, c = vehicle.length / 2, vehicle.width / 2, vehicle.height
    return np.array([[i, j, k] for i in (-a, a) for j in (-b, b) for k in (0.0, c)])


def _disc(a: float, b: float, c: float, radius: float, count: int = 16) -> Points:
    angle = np.arange(count) * 2 * np.pi / count
    return np.stack([a + radius * np.cos(angle), np.full(count, b), c + radius * np.sin(angle)], axis=1)


def underside(vehicle: Vehicle, eye: Points) -> Iterator[Face]:
    """What is seen under the body: the dark floor, and the tires' treads from ahead or behind; `eye` as in `wheels`."""
    a, b = vehicle.length / 2 - 0.15, vehicle.width / 2 - 0.06
    end = np.copysign(1.0, eye[0])
    yield Face(_rect_end(end * (a - 0.6), -b, b, 0.12, 0.5), np.array([end, 0, 0]), "under", 9.0)
    side = np.copysign(1.0, eye[1])
    yield Face(_rect_side(side * (b - 0.1), -a, a, 0.14, 0.5), np.array([0, side, 0]), "under", 7.0)
    for axle, radius in sorted(vehicle.wheels, key=lambda wheel: -abs(wheel[0] - eye[0])):
        for sign in (-side, side):
            outer, inner = sign * b, sign * (b - 0.22)
            rect = _rect_end(axle + end * radius * 0.75, min(outer, inner), max(outer, inner), 0.0, radius * 1.5)
            yield Face(rect, np.array([end, 0, 0]), "tire", 13.0)


def wheels(vehicle: Vehicle, eye: Points) -> Iterator[Face]:
    """The wheels on the side that the camera sees, over the body; `eye` (3,) in the vehicle's frame."""
    half = vehicle.width / 2
    if abs(eye[1]) <= half:
        return
    side = np.copysign(1.0, eye[1])
    normal = np.array([0.0, side, 0.0])
    for axle, radius in vehicle.wheels:
        yield Face(_disc(axle, side * (half + 0.01), radius * 1.08, radius * 1.13), normal, "under", 5.0)
        yield Face(_disc(axle, side * (half + 0.015), radius, radius), normal, "tire", 12.0)
        yield Face(_disc(axle, side * (half + 0.02), radius, radius * 0.62), normal, "rim", 17.0)
        yield Face(_disc(axle, side * (half + 0.025), radius, radius * 0.2, 8), normal, "dark", 15.0)


def _rect_end(a: float, b0: float, b1: float, c0: float, c1: float) -> Points:
    return np.array([[a, b0, c0], [a, b1, c0], [a, b1, c1], [a, b0, c1]])


def _rect_side(b: float, a0: float, a1: float, c0: float, c1: float) -> Points:
    return np.array([[a0, b, c0], [a1, b, c0], [a1, b, c1], [a0, b, c1]])


def end_face(a: float, b0: float, b1: float, c0: float, c1: float, material: str, heat: float = 0.0) -> Face:
    """An upright rectangle across the vehicle at `a` ahead of its middle, facing away from it."""
    return Face(_rect_end(a, b0, b1, c0, c1), np.array([np.copysign(1.0, a), 0, 0]), material, heat)


def mirrored(a: float, b0: float, b1: float, c0: float, c1: float, material: str, heat: float = 0.0) -> list[Face]:
    """`end_face` on the left and on the right, b0 and b1 counted from the middle."""
    return [end_face(a, s * b0, s * b1, c0, c1, material, heat) for s in (-1, 1)]


def prism(
    profile: Points, half: Points, materials: list[str], side: str, heats: list[float],
    details: dict[int, list[Face]], side_details: list[Points], side_shade: tuple[float, float] = (1.0, 1.0),
) -> tuple[Face, ...]:  # fmt: skip
    """A body from its outline seen from the right: (n, 2) forward, up, running from the front over the top to the rear.

    `half` (n,): half width at each vertex. `materials`, `heats`: one for each strip. `side_details`: glass polygons
    (m, 2). `side_shade`: of the upper and the lower half of the sides.
    """
    faces = []
    count = len(profile)
    for i in range(count - 1):
        (a0, c0), (a1, c1) = profile[i], profile[i + 1]
        w0, w1 = half[i], half[i + 1]
        points = np.array([[a0, -w0, c0], [a0, w0, c0], [a1, w1, c1], [a1, -w1, c1]])
        normal = np.array([c1 - c0, 0.0, a0 - a1]) / max(np.hypot(a1 - a0, c1 - c0), 1e-6)
        faces.append(Face(points, normal, materials[i], heats[i], 1.0, tuple(details.get(i, ()))))
    sill = profile[:, 1].min() + 0.42 * np.ptp(profile[:, 1])
    for sign in (-1.0, 1.0):
        normal = np.array([0.0, sign, 0.12]) / 1.007
        outline = np.stack([profile[:, 0], sign * half, profile[:, 1]], axis=1)
        extras = [_sill(outline, sill, normal, side, side_shade[1])]
        for glass in side_details:
            inset = np.interp(glass[:, 1], np.sort(profile[:, 1]), half[np.argsort(profile[:, 1])])
            extras.append(Face(np.stack([glass[:, 0], sign * inset, glass[:, 1]], axis=1), normal, "glass"))
        faces.append(Face(outline, normal, side, 1.0, side_shade[0], tuple(extras)))
    return tuple(faces)


def _sill(outline: Points, level: float, normal: Points, material: str, shade: float) -> Face:
    low = outline.copy()
    low[:, 2] = np.minimum(low[:, 2], level)
    return Face(low, normal, material, 2.0, shade)
