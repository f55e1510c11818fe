"""Drawing of vehicles: the faces that the camera sees, far ones first, with their light and heat."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from cldyn_core.data.synthetic.brush import Brush, Paint, Sprite
from cldyn_core.data.synthetic.camera import Camera, Points, Pose
from cldyn_core.data.synthetic.images import Image
from cldyn_core.data.synthetic.light import Light, Weather
from cldyn_core.data.synthetic.shapes import Face, Vehicle, bounds, underside, wheels

ALBEDO = {
    "dark": (0.025, 0.025, 0.027), "tire": (0.03, 0.03, 0.03), "rim": (0.35, 0.36, 0.37), "plate": (0.25, 0.35, 0.6),
    "lens": (0.6, 0.6, 0.58), "red": (0.35, 0.02, 0.02), "grille": (0.05, 0.05, 0.055), "chrome": (0.5, 0.5, 0.5),
    "under": (0.012, 0.012, 0.012), "amber": (0.6, 0.25, 0.03),
}  # fmt: skip


def draw_vehicle(
    vehicle: Vehicle, pose: Pose, camera: Camera, light: Light, tile: Image, semantic: int
) -> Sprite | None:
    """The vehicle as seen, of class `semantic`; None when it is behind the camera or beside the canvas."""
    corners = pose.to_world(bounds(vehicle))
    if corners[:, 2].max() < 1.0:
        return None
    brush = Brush(camera.project_polygon(np.maximum(corners, [-1e3, 0.0, 1.0])), (camera.height, camera.width))
    if brush.empty:
        return None
    eye = _pose_local(pose, camera.eye)
    painter = _Painter(vehicle, pose, camera, light, brush)
    for face in underside(vehicle, eye):
        painter.fill(face)
    for body in sorted(vehicle.bodies, key=lambda part: -_distance(part, eye)):
        for face in sorted(body, key=lambda part: -float(np.abs(part.points.mean(axis=0) - eye).sum())):
            if (eye - face.points[0]) @ face.normal > 0:
                painter.fill(face)
    for face in wheels(vehicle, eye):
        painter.fill(face)
    brush.roundness(0.12, 0.8)
    brush.grain(tile, 0.05 + 0.1 * vehicle.grime, 0.25)
    return brush.sprite(max(1.0, pose.z), semantic)


def _pose_local(pose: Pose, point: Points) -> Points:
    """A (3,) world point in the frame of something at `pose`."""
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
            return Paint.of(reflected, temperature)
        if face.material == "sign":
            glow = np.array([1.2, 0.55, 0.08]) if weather.night else received * np.array([0.25, 0.15, 0.03])
            return Paint.of(glow, temperature + 3)
        if face.material in ("body", "cargo"):
            albedo = vehicle.paint if face.material == "body" else vehicle.cargo
            gloss = weather.sky_horizon * 0.05 * (1 + normal[1])
            return Paint.of(albedo * received + gloss, temperature)
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
