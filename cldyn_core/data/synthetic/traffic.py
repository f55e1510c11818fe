"""Who is in the street and how everybody moves: positions are pure functions of time."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from cldyn_core.data.synthetic.camera import Camera, Pose
from cldyn_core.data.synthetic.config import SceneConfig
from cldyn_core.data.synthetic.cycles import Cycle, make_cycle
from cldyn_core.data.synthetic.light import Weather
from cldyn_core.data.synthetic.models import make_vehicle
from cldyn_core.data.synthetic.people import Person, make_person
from cldyn_core.data.synthetic.shapes import Vehicle
from cldyn_core.data.synthetic.street import Street

Path = Callable[[float], Pose]


@dataclass(frozen=True)
class Actor:
    """One moving or standing thing."""

    model: Vehicle | Person | Cycle
    path: Path
    moving: bool
    rider: Person | None = None
    dazzling: bool = False
    """Its headlamps are on full beam, straight at the camera."""


def along(street: Street, x: float, direction: int, start: float, speed: float, low: float, high: float) -> Path:
    """Along the road at x from its middle, direction +1 away from the camera; comes round again at the ends."""

    def pose(time: float) -> Pose:
        gone = speed * time
        z = low + (start - low + direction * gone) % (high - low)
        bend = np.arctan(2 * street.curve * z)
        heading = bend if direction > 0 else np.pi + bend
        return Pose(x + street.middle(z), z, float(heading), speed, gone)

    return pose


def across(z: float, direction: int, start: float, speed: float, reach: float) -> Path:
    """From side to side at a fixed distance; comes round again."""

    def pose(time: float) -> Pose:
        gone = speed * time
        x = (start + direction * gone + reach) % (2 * reach) - reach
        return Pose(x, z, direction * np.pi / 2, speed, gone)

    return pose


def to_and_fro(z: float, reach: float, start: float, speed: float) -> Path:
    """Walks over the road and back."""

    def pose(time: float) -> Pose:
        gone = speed * time
        turn = (start + gone) % (4 * reach)
        x, direction = (turn - reach, 1) if turn < 2 * reach else (3 * reach - turn, -1)
        return Pose(x, z + 0.3 * direction, direction * np.pi / 2, speed, gone)

    return pose


def still(x: float, z: float, heading: float) -> Path:
    """Stays."""
    return lambda _: Pose(x, z, heading)


def make_traffic(
    config: SceneConfig, street: Street, camera: Camera, weather: Weather, rng: np.random.Generator
) -> list[Actor]:
    """Draws everybody."""
    crowd = config.people if config.people is not None else int(rng.integers(2, 12))
    count = config.vehicles if config.vehicles is not None else int(rng.integers(4, 15))
    plan = _Planner(street, camera, config.people != 0, rng)
    actors: list[Actor] = []
    if weather.glare == "headlamps" and count:
        actors.append(plan.dazzler())
    while len(actors) < count:
        actors.append(plan.vehicle())
    while sum(isinstance(actor.model, Person) for actor in actors) < crowd:
        actors.append(plan.pedestrian())
    return actors


class _Planner:
    """Hands out free places."""

    def __init__(self, street: Street, camera: Camera, riders: bool, rng: np.random.Generator) -> None:
        self.street, self.camera, self.riders, self.rng = street, camera, riders, rng
        self.taken: dict[tuple[str, int, int], list[float]] = {}
        self.speeds: dict[tuple[str, int, int], float] = {}
        self.jam = bool(street.junction) or rng.random() < 0.15

    def place(self, key: tuple[str, int, int], low: float, high: float, gap: float) -> float | None:
        """A position at least `gap` from the others of the same lane, nearer ones more often; None when full."""
        used = self.taken.setdefault(key, [])
        for _ in range(12):
            at = float(low + (high - low) * self.rng.random() ** 1.6)
            if all(abs(at - other) > gap for other in used):
                used.append(at)
                return at
        return None

    def vehicle(self) -> Actor:
        """Driving, waiting or parked; falls back to one far down the road when everything is full."""
        rng, street = self.rng, self.street
        kind = str(rng.choice(["car", "truck", "bus", "motorcycle", "bicycle"], p=[0.42, 0.17, 0.14, 0.19, 0.08]))
        if kind in ("motorcycle", "bicycle"):
            return self.two_wheeler(kind)
        for _ in range(6):
            use = rng.random()
            if street.layout == "parking" and use < 0.75:
                found = self.in_bay(kind)
            elif street.layout == "street" and street.half - street.lane * street.lanes > 1.9 and use < 0.45:
                found = self.at_kerb(kind)
            elif street.junction and use < 0.4:
                found = self.through_junction(kind)
            else:
                found = self.in_lane(kind)
            if found:
                return found
        return Actor(
            make_vehicle(kind, rng, True), along(street, -street.lane / 2, -1, rng.uniform(90, 130), 0, 5, 140), True
        )

    def in_bay(self, kind: str) -> Actor | None:
        side = int(self.rng.choice([-1, 1]))
        kind = kind if kind != "bus" else "car"
        z = self.place(("bay", side, 0), 6.0, 60.0, 2.6)
        if z is None:
            return None
        z = round(z / 2.7) * 2.7 + 1.35
        x = side * (self.street.lane + 1.7 + (1.0 if kind == "truck" else 0.0))
        heading = float(self.rng.choice([-1, 1])) * np.pi / 2 + self.rng.normal(0, 0.03)
        model = make_vehicle(kind, self.rng, bool(self.rng.random() < 0.1))
        return Actor(model, still(x, z, heading), False) if self.clear(x, z) else None

    def at_kerb(self, kind: str) -> Actor | None:
        side = int(self.rng.choice([-1, 1]))
        model = make_vehicle(kind, self.rng, bool(self.rng.random() < 0.12))
        z = self.place(("kerb", side, 0), 7.0, 85.0, 6.5 if kind == "car" else 11.0)
        if z is None:
            return None
        x = side * (self.street.half - model.width / 2 - 0.15)
        street = self.street
        if street.crosswalk and abs(z - street.crosswalk) < 8:
            return None
        heading = (0.0 if side > 0 else np.pi) + np.arctan(2 * street.curve * z)
        return Actor(model, still(x + street.middle(z), z, float(heading)), False) if self.clear(x, z) else None

    def clear(self, x: float, z: float) -> bool:
        """Whether something this near leaves the camera its view."""
        return bool(abs(x - self.camera.x) > 1.7 or z > 11.0)

    def through_junction(self, kind: str) -> Actor | None:
        direction = int(self.rng.choice([-1, 1]))
        street = self.street
        start = self.place(("junction", direction, 0), -38.0, 38.0, 10.0)
        if start is None:
            return None
        z = street.junction + street.junction_width * (0.5 - 0.24 * direction)
        speed = self.speeds.setdefault(("junction", direction, 0), self.rng.uniform(3, 9))
        return Actor(make_vehicle(kind, self.rng, True), across(z, direction, start, speed, 42.0), True)

    def in_lane(self, kind: str) -> Actor | None:
        rng, street = self.rng, self.street
        direction = int(rng.choice([-1, 1]))
        lane = int(rng.integers(street.lanes))
        x = direction * street.lane * (lane + 0.5)
        key = ("lane", direction, lane)
        own = abs(x - self.camera.x) < 1.8
        low = 9.0 if own else 4.0
        gap = 9.0 if kind == "car" else 13.0
        start = self.place(key, low, 95.0, gap)
        if start is None:
            return None
        model = make_vehicle(kind, rng, True)
        if self.jam or own:
            return self._waiting(model, x, direction, start)
        speed = self.speeds.setdefault(key, rng.uniform(4, 13))
        return Actor(model, along(street, x, direction, start, speed, -12.0, 128.0), True)

    def _waiting(self, model: Vehicle, x: float, direction: int, start: float) -> Actor | None:
        street = self.street
        if street.junction:
            low, high = street.junction - 7 - model.length, street.junction + street.junction_width + 5
            if low < start < high or (direction > 0 and start > high and self.rng.random() < 0.5):
                return None
        speed = 0.0 if street.junction else self.rng.uniform(0.0, 0.25)
        return Actor(model, along(street, x, direction, start, speed, 2.0, 140.0), True)

    def two_wheeler(self, kind: str) -> Actor:
        rng, street = self.rng, self.street
        side = int(rng.choice([-1, 1]))
        if not self.riders or rng.random() < 0.25:
            z = self.place(("rack", side, 0), 5.0, 40.0, 1.2) or rng.uniform(20, 60)
            x = side * (street.half + rng.uniform(1.0, 1.6)) + street.middle(z)
            return Actor(make_cycle(kind, rng, False), still(x, z, rng.uniform(-0.6, 0.6) + np.pi / 2 * side), False)
        rider = make_person(rng, helmet=kind == "motorcycle" and rng.random() < 0.75)
        model = make_cycle(kind, rng, True)
        speed = rng.uniform(4, 9) if kind == "motorcycle" else rng.uniform(2.5, 4.5)
        if street.junction and rng.random() < 0.6:
            path = across(street.junction + rng.uniform(0.8, 2.0), side, rng.uniform(-15, 15), speed, 40.0)
            return Actor(model, path, True, rider)
        edge = max(0.6, street.lane * street.lanes - 0.45) + 0.3 * (kind == "bicycle")
        start = self.place(("edge", side, 0), 5.0, 60.0, 5.0) or rng.uniform(30, 90)
        return Actor(model, along(street, side * edge, side, start, speed, -4.0, 100.0), True, rider)

    def dazzler(self) -> Actor:
        """A car that comes slowly with full beams."""
        rng, street = self.rng, self.street
        start = rng.uniform(16, 34)
        lane = ("lane", -1, 0)
        self.taken.setdefault(lane, []).append(start)
        speed = self.speeds[lane] = rng.uniform(0.1, 0.6)  # of all in its lane: nobody drives through it
        path = along(street, -street.lane * 0.5, -1, start, speed, 3.0, 140.0)
        return Actor(make_vehicle("car", rng, True), path, True, dazzling=True)

    def pedestrian(self) -> Actor:
        """Walking on a sidewalk, crossing, or standing; every second one has company."""
        rng, street = self.rng, self.street
        model = make_person(rng, child=bool(rng.random() < 0.08))
        side = int(rng.choice([-1, 1]))
        speed = rng.uniform(0.9, 1.7)
        use = rng.random()
        if use < 0.28:
            if street.crosswalk and rng.random() < 0.7:
                z = street.crosswalk + rng.uniform(0.3, 2.7)
            else:
                z = rng.uniform(6, 45)
            reach = street.half + rng.uniform(0.5, 2.0)
            return Actor(model, to_and_fro(z, reach, rng.uniform(0, 4 * reach), speed), True)
        x = side * (street.half + rng.uniform(0.5, max(0.8, street.sidewalk - 0.5)))
        z = 4.0 + 46.0 * rng.random() ** 1.7
        if abs(x - self.camera.x) < 0.9:
            x += side * 1.6
        if use < 0.45:
            return Actor(model, still(x + street.middle(z), z, rng.uniform(0, 6.28)), True)
        direction = int(rng.choice([-1, 1]))
        return Actor(model, along(street, x, direction, z, speed, -1.0, 80.0), True)
