"""Cars, vans, buses and trucks: shapes as prisms in the vehicle's frame (forward, right, up in meters), and drawing."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from .brush import Brush, Paint, Sprite
from .camera import Camera, Pose
from .light import Light, Weather
from .noise import Image

Points = NDArray[np.float64]

PAINTS = (
    (0.75, 0.76, 0.77), (0.75, 0.76, 0.77), (0.42, 0.44, 0.46), (0.20, 0.21, 0.22), (0.03, 0.03, 0.035),
    (0.45, 0.03, 0.03), (0.04, 0.09, 0.30), (0.10, 0.13, 0.11), (0.60, 0.42, 0.05), (0.35, 0.27, 0.18),
)  # fmt: skip
BUS_PAINTS = ((0.60, 0.08, 0.05), (0.06, 0.30, 0.16), (0.10, 0.25, 0.55), (0.65, 0.62, 0.55), (0.62, 0.35, 0.04))
CARGO_PAINTS = ((0.72, 0.72, 0.70), (0.08, 0.20, 0.45), (0.45, 0.08, 0.06), (0.30, 0.32, 0.30), (0.55, 0.45, 0.20))
ALBEDO = {
    "dark": (0.025, 0.025, 0.027), "tire": (0.03, 0.03, 0.03), "rim": (0.35, 0.36, 0.37), "plate": (0.25, 0.35, 0.6),
    "lens": (0.6, 0.6, 0.58), "red": (0.35, 0.02, 0.02), "grille": (0.05, 0.05, 0.055), "chrome": (0.5, 0.5, 0.5),
    "under": (0.012, 0.012, 0.012), "white": (0.75, 0.75, 0.72), "amber": (0.6, 0.25, 0.03),
}  # fmt: skip
LAMP_WHITE, LAMP_RED = np.array([1.0, 0.93, 0.8]), np.array([1.0, 0.05, 0.03])


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


def make_vehicle(kind: str, rng: np.random.Generator, running: bool) -> Vehicle:
    """A random vehicle of a kind."""
    maker = {"car": _car, "bus": _bus, "truck": _truck}[kind]
    return replace(maker(rng), running=running, grime=float(rng.uniform(0, 0.3)))


def bounds(vehicle: Vehicle) -> Points:
    """(8, 3) local corners of the box around it."""
    a, b, c = vehicle.length / 2, vehicle.width / 2, vehicle.height
    return np.array([[i, j, k] for i in (-a, a) for j in (-b, b) for k in (0.0, c)])


def draw_vehicle(
    vehicle: Vehicle, pose: Pose, camera: Camera, light: Light, tile: Image, semantic: int
) -> Sprite | None:
    """The vehicle as seen, or None."""
    corners = pose.to_world(bounds(vehicle))
    if corners[:, 2].max() < 1.0:
        return None
    brush = Brush(camera.project_polygon(np.maximum(corners, [-1e3, 0.0, 1.0])), (camera.height, camera.width))
    if brush.empty:
        return None
    eye = pose_local(pose, camera.eye)
    painter = _Painter(vehicle, pose, camera, light, brush)
    for face in _wheel_faces(vehicle, eye):
        painter.fill(face)
    for body in sorted(vehicle.bodies, key=lambda part: -_distance(part, eye)):
        for face in sorted(body, key=lambda part: -float(np.abs(part.points.mean(axis=0) - eye).sum())):
            if (eye - face.points[0]) @ face.normal > 0:
                painter.fill(face)
    for face in _near_wheels(vehicle, eye):
        painter.fill(face)
    brush.roundness(0.12, 0.8)
    brush.grain(tile, 0.05 + 0.1 * vehicle.grime, 0.25)
    return brush.sprite(max(1.0, pose.z), semantic)


def pose_local(pose: Pose, point: Points) -> Points:
    """A world point in the frame of something at `pose`."""
    x, z = point[0] - pose.x, point[2] - pose.z
    sin, cos = np.sin(pose.heading), np.cos(pose.heading)
    return np.array([x * sin + z * cos, x * cos - z * sin, point[1]])


@dataclass(frozen=True)
class _Painter:
    vehicle: Vehicle
    pose: Pose
    camera: Camera
    light: Light
    brush: Brush

    def fill(self, face: Face) -> None:
        world = self.pose.to_world(face.points)
        outline = self.camera.project_polygon(world)
        if len(outline) < 3:
            return
        normal = self.pose.turn(face.normal[None])[0]
        received = self.light.at(world.mean(axis=0), normal) * face.shade
        self.brush.polygon(outline, self._paint(face, received, normal))
        large = np.ptp(outline, axis=0).max() > 7
        for detail in face.details if large else face.details[:2]:
            self.fill(detail)

    def _paint(self, face: Face, received: Points, normal: Points) -> Paint:
        weather, vehicle = self.light.weather, self.vehicle
        temperature = _temperature(face, weather, vehicle, float(normal @ weather.sun_direction))
        if face.material == "glass":
            reflected = weather.sky_horizon * (0.16 + 0.25 * max(0.0, normal[1])) + received * 0.02
            return Paint(*reflected.tolist(), temperature)
        if face.material == "sign":
            glow = np.array([1.2, 0.55, 0.08]) if weather.night else received * np.array([0.25, 0.15, 0.03])
            return Paint(*glow.tolist(), temperature + 3)
        if face.material in ("body", "cargo"):
            albedo = vehicle.paint if face.material == "body" else vehicle.cargo
            gloss = weather.sky_horizon * 0.05 * (1 + normal[1])
            return Paint(*(albedo * received + gloss).tolist(), temperature)
        return Paint.lit(np.array(ALBEDO[face.material]), received, temperature)


def _temperature(face: Face, weather: Weather, vehicle: Vehicle, sun: float) -> float:
    darkness = 1.0 - 0.7 * float(vehicle.paint.mean()) if face.material == "body" else 0.8
    base = weather.air_temperature + weather.sun_heating * (0.35 + 0.65 * max(0.0, sun)) * darkness
    base -= 2.0 if weather.night else 0.0
    base += {"glass": -3.0, "chrome": -3.5, "cargo": -0.7, "plate": -1.0, "under": 1.0}.get(face.material, 0.0)
    if face.material == "glass" and vehicle.running:
        base += 2.0
    return base + (face.heat if vehicle.running else 0.0)


def _distance(body: tuple[Face, ...], eye: Points) -> float:
    return float(np.abs(np.concatenate([face.points for face in body]).mean(axis=0) - eye)[:2].sum())


def _disc(a: float, b: float, c: float, radius: float, count: int = 16) -> Points:
    angle = np.arange(count) * 2 * np.pi / count
    return np.stack([a + radius * np.cos(angle), np.full(count, b), c + radius * np.sin(angle)], axis=1)


def _wheel_faces(vehicle: Vehicle, eye: Points) -> Iterator[Face]:
    """What is seen under the body: the dark floor, and the tires' treads from ahead or behind."""
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


def _near_wheels(vehicle: Vehicle, eye: Points) -> Iterator[Face]:
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


def _end(a: float, b0: float, b1: float, c0: float, c1: float, material: str, heat: float = 0.0) -> Face:
    return Face(_rect_end(a, b0, b1, c0, c1), np.array([np.copysign(1.0, a), 0, 0]), material, heat)


def _mirrored(a: float, b0: float, b1: float, c0: float, c1: float, material: str, heat: float = 0.0) -> list[Face]:
    return [_end(a, s * b0, s * b1, c0, c1, material, heat) for s in (-1, 1)]


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


def _lamps(front: float, rear: float, half: float, height: float, rear_height: float, radius: float) -> tuple[Lamp, ...]:
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
    lower = np.array([[f, 0.24], [f, 0.62 * belt], [f - 0.14, hood - 0.05], [shield, belt], [-f + 0.12, belt + 0.03],
                      [-f, belt * 0.75], [-f, 0.26]])  # fmt: skip
    halves = np.array([w * 0.95, w * 0.97, w * 0.95, w, w * 0.97, w, w * 0.95])
    roof_front = shield - (0.72 if style != "van" else 0.5)
    roof_rear = {"sedan": -f * 0.42, "hatch": -f + 0.45, "suv": -f + 0.4, "van": -f + 0.2}[style]
    base_rear = {"sedan": -f * 0.78, "hatch": -f + 0.1, "suv": -f + 0.12, "van": -f + 0.06}[style]
    cabin = np.array([[shield, belt - 0.02], [roof_front, height - 0.03], [(roof_front + roof_rear) / 2, height],
                      [roof_rear, height - 0.04], [base_rear, belt]])  # fmt: skip
    top = w * 0.76
    windows = _car_windows(shield, roof_front, roof_rear, base_rear, belt, height)
    lamp = 0.66 * belt
    front = [*_mirrored(f + 0.01, w * 0.52, w * 0.93, lamp - 0.08, lamp + 0.06, "lens", 6),
             _end(f + 0.01, -w * 0.5, w * 0.5, lamp - 0.1, lamp + 0.05, "grille", 12),
             _end(f + 0.01, -w * 0.7, w * 0.7, 0.27, 0.42, "grille", 14), _end(f + 0.02, -0.24, 0.24, 0.45, 0.56, "plate")]  # fmt: skip
    rear = [*_mirrored(-f - 0.01, w * 0.58, w * 0.96, belt * 0.68, belt * 0.75, "red"),
            _end(-f - 0.01, -w * 0.8, w * 0.8, 0.28, 0.4, "dark", 8), _end(-f - 0.02, -0.24, 0.24, 0.52, 0.63, "plate")]  # fmt: skip
    tail = _mirrored(-f - 0.01, w * 0.6, w * 0.95, belt * 0.76, belt * 0.92, "red")
    bodies = (
        prism(lower, halves, ["body"] * 6, "body", [9, 9, 8, 2, 1, 4], {0: front, 4: tail, 5: rear}, [], (1.0, 0.72)),
        prism(cabin, np.array([w * 0.93, top, top, top, w * 0.93]), ["glass", "body", "body", "glass"], "body",
              [2, 0.5, 0.5, 1], {}, windows),
    )  # fmt: skip
    axle = length * 0.295
    return Vehicle("car", length, width, height, bodies, ((axle, 0.33), (-axle, 0.33)), np.array(PAINTS[rng.integers(10)]),
                   np.ones(3), _lamps(f, -f, w * 0.74, lamp, belt * 0.8, 0.09))  # fmt: skip


def _car_windows(shield: float, roof_front: float, roof_rear: float, rear: float, belt: float, height: float) -> list[Points]:
    pillar = (shield + rear) / 2
    low, high = belt + 0.03, height - 0.12
    front = np.array([[shield - 0.14, low], [roof_front - 0.02, high], [pillar + 0.05, high], [pillar + 0.05, low]])
    back = np.array([[pillar - 0.05, low], [pillar - 0.05, high], [roof_rear + 0.02, high], [rear + 0.22, low]])
    return [front, back]


def _bus(rng: np.random.Generator) -> Vehicle:
    length, height, width = rng.uniform(8.5, 12.0), rng.uniform(2.9, 3.3), 2.5
    f, w = length / 2, width / 2
    profile = np.array([[f, 0.32], [f, 1.15], [f - 0.12, height - 0.1], [f - 0.4, height], [-f + 0.2, height],
                        [-f, height - 0.15], [-f, 0.35]])  # fmt: skip
    half = np.array([w, w, w * 0.98, w * 0.9, w * 0.9, w * 0.98, w])
    pane = (length - 1.2) / 6
    windows = [
        np.array([[a, 1.25], [a, height - 0.55], [a - pane + 0.1, height - 0.55], [a - pane + 0.1, 1.25]])
        for a in f - 0.5 - pane * np.arange(6)
    ]
    door = f - 0.5 - pane * 2
    windows.append(np.array([[door, 0.45], [door, 1.25], [door - 0.9, 1.25], [door - 0.9, 0.45]]))
    glass = [_end(f - 0.02, -w * 0.94, w * 0.94, 1.15, height - 0.62, "glass"),
             _end(f - 0.02, -w * 0.6, w * 0.6, height - 0.5, height - 0.22, "sign"),
             _end(f, -w * 0.94, w * 0.94, height - 0.58, height - 0.55, "dark")]  # fmt: skip
    front = [*_mirrored(f + 0.01, w * 0.6, w * 0.92, 0.62, 0.82, "lens", 5), _end(f + 0.01, -w, w, 0.34, 0.5, "dark", 4),
             _end(f + 0.01, -0.3, 0.3, 0.6, 0.72, "plate")]  # fmt: skip
    rear = [*_mirrored(-f - 0.01, w * 0.78, w * 0.94, 0.9, 1.4, "red"), _end(-f - 0.01, -w * 0.65, w * 0.65, 0.5, 1.1, "grille", 24),
            _end(-f - 0.01, -w * 0.75, w * 0.75, 1.7, height - 0.7, "glass"), _end(-f - 0.02, -0.3, 0.3, 1.25, 1.4, "plate")]  # fmt: skip
    body = prism(profile, half, ["body"] * 6, "body", [3, 2, 1, 1, 2, 7], {0: front, 1: glass, 5: rear}, windows, (1.0, 0.8))
    paint = np.array(BUS_PAINTS[rng.integers(len(BUS_PAINTS))])
    return Vehicle("bus", length, width, height, (body,), ((f - 2.4, 0.48), (-f + 2.6, 0.48)), paint, paint,
                   _lamps(f, -f, w * 0.76, 0.72, 1.1, 0.1))  # fmt: skip


def _truck(rng: np.random.Generator) -> Vehicle:
    length, width = rng.uniform(5.6, 9.5), rng.uniform(2.1, 2.5)
    height = rng.uniform(2.6, 3.6)
    roof = min(height, rng.uniform(2.2, 2.8))
    f, w, split = length / 2, width / 2, length / 2 - 1.75
    cab = np.array([[f, 0.38], [f, 1.25], [f - 0.28, roof - 0.08], [f - 0.5, roof], [split, roof], [split, 0.5]])
    half = np.array([w * 0.95, w * 0.95, w * 0.9, w * 0.86, w * 0.88, w * 0.95])
    window = np.array([[f - 0.2, 1.3], [f - 0.45, roof - 0.25], [split + 0.45, roof - 0.25], [split + 0.45, 1.3]])
    glass = [Face(np.array([[f - 0.01, -w * 0.86, 1.32], [f - 0.01, w * 0.86, 1.32], [f - 0.24, w * 0.8, roof - 0.25],
                            [f - 0.24, -w * 0.8, roof - 0.25]]), np.array([0.95, 0, 0.3]), "glass", 2.0)]  # fmt: skip
    front = [*_mirrored(f + 0.01, w * 0.62, w * 0.92, 0.62, 0.82, "lens", 5), _end(f + 0.01, -w * 0.55, w * 0.55, 0.62, 1.1, "grille", 15),
             _end(f + 0.01, -w * 0.95, w * 0.95, 0.4, 0.56, "dark", 8), _end(f + 0.02, -0.25, 0.25, 0.42, 0.54, "plate")]  # fmt: skip
    top = height if rng.random() < 0.75 else rng.uniform(1.5, 1.9)
    start = split - 0.15
    cargo = np.array([[start, 0.95], [start, top], [-f, top], [-f, 0.95]])
    rear = [_end(-f - 0.01, -0.02, 0.02, 0.98, top, "dark"), *_mirrored(-f - 0.01, w * 0.94, w, 0.98, top, "chrome"),
            *_mirrored(-f - 0.01, w * 0.4, w * 0.45, 1.1, top - 0.15, "chrome")]  # fmt: skip
    chassis = np.array([[start + 0.2, 0.45], [start + 0.2, 0.97], [-f + 0.02, 0.97], [-f + 0.02, 0.45]])
    lights = [*_mirrored(-f, w * 0.68, w * 0.95, 0.6, 0.78, "red"), _end(-f, -w * 0.6, w * 0.6, 0.5, 0.56, "amber"),
              _end(-f, -0.25, 0.25, 0.66, 0.8, "plate")]  # fmt: skip
    bodies = (
        prism(chassis, np.full(4, w * 0.94), ["dark"] * 3, "dark", [6, 2, 5], {2: lights}, []),
        prism(cargo, np.full(4, w), ["cargo"] * 3, "cargo", [0, 0, 0], {2: rear}, [], (1.0, 0.9)),
        prism(cab, half, ["body"] * 5, "body", [9, 4, 2, 1, 1], {0: front, 1: glass}, [window], (1.0, 0.8)),
    )
    wheels = ((f - 1.1, 0.45), (-f + 1.4, 0.45)) + (((-f + 2.4, 0.45),) if length > 8 else ())
    paint, load = np.array(PAINTS[rng.integers(10)]), np.array(CARGO_PAINTS[rng.integers(len(CARGO_PAINTS))])
    return Vehicle("truck", length, width, max(top, roof), bodies, wheels, paint, load,
                   _lamps(f, -f, w * 0.78, 0.72, 0.7, 0.1))  # fmt: skip
