"""Cars, vans, buses and trucks, drawn by chance from a few styles."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from cldyn_core.data.synthetic.camera import Points
from cldyn_core.data.synthetic.shapes import Face, Lamp, Vehicle, end_face, mirrored, prism

PAINTS = (
    (0.75, 0.76, 0.77), (0.75, 0.76, 0.77), (0.42, 0.44, 0.46), (0.20, 0.21, 0.22), (0.03, 0.03, 0.035),
    (0.45, 0.03, 0.03), (0.04, 0.09, 0.30), (0.10, 0.13, 0.11), (0.60, 0.42, 0.05), (0.35, 0.27, 0.18),
)  # fmt: skip
BUS_PAINTS = ((0.60, 0.08, 0.05), (0.06, 0.30, 0.16), (0.10, 0.25, 0.55), (0.65, 0.62, 0.55), (0.62, 0.35, 0.04))
CARGO_PAINTS = ((0.72, 0.72, 0.70), (0.08, 0.20, 0.45), (0.45, 0.08, 0.06), (0.30, 0.32, 0.30), (0.55, 0.45, 0.20))
LAMP_WHITE, LAMP_RED = np.array([1.0, 0.93, 0.8]), np.array([1.0, 0.05, 0.03])


def make_vehicle(kind: str, rng: np.random.Generator, running: bool) -> Vehicle:
    """A random vehicle of a kind ("car", "bus" or "truck"); `running`: its engine is warm."""
    maker = {"car": _car, "bus": _bus, "truck": _truck}[kind]
    return replace(maker(rng), running=running, grime=float(rng.uniform(0, 0.3)))


def _lamps(
    front: float, rear: float, half: float, height: float, rear_height: float, radius: float
) -> tuple[Lamp, ...]:
    return tuple(
        Lamp(np.array([a, s * half, c]), color, radius, float(np.sign(a)))
        for a, c, color in ((front, height, LAMP_WHITE * 22), (rear, rear_height, LAMP_RED * 2.2))
        for s in (-1, 1)
    )


def _car(rng: np.random.Generator) -> Vehicle:
    style = str(rng.choice(["sedan", "hatch", "suv", "van"], p=[0.4, 0.2, 0.25, 0.15]))
    length = {"sedan": 4.7, "hatch": 4.0, "suv": 4.7, "van": 4.9}[style] * rng.uniform(0.95, 1.06)
    height = {"sedan": 1.45, "hatch": 1.5, "suv": 1.72, "van": 1.95}[style] * rng.uniform(0.97, 1.04)
    width = rng.uniform(1.74, 1.92)
    f, w, belt = length / 2, width / 2, height * 0.64
    hood = belt * (0.87 if style != "van" else 0.95)
    shield = f * (0.50 if style != "van" else 0.80)
    lower = np.array(
        [
            [f, 0.24],
            [f, 0.62 * belt],
            [f - 0.14, hood - 0.05],
            [shield, belt],
            [-f + 0.12, belt + 0.03],
            [-f, belt * 0.75],
            [-f, 0.26],
        ]
    )
    halves = np.array([w * 0.95, w * 0.97, w * 0.95, w, w * 0.97, w, w * 0.95])
    roof_front = shield - (0.72 if style != "van" else 0.5)
    roof_rear = {"sedan": -f * 0.42, "hatch": -f + 0.45, "suv": -f + 0.4, "van": -f + 0.2}[style]
    base_rear = {"sedan": -f * 0.78, "hatch": -f + 0.1, "suv": -f + 0.12, "van": -f + 0.06}[style]
    cabin = np.array(
        [
            [shield, belt - 0.02],
            [roof_front, height - 0.03],
            [(roof_front + roof_rear) / 2, height],
            [roof_rear, height - 0.04],
            [base_rear, belt],
        ]
    )
    top = w * 0.76
    windows = _car_windows(shield, roof_front, roof_rear, base_rear, belt, height)
    lamp = 0.66 * belt
    front = [
        *mirrored(f + 0.01, w * 0.52, w * 0.93, lamp - 0.08, lamp + 0.06, "lens", 6),
        end_face(f + 0.01, -w * 0.5, w * 0.5, lamp - 0.1, lamp + 0.05, "grille", 12),
        end_face(f + 0.01, -w * 0.7, w * 0.7, 0.27, 0.42, "grille", 14),
        end_face(f + 0.02, -0.24, 0.24, 0.45, 0.56, "plate"),
    ]
    rear = [
        *mirrored(-f - 0.01, w * 0.58, w * 0.96, belt * 0.68, belt * 0.75, "red"),
        end_face(-f - 0.01, -w * 0.8, w * 0.8, 0.28, 0.4, "dark", 8),
        end_face(-f - 0.02, -0.24, 0.24, 0.52, 0.63, "plate"),
    ]
    tail = mirrored(-f - 0.01, w * 0.6, w * 0.95, belt * 0.76, belt * 0.92, "red")
    bodies = (
        prism(lower, halves, ["body"] * 6, "body", [9, 9, 8, 2, 1, 4], {0: front, 4: tail, 5: rear}, [], (1.0, 0.72)),
        prism(
            cabin,
            np.array([w * 0.93, top, top, top, w * 0.93]),
            ["glass", "body", "body", "glass"],
            "body",
            [2, 0.5, 0.5, 1],
            {},
            windows,
        ),
    )
    axle = length * 0.295
    return Vehicle(
        "car",
        length,
        width,
        height,
        bodies,
        ((axle, 0.33), (-axle, 0.33)),
        np.array(PAINTS[rng.integers(len(PAINTS))]),
        np.ones(3),
        _lamps(f, -f, w * 0.74, lamp, belt * 0.8, 0.09),
    )


def _car_windows(
    shield: float, roof_front: float, roof_rear: float, rear: float, belt: float, height: float
) -> list[Points]:
    pillar = (shield + rear) / 2
    low, high = belt + 0.03, height - 0.12
    front = np.array([[shield - 0.14, low], [roof_front - 0.02, high], [pillar + 0.05, high], [pillar + 0.05, low]])
    back = np.array([[pillar - 0.05, low], [pillar - 0.05, high], [roof_rear + 0.02, high], [rear + 0.22, low]])
    return [front, back]


def _bus(rng: np.random.Generator) -> Vehicle:
    length, height, width = rng.uniform(8.5, 12.0), rng.uniform(2.9, 3.3), 2.5
    f, w = length / 2, width / 2
    profile = np.array(
        [
            [f, 0.32],
            [f, 1.15],
            [f - 0.12, height - 0.1],
            [f - 0.4, height],
            [-f + 0.2, height],
            [-f, height - 0.15],
            [-f, 0.35],
        ]
    )
    half = np.array([w, w, w * 0.98, w * 0.9, w * 0.9, w * 0.98, w])
    pane = (length - 1.2) / 6
    windows = [
        np.array([[a, 1.25], [a, height - 0.55], [a - pane + 0.1, height - 0.55], [a - pane + 0.1, 1.25]])
        for a in f - 0.5 - pane * np.arange(6)
    ]
    door = f - 0.5 - pane * 2
    windows.append(np.array([[door, 0.45], [door, 1.25], [door - 0.9, 1.25], [door - 0.9, 0.45]]))
    glass = [
        end_face(f - 0.02, -w * 0.94, w * 0.94, 1.15, height - 0.62, "glass"),
        end_face(f - 0.02, -w * 0.6, w * 0.6, height - 0.5, height - 0.22, "sign"),
        end_face(f, -w * 0.94, w * 0.94, height - 0.58, height - 0.55, "dark"),
    ]
    front = [
        *mirrored(f + 0.01, w * 0.6, w * 0.92, 0.62, 0.82, "lens", 5),
        end_face(f + 0.01, -w, w, 0.34, 0.5, "dark", 4),
        end_face(f + 0.01, -0.3, 0.3, 0.6, 0.72, "plate"),
    ]
    rear = [
        *mirrored(-f - 0.01, w * 0.78, w * 0.94, 0.9, 1.4, "red"),
        end_face(-f - 0.01, -w * 0.65, w * 0.65, 0.5, 1.1, "grille", 24),
        end_face(-f - 0.01, -w * 0.75, w * 0.75, 1.7, height - 0.7, "glass"),
        end_face(-f - 0.02, -0.3, 0.3, 1.25, 1.4, "plate"),
    ]
    body = prism(
        profile, half, ["body"] * 6, "body", [3, 2, 1, 1, 2, 7], {0: front, 1: glass, 5: rear}, windows, (1.0, 0.8)
    )
    paint = np.array(BUS_PAINTS[rng.integers(len(BUS_PAINTS))])
    return Vehicle(
        "bus",
        length,
        width,
        height,
        (body,),
        ((f - 2.4, 0.48), (-f + 2.6, 0.48)),
        paint,
        paint,
        _lamps(f, -f, w * 0.76, 0.72, 1.1, 0.1),
    )


def _truck(rng: np.random.Generator) -> Vehicle:
    length, width = rng.uniform(5.6, 9.5), rng.uniform(2.1, 2.5)
    height = rng.uniform(2.6, 3.6)
    roof = min(height, rng.uniform(2.2, 2.8))
    f, w, split = length / 2, width / 2, length / 2 - 1.75
    cab = np.array([[f, 0.38], [f, 1.25], [f - 0.28, roof - 0.08], [f - 0.5, roof], [split, roof], [split, 0.5]])
    half = np.array([w * 0.95, w * 0.95, w * 0.9, w * 0.86, w * 0.88, w * 0.95])
    window = np.array([[f - 0.2, 1.3], [f - 0.45, roof - 0.25], [split + 0.45, roof - 0.25], [split + 0.45, 1.3]])
    glass = [
        Face(
            np.array(
                [
                    [f - 0.01, -w * 0.86, 1.32],
                    [f - 0.01, w * 0.86, 1.32],
                    [f - 0.24, w * 0.8, roof - 0.25],
                    [f - 0.24, -w * 0.8, roof - 0.25],
                ]
            ),
            np.array([0.95, 0, 0.3]),
            "glass",
            2.0,
        )
    ]
    front = [
        *mirrored(f + 0.01, w * 0.62, w * 0.92, 0.62, 0.82, "lens", 5),
        end_face(f + 0.01, -w * 0.55, w * 0.55, 0.62, 1.1, "grille", 15),
        end_face(f + 0.01, -w * 0.95, w * 0.95, 0.4, 0.56, "dark", 8),
        end_face(f + 0.02, -0.25, 0.25, 0.42, 0.54, "plate"),
    ]
    top = height if rng.random() < 0.75 else rng.uniform(1.5, 1.9)
    start = split - 0.15
    cargo = np.array([[start, 0.95], [start, top], [-f, top], [-f, 0.95]])
    rear = [
        end_face(-f - 0.01, -0.02, 0.02, 0.98, top, "dark"),
        *mirrored(-f - 0.01, w * 0.94, w, 0.98, top, "chrome"),
        *mirrored(-f - 0.01, w * 0.4, w * 0.45, 1.1, top - 0.15, "chrome"),
    ]
    chassis = np.array([[start + 0.2, 0.45], [start + 0.2, 0.97], [-f + 0.02, 0.97], [-f + 0.02, 0.45]])
    lights = [
        *mirrored(-f, w * 0.68, w * 0.95, 0.6, 0.78, "red"),
        end_face(-f, -w * 0.6, w * 0.6, 0.5, 0.56, "amber"),
        end_face(-f, -0.25, 0.25, 0.66, 0.8, "plate"),
    ]
    bodies = (
        prism(chassis, np.full(4, w * 0.94), ["dark"] * 3, "dark", [6, 2, 5], {2: lights}, []),
        prism(cargo, np.full(4, w), ["cargo"] * 3, "cargo", [0, 0, 0], {2: rear}, [], (1.0, 0.9)),
        prism(cab, half, ["body"] * 5, "body", [9, 4, 2, 1, 1], {0: front, 1: glass}, [window], (1.0, 0.8)),
    )
    wheels = ((f - 1.1, 0.45), (-f + 1.4, 0.45)) + (((-f + 2.4, 0.45),) if length > 8 else ())
    paint, load = np.array(PAINTS[rng.integers(len(PAINTS))]), np.array(CARGO_PAINTS[rng.integers(len(CARGO_PAINTS))])
    return Vehicle(
        "truck", length, width, max(top, roof), bodies, wheels, paint, load, _lamps(f, -f, w * 0.78, 0.72, 0.7, 0.1)
    )
