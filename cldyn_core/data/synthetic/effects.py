"""Light and air on top of the drawn things: shadows, beams, glows, reflections, haze, bloom."""

from __future__ import annotations

from dataclasses import replace

import cv2
import numpy as np

from cldyn_core.data.synthetic.brush import Canvas, Sprite
from cldyn_core.data.synthetic.camera import NEAR, Camera, Points, Pose
from cldyn_core.data.synthetic.ground import GroundMap
from cldyn_core.data.synthetic.images import Image, resized
from cldyn_core.data.synthetic.light import Weather
from cldyn_core.data.synthetic.shapes import Vehicle


def haze(sprite: Sprite, weather: Weather) -> Sprite:
    """The sprite seen through the air."""
    return replace(sprite, paint=_through_air(sprite.paint.copy(), sprite.alpha, sprite.depth, weather))


def haze_backdrop(canvas: Canvas, weather: Weather) -> None:
    """Puts the air before everything that is drawn so far."""
    depth = np.minimum(canvas.depth, 900.0)
    canvas.paint = _through_air(canvas.paint, np.ones_like(depth), depth, weather)


def _through_air(paint: Image, alpha: Image, depth: float | Image, weather: Weather) -> Image:
    visible = np.exp(-weather.fog_visible * np.asarray(depth, np.float32))
    thermal = np.exp(-weather.fog_thermal * np.asarray(depth, np.float32))
    if visible.ndim:
        visible, thermal = visible[..., None], thermal[..., None]
    cover = alpha[..., None]
    paint[..., :3] = paint[..., :3] * visible + cover * (weather.fog_color * (1 - visible)).astype(np.float32)
    air = np.float32(weather.air_temperature - 1.0)
    paint[..., 3:] = paint[..., 3:] * thermal + cover * air * (1 - thermal)
    return paint


def cast_shadow(canvas: Canvas, camera: Camera, weather: Weather, corners: Points, heat: float) -> None:
    """Darkens the ground under and, by sun, beside a box of (8, 3) corners.

    `heat`: degrees by which it warms the ground below.
    """
    foot = corners * np.array([1.0, 0.0, 1.0])
    _shade(canvas, camera, foot, 0.55, heat)
    sun = weather.sun_direction
    if weather.sun.max() > 0.25 and sun[1] > 0.08:
        fall = corners - sun * (corners[:, 1:2] / sun[1])
        _shade(canvas, camera, np.concatenate([foot, fall]), 0.55, -1.0)


def _shade(canvas: Canvas, camera: Camera, points: Points, strength: float, heat: float) -> None:
    points = points.copy()
    points[:, 1] = 0.0
    points[:, 2] = np.maximum(points[:, 2], NEAR + 0.6)
    hull = cv2.convexHull(camera.project(points).astype(np.float32))[:, 0]
    soft = max(0.8, 0.12 * camera.focal / max(2.0, float(points[:, 2].mean())))
    low = np.clip(np.floor(hull.min(axis=0) - 3 * soft), 0, [camera.width, camera.height]).astype(int)
    high = np.clip(np.ceil(hull.max(axis=0) + 3 * soft), 0, [camera.width, camera.height]).astype(int)
    if (high <= low).any():
        return
    mask = np.zeros((high[1] - low[1], high[0] - low[0]), np.float32)
    at = np.clip((hull - low) * 16, -(2**24), 2**24)
    cv2.fillConvexPoly(mask, np.round(at).astype(np.int32), 1.0, cv2.LINE_8, 4)
    mask = np.asarray(cv2.GaussianBlur(mask, (0, 0), soft), np.float32)
    region = slice(low[1], high[1]), slice(low[0], high[0])
    mask *= canvas.ground[region]
    canvas.paint[region][..., :3] *= (1 - strength * mask)[..., None]
    canvas.paint[region][..., 3] += heat * mask


def beam(canvas: Canvas, camera: Camera, ground: GroundMap, pose: Pose, vehicle: Vehicle, weather: Weather) -> None:
    """The pool of light that a vehicle's headlamps throw on the road ahead of it."""
    reach = vehicle.length / 2
    local = np.array([[reach + d, s * (1.5 + 0.3 * d), 0.0] for d in (0.0, 22.0) for s in (-1, 1)])
    corners = pose.to_world(local)
    corners[:, 2] = np.maximum(corners[:, 2], 1.2)
    pixels = camera.project(corners)
    low = np.clip(np.floor(pixels.min(axis=0)), 0, [camera.width, camera.height]).astype(int)
    high = np.clip(np.ceil(pixels.max(axis=0)), 0, [camera.width, camera.height]).astype(int)
    low[1] = max(low[1], ground.top)
    if (high - low < 2).any():
        return
    rows, columns = slice(low[1], high[1]), slice(low[0], high[0])
    part = slice(low[1] - ground.top, high[1] - ground.top)
    step = max(1, int((high - low).max()) // 100)
    x, z = ground.x[part, columns][::step, ::step] - pose.x, ground.z[part, columns][::step, ::step] - pose.z
    sin, cos = np.sin(pose.heading), np.cos(pose.heading)
    ahead, aside = x * sin + z * cos - reach, x * cos - z * sin
    power = np.exp(-((aside / (0.9 + 0.2 * np.maximum(ahead, 0))) ** 2)) * np.exp(-np.maximum(ahead, 0) / 8.0)
    power *= np.clip(ahead / 1.5, 0, 1)
    large = resized(power.astype(np.float32), *(high - low).tolist())
    large *= canvas.ground[rows, columns] * np.float32(1.0 * np.exp(-weather.fog_visible * max(0.0, pose.z)))
    color = np.array([1.0, 0.93, 0.8], np.float32)
    canvas.paint[rows, columns, :3] += ground.albedo[part, columns] * large[..., None] * color


def glow(canvas: Canvas, at: Points, radius: float, color: Points, depth: float) -> None:
    """Adds a soft disc of light where nothing nearer stands."""
    reach = int(np.ceil(3 * radius)) + 1
    x, y = (int(value) for value in np.rint(at))
    height, width = canvas.depth.shape
    x0, x1, y0, y1 = max(0, x - reach), min(width, x + reach + 1), max(0, y - reach), min(height, y + reach + 1)
    if x0 >= x1 or y0 >= y1:
        return
    v = np.exp(-(((np.arange(y0, y1) - at[1]) / radius) ** 2) / 2)
    u = np.exp(-(((np.arange(x0, x1) - at[0]) / radius) ** 2) / 2)
    shine = (v[:, None] * u[None]).astype(np.float32) * (canvas.depth[y0:y1, x0:x1] > depth)
    canvas.paint[y0:y1, x0:x1, :3] += shine[..., None] * color.astype(np.float32)


def streak(canvas: Canvas, camera: Camera, source: Points, color: Points, wet: float) -> None:
    """The upright smear of a light on a wet road; `source` (3,) in the world."""
    x, foot = camera.project(np.array([[source[0], 0.0, source[2]]]))[0]
    image = camera.project(np.array([[source[0], -source[1], source[2]]]))[0, 1]
    width = max(1.2, 0.16 * camera.focal / source[2])
    half_height = max(2.0, (image - foot) * 0.7)
    height, columns = canvas.depth.shape
    x0, x1 = int(max(0, x - 3 * width)), int(min(columns, x + 3 * width + 1))
    y0, y1 = int(max(0, foot)), int(min(height, image + 2 * half_height))
    if x0 >= x1 or y0 >= y1:
        return
    v = np.exp(-(((np.arange(y0, y1) - image) / half_height) ** 2) / 2)
    u = np.exp(-(((np.arange(x0, x1) - x) / width) ** 2) / 2)
    shine = (v[:, None] * u[None]).astype(np.float32) * canvas.ground[y0:y1, x0:x1]
    canvas.paint[y0:y1, x0:x1, :3] += shine[..., None] * (color * wet).astype(np.float32)


def vehicle_lights(
    canvas: Canvas, camera: Camera, pose: Pose, vehicle: Vehicle, weather: Weather, dazzling: bool
) -> None:
    """Head and tail lights as the camera sees them, and their reflections."""
    if pose.z < 2.0:
        return
    facing = np.array([np.sin(pose.heading), np.cos(pose.heading)])
    toward = np.array([camera.x - pose.x, -pose.z]) / np.hypot(camera.x - pose.x, pose.z)
    clear = np.exp(-weather.fog_visible * pose.z * 0.7)
    for lamp in vehicle.lamps:
        view = float(facing @ toward) * lamp.direction
        if view <= 0.05:
            continue
        world = pose.to_world(lamp.point[None])
        if world[0, 2] < 1.0:
            continue
        at, scale = camera.project(world)[0], camera.focal / world[0, 2]
        color = lamp.color * (0.15 + 0.85 * view**3) * clear * (4.0 if dazzling and lamp.direction > 0 else 1.0)
        color = color * (1.0 if weather.night else 0.3)
        glow(canvas, at, max(0.75, lamp.radius * scale * 0.75), color, pose.z - vehicle.length)
        if weather.wet > 0:
            streak(canvas, camera, world[0], color * 0.02, weather.wet)


def bloom(radiance: Image, weather: Weather) -> Image:
    """Light that the lens and the air scatter around what is too bright; (H, W, 3) in and out."""
    over = np.clip(radiance - 0.9, 0, 60)
    height, width = radiance.shape[:2]
    small = resized(over, max(8, width // 4), max(8, height // 4), cv2.INTER_AREA)
    unit = width / 640
    fog = 1 + 25 * min(weather.fog_visible, 0.06)
    veil = 2.2 if weather.glare == "headlamps" else 1.0
    wide = cv2.GaussianBlur(small, (0, 0), 14 * unit * fog) * 0.30 * veil
    spread = cv2.GaussianBlur(small, (0, 0), 1.2 * unit) * 0.16 + cv2.GaussianBlur(small, (0, 0), 4 * unit * fog) * 0.14
    line = cv2.GaussianBlur(small, (0, 0), sigmaX=9 * unit, sigmaY=0.5) * 0.06
    return radiance + resized(np.asarray(spread + wide + line, np.float32), width, height)
