"""Pedestrians and riders as limbs on a skeleton, in (forward, right, up) meters."""

from __future__ import annotations

from dataclasses import dataclass, replace
from itertools import pairwise

import numpy as np

from cldyn_core.data.synthetic.brush import Paint, Sprite
from cldyn_core.data.synthetic.camera import Camera, Points, Pose
from cldyn_core.data.synthetic.images import Image
from cldyn_core.data.synthetic.light import Light, Weather
from cldyn_core.data.synthetic.limbs import CLOTHES, Figure, Part, draw_figure, part

SKIN = ((0.50, 0.32, 0.23), (0.38, 0.22, 0.15), (0.16, 0.09, 0.06))
SKIN_TEMPERATURE = 33.5


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


def draw_person(person: Person, pose: Pose, camera: Camera, light: Light, tile: Image, semantic: int) -> Sprite | None:
    """A pedestrian, walking when the pose moves; None when out of view."""
    swing = 2 * np.pi * pose.distance / person.stride + person.phase
    stride = 0.0 if pose.speed < 0.05 else min(1.0, 0.5 + pose.speed / 2.5)
    figure = _figure(person, _walking(person, swing, stride), light.weather)
    return draw_figure(figure, pose, camera, light, tile, semantic)


def draw_rider(
    person: Person, pedals: bool, pose: Pose, camera: Camera, light: Light, tile: Image, semantic: int
) -> Sprite | None:
    """Somebody sitting on a bicycle (`pedals`) or a motorcycle; None when out of view."""
    turn = pose.distance / 1.2 if pedals else None
    figure = _figure(person, _riding(person, turn), light.weather)
    sprite = draw_figure(figure, pose, camera, light, tile, semantic)
    # The saddle is as far away as who sits on it: only what is nearer is drawn over it.
    return None if sprite is None else replace(sprite, depth=pose.z - 0.05)


def _figure(person: Person, parts: list[Part], weather: Weather) -> Figure:
    air = weather.air_temperature
    surface = max(air + 0.5, SKIN_TEMPERATURE if air > 5 else SKIN_TEMPERATURE - 2)
    insulations = {"skin": 0.0, "top": person.insulation, "legs": person.insulation * 0.9, "hair": 0.35, "shoe": 0.6,
                   "pack": 0.8, "helmet": 0.6}  # fmt: skip

    def paint(limb: Part, received: Points) -> Paint:
        insulation = insulations[limb.material]
        temperature = surface - insulation * (surface - air) + weather.sun_heating * 0.25 * (insulation > 0)
        return Paint.lit(person.colors[limb.material], received, temperature + limb.heat)

    # Adults differ in height by their skeleton, children are adults made smaller.
    return Figure(parts, paint, (0.45, 3.0), person.height / 1.75 if person.height < 1.5 else 1.0)


def _head(person: Person, a: float, c: float) -> list[Part]:
    top = "helmet" if person.helmet else "hair"
    size = 0.125 if person.helmet else 0.105
    return [
        part("skin", (a, 0, c - 0.2, 0.055), (a + 0.01, 0, c - 0.06, 0.055)),
        part(top, (a - 0.025, 0, c + 0.035, size), (a - 0.04, 0, c - 0.01, size * 0.9)),
        part("skin", (a + 0.035, 0, c - 0.005, 0.082), (a + 0.045, 0, c - 0.06, 0.06), heat=0.8),
    ]


def _limb(material: str, points: list[Points], radii: tuple[float, ...], heat: float = 0.0) -> list[Part]:
    balls = [(float(a), float(b), float(c), r) for (a, b, c), r in zip(points, radii, strict=True)]
    return [part(material, start, end, heat=heat) for start, end in pairwise(balls)]


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
        parts.append(part("skin", (*(wrist + np.array([0.02, 0, -0.05])), 0.042), heat=-1.5))
        if person.bag and side > 0:
            parts.append(
                part(
                    "pack", (wrist[0], side * 0.28, wrist[2] - 0.2, 0.1), (wrist[0], side * 0.28, wrist[2] - 0.4, 0.12)
                )
            )
    parts += _torso(person, 0.0, 0.0, hip, shoulder)
    if person.coat:
        parts.append(part("top", (0, -0.1 * g, hip, 0.12 * g), (0, 0.1 * g, hip, 0.12 * g),
                           (0.03, -0.12, hip - 0.3, 0.1), (-0.03, 0.12, hip - 0.3, 0.1), heat=-1.5))  # fmt: skip
    if person.backpack:
        parts.append(
            part(
                "pack",
                (-0.17, -0.08, shoulder - 0.05, 0.1),
                (-0.2, 0.08, shoulder - 0.05, 0.1),
                (-0.2, 0, hip + 0.12, 0.13),
            )
        )
    return parts + _head(person, 0.02, head)


def _torso(person: Person, low: float, high: float, hip: float, shoulder: float) -> list[Part]:
    g = person.girth
    return [
        part("legs", (low, -0.07 * g, hip, 0.11 * g), (low, 0.07 * g, hip, 0.11 * g)),
        part("top", (low, -0.07 * g, hip + 0.06, 0.1 * g), (low, 0.07 * g, hip + 0.06, 0.1 * g),
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
        parts.append(part("shoe", (*foot, 0.05), (foot[0] + 0.13, foot[1], foot[2] - 0.02, 0.04)))
        joint = np.array([0.0, side * 0.2, shoulder - 0.03])
        hand = np.array([0.48, side * 0.3, 1.05])
        elbow = (joint + hand) / 2 + np.array([-0.05, side * 0.08, -0.06])
        parts += _limb("top", [joint, elbow, hand], (0.065, 0.055, 0.042), heat=-0.5)
        parts.append(part("skin", (*hand, 0.045), heat=-2.0))
    return parts + _head(person, 0.06, shoulder + 0.25)
