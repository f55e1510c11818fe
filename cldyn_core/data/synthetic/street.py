"""The plan of a street: where the road, the kerbs, the houses, the trees and the lights stand. Chosen by the seed."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from cldyn_core.data.synthetic.camera import Camera
from cldyn_core.data.synthetic.config import SceneConfig
from cldyn_core.data.synthetic.light import Color, Weather

LAYOUTS = ("street", "crossing", "parking")


@dataclass(frozen=True)
class House:
    """One building: its street wall from z0 to z1 at `x` (before the road's curve), its gable faces the camera."""

    side: int
    x: float
    z0: float
    z1: float
    height: float
    style: int
    """Seed of its walls."""


@dataclass(frozen=True)
class Street:
    """What stands still, in meters from the middle of the road."""

    layout: str
    lanes: int
    """For each direction."""
    lane: float
    half: float
    """Half the width of the asphalt."""
    sidewalk: float
    """Width of a sidewalk."""
    curve: float
    """The middle of the road is at curve * Z^2."""
    crosswalk: float
    """Z of the near edge of the zebra crossing, or 0."""
    junction: float
    """Z of the near edge of the crossing road, or 0."""
    junction_width: float
    verge: bool
    """Grass between sidewalk and houses."""
    houses: tuple[House, ...]
    trees: tuple[tuple[float, float, float, int], ...]
    """(x, z, height, kind)."""
    lamps: tuple[tuple[float, float, float], ...]
    """(x of the pole, z, height); the head hangs towards the road."""
    signals: tuple[tuple[float, float, float, float, int], ...]
    """Traffic lights: (x of the pole, x of the head, z, height, state 0 red 1 amber 2 green)."""
    signs: tuple[tuple[float, float, int], ...]

    def middle(self, z: float) -> float:
        """X of the middle of the road at z."""
        return self.curve * z * z

    def lamp_heads(self) -> Color:
        """(K, 3) positions of the street lamps' heads."""
        heads = [(x - np.sign(x) * 1.6, h, z) for x, z, h in self.lamps]
        return np.array([(x + self.middle(z), y, z) for x, y, z in heads]).reshape(-1, 3)


def make_street(weather: Weather, rng: np.random.Generator) -> Street:
    """Draws the plan."""
    layout = str(rng.choice(LAYOUTS, p=[0.5, 0.32, 0.18]))
    lanes = 1 if layout == "parking" else int(rng.choice([1, 2]))
    lane = rng.uniform(3.1, 3.6)
    strip = rng.uniform(2.1, 2.4) if layout == "street" and rng.random() < 0.6 else rng.uniform(0.3, 0.8)
    half = lanes * lane + strip + (3.5 if layout == "parking" else 0.0)
    sidewalk = rng.uniform(2.2, 4.5)
    curve = rng.uniform(-1, 1) * 0.0012 if layout == "street" and rng.random() < 0.5 else 0.0
    junction = rng.uniform(16, 34) if layout == "crossing" else 0.0
    crosswalk = (
        junction - 5.0 if junction else (rng.uniform(9, 28) if rng.random() < 0.35 and layout == "street" else 0.0)
    )
    plan = Street(layout, lanes, lane, half, sidewalk, curve, crosswalk, junction, rng.uniform(7, 11),
                  bool(rng.random() < 0.45), (), (), (), (), ())  # fmt: skip
    houses = [house for side in (-1, 1) for house in _houses(plan, side, rng)]
    plan = replace(plan, houses=tuple(houses), lamps=_lamps(plan, rng), signals=_signals(plan, rng))
    return replace(plan, trees=_trees(plan, rng), signs=_signs(plan, rng))


def make_camera(config: SceneConfig, street: Street, rng: np.random.Generator) -> Camera:
    """Draws the viewpoint: behind a windscreen, on the sidewalk, or high on a mast."""
    view = str(rng.choice(["car", "sidewalk", "mast"], p=[0.5, 0.32, 0.18]))
    width, height = config.width, config.height
    focal = max(width, 1.2 * height) * rng.uniform(0.75, 1.35)
    if view == "car":
        x, y, horizon = street.lane * 0.5, rng.uniform(1.25, 2.2), rng.uniform(0.38, 0.52)
    elif view == "sidewalk":
        x = float(rng.choice([-1, 1])) * (street.half + rng.uniform(-0.5, 1.2))
        y, horizon = rng.uniform(1.4, 1.8), rng.uniform(0.40, 0.55)
    else:
        x, y, horizon = rng.uniform(-1, 1) * street.half, rng.uniform(3.5, 6.0), rng.uniform(0.16, 0.32)
        focal *= 1.15
    margin_x, margin_y = int(width * 0.05) + 4, int(height * 0.012) + 4
    pull = -0.22 * x / street.half if view != "car" else rng.uniform(-0.06, 0.06)
    center = margin_x + width * (0.5 + pull * 0.8)
    return Camera(width + 2 * margin_x, height + 2 * margin_y, margin_x, margin_y, focal, center,
                  margin_y + height * horizon, x, y)  # fmt: skip


def _houses(plan: Street, side: int, rng: np.random.Generator) -> list[House]:
    if rng.random() < 0.12:
        return []
    tall = rng.random() < 0.4
    setback = plan.half + plan.sidewalk + (rng.uniform(2, 7) if plan.verge else rng.uniform(0.0, 1.0))
    houses, z = [], rng.uniform(2.0, 8.0)
    while z < 150:
        length = rng.uniform(10, 26)
        if plan.junction and z < plan.junction + plan.junction_width + 3 and z + length > plan.junction - 4:
            if plan.junction - 4 - z > 6:
                length = plan.junction - 4 - z
            else:
                z = plan.junction + plan.junction_width + 4
                continue
        if rng.random() < 0.85:
            height = rng.uniform(22, 60) if tall and rng.random() < 0.6 else rng.uniform(6, 19)
            houses.append(
                House(side, side * (setback + rng.uniform(0, 1.2)), z, z + length, height, int(rng.integers(1 << 30)))
            )
        z += length + float(rng.choice([0.0, 0.0, rng.uniform(1, 8)]))
    return houses


def _lamps(plan: Street, rng: np.random.Generator) -> tuple[tuple[float, float, float], ...]:
    spacing, height = rng.uniform(18, 30), rng.uniform(5.5, 9.0)
    sides = [(-1, 0.0), (1, 0.5)] if rng.random() < 0.7 else [(float(rng.choice([-1, 1])), 0.0)]
    start = rng.uniform(7, 18)
    return tuple(
        (side * (plan.half + 0.7), start + (k + shift) * spacing, height)
        for side, shift in sides
        for k in range(int(110 / spacing))
        if not _in_junction(plan, start + (k + shift) * spacing)
    )


def _signals(plan: Street, rng: np.random.Generator) -> tuple[tuple[float, float, float, float, int], ...]:
    if not plan.crosswalk and rng.random() < 0.45:
        return ()
    z = (
        plan.junction + plan.junction_width + 1.0
        if plan.junction
        else (plan.crosswalk + 4.5 if plan.crosswalk else rng.uniform(14, 45))
    )
    state = 0 if plan.junction else int(rng.choice([0, 1, 2], p=[0.3, 0.1, 0.6]))
    edge = plan.half + 0.8
    found = [(side * edge, side * (edge - 0.3), z, rng.uniform(2.8, 3.4), state) for side in (-1, 1)]
    if rng.random() < 0.65:
        found += [(edge, x, z + 0.1, rng.uniform(5.3, 6.0), state) for x in (plan.lane * 0.5, -plan.lane * 0.6)]
    if plan.junction and rng.random() < 0.6:
        found.append((edge, edge - 0.25, plan.junction - 1.0, 3.0, state))
    return tuple(found)


def _trees(plan: Street, rng: np.random.Generator) -> tuple[tuple[float, float, float, int], ...]:
    trees = []
    kind = int(rng.integers(3))
    for side in (-1, 1):
        if rng.random() < 0.25:
            continue
        spacing, z = rng.uniform(7, 16), rng.uniform(5, 14)
        offset = plan.half + (plan.sidewalk + 1.5 if plan.verge else 1.1)
        while z < 90:
            if not _in_junction(plan, z) and rng.random() < 0.85:
                trees.append(
                    (
                        side * (offset + rng.uniform(-0.3, 0.5)),
                        z,
                        rng.uniform(4.5, 9.5),
                        kind if rng.random() < 0.8 else 1,
                    )
                )
            z += spacing * rng.uniform(0.8, 1.3)
    return tuple(trees)


def _signs(plan: Street, rng: np.random.Generator) -> tuple[tuple[float, float, int], ...]:
    places = [
        (float(rng.choice([-1, 1])) * (plan.half + 0.5), rng.uniform(8, 60)) for _ in range(int(rng.integers(0, 4)))
    ]
    return tuple((x, z, int(rng.integers(4))) for x, z in places if not _in_junction(plan, z))


def _in_junction(plan: Street, z: float) -> bool:
    return bool(plan.junction) and plan.junction - 1.5 < z < plan.junction + plan.junction_width + 1.5
