"""Pedestrians and riders as limbs on a skeleton, and motorcycles and bicycles, in (forward, right, up) meters."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from .brush import Brush, Paint, Sprite
from .camera import NEAR, Camera, Pose
from .light import Light, Weather
from .noise import Image

Points = NDArray[np.float64]

CLOTHES = (
    (0.02, 0.02, 0.025), (0.03, 0.04, 0.08), (0.15, 0.15, 0.16), (0.55, 0.55, 0.55), (0.35, 0.04, 0.04),
    (0.06, 0.12, 0.35), (0.10, 0.16, 0.08), (0.55, 0.40, 0.08), (0.30, 0.20, 0.12), (0.05, 0.25, 0.22),
)  # fmt: skip
SKIN = ((0.50, 0.32, 0.23), (0.38, 0.22, 0.15), (0.16, 0.09, 0.06))
SKIN_TEMPERATURE = 33.5


@dataclass(frozen=True)
class Part:
    """The convex hull of balls: (n, 3) centers, (n,) radii, of a material, with its degrees above the material's own."""

    centers: Points
    radii: Points
    material: str
    heat: float = 0.0


@dataclass(frozen=True)
class Person:
    """Somebody: build, clothes and gait."""

    height: float
    girth: float
    colors: dict[str, Points]
    insulation: float
    """0: clothes as warm as skin .. 1: as cold as the air."""
    coat: bool
    backpack: bool
    bag: bool
    stride: float
    phase: float
    helmet: bool = False


@dataclass(frozen=True)
class Cycle:
    """A motorcycle, scooter or bicycle."""

    kind: str
    """"motorcycle" or "bicycle"."""
    color: Points
    running: bool
    length: float


def make_person(rng: np.random.Generator, child: bool = False, helmet: bool = False) -> Person:
    """A random person."""
    colors = {
        "top": np.array(CLOTHES[rng.integers(10)]) * rng.uniform(0.7, 1.2),
        "legs": np.array(CLOTHES[rng.integers(4)]) * rng.uniform(0.8, 1.6),
        "skin": np.array(SKIN[rng.integers(3)]),
        "hair": np.array([0.02, 0.016, 0.012]) * rng.uniform(0.6, 6),
        "shoe": np.array([0.03, 0.03, 0.03]) if rng.random() < 0.6 else np.array([0.5, 0.5, 0.48]),
        "pack": np.array(CLOTHES[rng.integers(10)]),
        "helmet": np.array(CLOTHES[rng.integers(10)]) * 1.2,
    }
    height = rng.uniform(1.15, 1.4) if child else rng.uniform(1.56, 1.88)
    return Person(
        height, rng.uniform(0.9, 1.2), colors, rng.uniform(0.2, 0.55), bool(rng.random() < 0.3),
        bool(rng.random() < 0.25), bool(rng.random() < 0.2), rng.uniform(1.3, 1.6), rng.uniform(0, 6.28), helmet,
    )  # fmt: skip


def make_cycle(kind: str, rng: np.random.Generator, running: bool) -> Cycle:
    """A random two-wheeler."""
    color = np.array(CLOTHES[rng.integers(10)]) * 1.4
    return Cycle(kind, color, running, rng.uniform(1.7, 2.1) if kind == "motorcycle" else rng.uniform(1.6, 1.75))


def draw_person(person: Person, pose: Pose, camera: Camera, light: Light, tile: Image, semantic: int) -> Sprite | None:
    """A pedestrian, walking when the pose moves."""
    swing = 2 * np.pi * pose.distance / person.stride + person.phase
    stride = 0.0 if pose.speed < 0.05 else min(1.0, 0.5 + pose.speed / 2.5)
    return _draw(_walking(person, swing, stride), person, None, pose, camera, light, tile, semantic)


def draw_rider(person: Person, cycle: Cycle, pose: Pose, camera: Camera, light: Light, tile: Image, semantic: int) -> Sprite | None:
    """Somebody sitting on a two-wheeler."""
    turn = pose.distance / 1.2 if cycle.kind == "bicycle" else None
    return _draw(_riding(person, turn), person, None, pose, camera, light, tile, semantic)


def draw_cycle(cycle: Cycle, pose: Pose, camera: Camera, light: Light, tile: Image, semantic: int) -> Sprite | None:
    """A two-wheeler without its rider."""
    parts = _motorcycle(cycle) if cycle.kind == "motorcycle" else _bicycle(cycle)
    return _draw(parts, None, cycle, pose, camera, light, tile, semantic)


def _draw(
    parts: list[Part], person: Person | None, cycle: Cycle | None, pose: Pose, camera: Camera, light: Light,
    tile: Image, semantic: int,
) -> Sprite | None:  # fmt: skip
    scale = person.height / 1.75 if person and person.height < 1.5 else 1.0
    worlds = [pose.to_world(part.centers * scale) for part in parts]
    if min(world[:, 2].min() for world in worlds) < NEAR + 0.4:
        return None
    pixels = [camera.project(world) for world in worlds]
    radii = [part.radii * scale * camera.focal / world[:, 2] for part, world in zip(parts, worlds, strict=True)]
    low = np.min([(p - r[:, None]).min(axis=0) for p, r in zip(pixels, radii, strict=True)], axis=0)
    high = np.max([(p + r[:, None]).max(axis=0) for p, r in zip(pixels, radii, strict=True)], axis=0)
    brush = Brush(np.array([low, high]), (camera.height, camera.width))
    if brush.empty:
        return None
    toward = np.array([camera.x - pose.x, 1.0, -pose.z])
    received = light.at(np.array([pose.x, 1.1, pose.z]), toward / np.linalg.norm(toward))
    received = received + light.weather.sun * 0.25
    for index in sorted(range(len(parts)), key=lambda i: -worlds[i][:, 2].mean()):
        part = parts[index]
        paint = _material(part, person, cycle, received, light.weather)
        brush.hull(pixels[index], np.maximum(radii[index], 0.35), paint)
    brush.roundness(0.45 if person else 0.2, 3.0 if person else 1.0)
    brush.grain(tile, 0.10, 0.35)
    return brush.sprite(pose.z, semantic)


def _material(part: Part, person: Person | None, cycle: Cycle | None, received: Points, weather: Weather) -> Paint:
    air = weather.air_temperature
    if person is not None:
        insulation = {"skin": 0.0, "top": person.insulation, "legs": person.insulation * 0.9, "hair": 0.35, "shoe": 0.6,
                      "pack": 0.8, "helmet": 0.6}[part.material]  # fmt: skip
        surface = max(air + 0.5, SKIN_TEMPERATURE if air > 5 else SKIN_TEMPERATURE - 2)
        temperature = surface - insulation * (surface - air) + weather.sun_heating * 0.25 * (insulation > 0)
        return Paint.lit(person.colors[part.material], received, temperature + part.heat)
    assert cycle is not None
    albedo = {"body": cycle.color, "metal": np.array([0.3, 0.3, 0.3]), "lens": np.array([0.6, 0.6, 0.55]),
              "red": np.array([0.35, 0.02, 0.02])}.get(part.material, np.array([0.025, 0.025, 0.025]))  # fmt: skip
    base = air + weather.sun_heating * 0.6 - (1.5 if weather.night else 0.0)
    return Paint.lit(albedo, received, base + (part.heat if cycle.running else 0.0))


def _part(material: str, *balls: tuple[float, float, float, float], heat: float = 0.0) -> Part:
    values = np.array(balls)
    return Part(values[:, :3], values[:, 3], material, heat)


def _head(person: Person, a: float, c: float) -> list[Part]:
    top = "helmet" if person.helmet else "hair"
    size = 0.125 if person.helmet else 0.105
    return [
        _part("skin", (a, 0, c - 0.2, 0.055), (a + 0.01, 0, c - 0.06, 0.055)),
        _part(top, (a - 0.025, 0, c + 0.035, size), (a - 0.04, 0, c - 0.01, size * 0.9)),
        _part("skin", (a + 0.035, 0, c - 0.005, 0.082), (a + 0.045, 0, c - 0.06, 0.06), heat=0.8),
    ]


def _limb(material: str, points: list[Points], radii: tuple[float, ...], heat: float = 0.0) -> list[Part]:
    pairs = zip(points, points[1:], radii, radii[1:], strict=False)
    return [_part(material, (*p, r), (*q, s), heat=heat) for p, q, r, s in pairs]


def _walking(person: Person, swing: float, stride: float) -> list[Part]:
    tall = person.height / 1.75 if person.height >= 1.5 else 1.0
    g = person.girth
    hip = (0.92 - 0.025 * stride * (1 - np.cos(2 * swing)) / 2) * tall
    shoulder, head = hip + 0.50 * tall, hip + 0.73 * tall
    parts: list[Part] = []
    for side, phase in ((-1.0, swing), (1.0, swing + np.pi)):
        thigh = 0.46 * stride * np.sin(phase)
        knee_bend = stride * (0.12 + 0.75 * max(0.0, np.cos(phase)) ** 2)
        top = np.array([0.0, side * 0.09 * g, hip])
        knee = top + 0.44 * tall * np.array([np.sin(thigh), 0, -np.cos(thigh)])
        ankle = knee + 0.42 * tall * np.array([np.sin(thigh - knee_bend), 0, -np.cos(thigh - knee_bend)])
        toe = ankle + np.array([0.15, side * 0.02, -0.03])
        parts += _limb("legs", [top, knee, ankle], (0.095 * g, 0.068 * g, 0.05))
        parts += _limb("shoe", [ankle + np.array([-0.03, 0, -0.03]), toe], (0.05, 0.038))
        arm = -0.5 * stride * np.sin(phase)
        joint = np.array([0.0, side * 0.2 * g, shoulder - 0.03])
        elbow = joint + 0.28 * tall * np.array([np.sin(arm), side * 0.12, -np.cos(arm)])
        wrist = elbow + 0.25 * tall * np.array([np.sin(arm + 0.35), 0, -np.cos(arm + 0.35)])
        parts += _limb("top", [joint, elbow, wrist], (0.065 * g, 0.052, 0.042), heat=-1.0)
        parts.append(_part("skin", (*(wrist + np.array([0.02, 0, -0.05])), 0.042), heat=-1.5))
        if person.bag and side > 0:
            parts.append(_part("pack", (wrist[0], side * 0.28, wrist[2] - 0.2, 0.1), (wrist[0], side * 0.28, wrist[2] - 0.4, 0.12)))
    parts += _torso(person, 0.0, 0.0, hip, shoulder)
    if person.coat:
        parts.append(_part("top", (0, -0.1 * g, hip, 0.12 * g), (0, 0.1 * g, hip, 0.12 * g),
                           (0.03, -0.12, hip - 0.3, 0.1), (-0.03, 0.12, hip - 0.3, 0.1), heat=-1.5))  # fmt: skip
    if person.backpack:
        parts.append(_part("pack", (-0.17, -0.08, shoulder - 0.05, 0.1), (-0.2, 0.08, shoulder - 0.05, 0.1), (-0.2, 0, hip + 0.12, 0.13)))
    return parts + _head(person, 0.02, head)


def _torso(person: Person, low: float, high: float, hip: float, shoulder: float) -> list[Part]:
    g = person.girth
    return [
        _part("legs", (low, -0.07 * g, hip, 0.11 * g), (low, 0.07 * g, hip, 0.11 * g)),
        _part("top", (low, -0.07 * g, hip + 0.06, 0.1 * g), (low, 0.07 * g, hip + 0.06, 0.1 * g),
              (high, -0.15 * g, shoulder - 0.03, 0.075 * g), (high, 0.15 * g, shoulder - 0.03, 0.075 * g),
              (high, 0, shoulder - 0.06, 0.11 * g), heat=0.6),
    ]  # fmt: skip


def _riding(person: Person, pedal: float | None) -> list[Part]:
    hip, shoulder = (0.86, 1.34) if pedal is None else (0.98, 1.46)
    parts = _torso(person, -0.22, 0.0, hip, shoulder)
    for side in (-1.0, 1.0):
        turn = 0.0 if pedal is None else 2 * np.pi * pedal + (side > 0) * np.pi
        foot = np.array([0.12, side * 0.17, 0.28]) if pedal is None else np.array(
            [0.02 + 0.16 * np.cos(turn), side * 0.12, 0.30 - 0.16 * np.sin(turn)])  # fmt: skip
        start = np.array([-0.2, side * 0.11, hip])
        middle = (start + foot) / 2
        knee = np.array([middle[0] + 0.26, side * 0.2, middle[2] + 0.12])
        parts += _limb("legs", [start, knee, foot], (0.1, 0.072, 0.05))
        parts.append(_part("shoe", (*foot, 0.05), (foot[0] + 0.13, foot[1], foot[2] - 0.02, 0.04)))
        joint = np.array([0.0, side * 0.2, shoulder - 0.03])
        hand = np.array([0.48, side * 0.3, 1.05])
        elbow = (joint + hand) / 2 + np.array([-0.05, side * 0.08, -0.06])
        parts += _limb("top", [joint, elbow, hand], (0.065, 0.055, 0.042), heat=-0.5)
        parts.append(_part("skin", (*hand, 0.045), heat=-2.0))
    return parts + _head(person, 0.06, shoulder + 0.25)


def _wheel(a: float, radius: float, half: float, heat: float) -> Part:
    angle = np.arange(10) * 2 * np.pi / 10
    ring = np.stack([a + (radius - half) * np.cos(angle), np.zeros(10), radius + (radius - half) * np.sin(angle)], axis=1)
    return Part(ring, np.full(10, half), "dark", heat)


def _motorcycle(cycle: Cycle) -> list[Part]:
    f = cycle.length / 2 - 0.3
    parts = [_wheel(f, 0.3, 0.06, 6), _wheel(-f, 0.3, 0.07, 9)]
    parts += [
        _part("metal", (f, -0.07, 0.3, 0.035), (f - 0.22, -0.07, 0.9, 0.04)),
        _part("metal", (f, 0.07, 0.3, 0.035), (f - 0.22, 0.07, 0.9, 0.04)),
        _part("dark", (0.16, 0, 0.38, 0.15), (-0.14, 0, 0.36, 0.16), heat=32),
        _part("metal", (0.05, 0.15, 0.28, 0.045), (-f, 0.17, 0.36, 0.06), heat=40),
        _part("body", (0.3, 0, 0.74, 0.12), (-0.02, 0, 0.68, 0.13), heat=8),
        _part("dark", (-0.08, 0, 0.75, 0.1), (-f + 0.05, 0, 0.78, 0.1), heat=3),
        _part("body", (-f + 0.1, 0, 0.68, 0.09), (-f - 0.12, 0, 0.78, 0.06)),
        _part("dark", (f - 0.28, -0.34, 1.0, 0.03), (f - 0.24, 0, 0.98, 0.04), (f - 0.28, 0.34, 1.0, 0.03)),
        _part("body", (f - 0.14, 0, 0.86, 0.13), (f - 0.1, 0, 0.72, 0.1)),
        _part("lens", (f - 0.03, 0, 0.86, 0.075), heat=6),
        _part("red", (-f - 0.18, 0, 0.74, 0.04), heat=2),
    ]
    return parts


def _bicycle(cycle: Cycle) -> list[Part]:
    f = cycle.length / 2 - 0.33
    saddle, crank, head = (-0.2, 0.0, 0.92), (-0.02, 0.0, 0.3), (f - 0.18, 0.0, 0.9)
    tube = 0.018
    lines = [(saddle, crank), (saddle, head), (crank, head), ((-f, 0.0, 0.33), saddle), ((-f, 0.0, 0.33), crank), ((f, 0.0, 0.33), head)]
    parts = []
    for a in (f, -f):
        rim = [(a + 0.31 * np.cos(t), 0.0, 0.33 + 0.31 * np.sin(t)) for t in np.arange(15) * 2 * np.pi / 14]
        parts += [_part("dark", (*p, 0.018), (*q, 0.018)) for p, q in zip(rim, rim[1:], strict=False)]
    parts += [_part("body", (*p, tube), (*q, tube)) for p, q in lines]
    parts.append(_part("dark", (-0.3, 0, 0.95, 0.05), (-0.1, 0, 0.96, 0.03)))
    parts.append(_part("metal", (f - 0.1, -0.28, 1.04, 0.02), (f - 0.2, 0, 1.0, 0.025), (f - 0.1, 0.28, 1.04, 0.02)))
    return parts
