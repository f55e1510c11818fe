"""What stands along a street: trees, lamps, traffic lights and signs."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise

import numpy as np

from cldyn_core.data.synthetic.brush import Brush, Paint, Sprite
from cldyn_core.data.synthetic.camera import Camera
from cldyn_core.data.synthetic.config import SEMANTIC_CLASSES
from cldyn_core.data.synthetic.images import Image
from cldyn_core.data.synthetic.light import Light
from cldyn_core.data.synthetic.street import Street

LAMP, SIGN, VEGETATION, POLE = (SEMANTIC_CLASSES.index(n) for n in ("lamp", "sign", "vegetation", "pole"))
SIGNAL_COLORS = ((1.0, 0.06, 0.03), (1.0, 0.5, 0.05), (0.1, 1.0, 0.55))


def tree(
    camera: Camera, light: Light, street: Street, index: int, tile: Image, rng: np.random.Generator
) -> Sprite | None:
    """One tree: leafy, conifer or autumn, made of clumps of leaves lit from above."""
    x, z, height, kind = street.trees[index]
    foot = np.array([x + street.middle(z), 0.0, z])
    scale = camera.focal / z
    base, top = camera.project(np.array([foot, foot + np.array([0.0, height, 0.0])]))
    spread = height * (0.28 if kind == 1 else 0.42) * scale
    reach = np.array([spread * 1.2, 0.0]), np.array([spread * 1.2, spread * 0.2])
    brush = Brush(np.array([base + reach[0], top - reach[1]]), (camera.height, camera.width))
    if brush.empty:
        return None
    weather = light.weather
    received = light.at(foot + np.array([0.0, height * 0.5, -1.0]), np.array([0.0, 0.5, -0.87]))
    trunk_top = base + (top - base) * 0.55
    width = max(0.5, 0.028 * height * scale)
    heat = weather.air_temperature + 0.15 * weather.sun_heating
    bark = Paint.lit(np.array([0.10, 0.075, 0.05]), received, heat + 1.0)
    brush.hull(np.array([base, trunk_top]), np.array([width, width * 0.6]), bark)
    leaf = np.array(((0.06, 0.13, 0.03), (0.04, 0.085, 0.035), (0.30, 0.15, 0.03))[kind]) * rng.uniform(0.7, 1.3)
    _crown(brush, trunk_top, top, spread, kind, leaf, received, heat, rng)
    brush.grain(tile, 0.25, 0.5, 1.0)
    return brush.sprite(z, VEGETATION)


def _crown(brush: Brush, low: np.ndarray, top: np.ndarray, spread: float, kind: int, leaf: np.ndarray,
           received: np.ndarray, heat: float, rng: np.random.Generator) -> None:  # fmt: skip
    """Clumps from dark inner ones to bright upper ones."""
    count = int(np.clip(spread * 4, 24, 420))
    size = spread * 0.9 / np.sqrt(count) ** 0.75
    height = low[1] - top[1]
    place = rng.normal(0, 0.42, (count, 2)).clip(-1, 1)
    order = np.argsort(rng.random(count) + 0.6 * -place[:, 1])
    for k in order:
        across, up = place[k]
        level = (1 - up) / 2
        reach = spread * (level if kind == 1 else np.sqrt(max(0.05, 1 - up * up)))
        at = np.array([low[0] + across * reach, top[1] + size + level * height * (1.25 if kind != 1 else 1.3)])
        bright = (0.45 + 0.75 * (1 - level)) * rng.uniform(0.6, 1.35)
        paint = Paint.lit(leaf * bright, received, heat + rng.normal(0, 0.5))
        brush.hull(at[None] + rng.normal(0, size * 0.6, (3, 2)), np.full(3, max(0.4, size * 0.55)), paint)


def lamp_post(camera: Camera, light: Light, street: Street, index: int) -> Iterator[Sprite | None]:
    """The pole with its arm, then the head."""
    x, z, height = street.lamps[index]
    side, middle = np.sign(x), street.middle(z)
    post = np.array([[x + middle, 0, z], [x + middle, height - 0.5, z], [x + middle - side * 1.5, height + 0.05, z]])
    head = np.array([[x + middle - side * 1.3, height, z], [x + middle - side * 2.1, height + 0.05, z]])
    yield _pole(camera, light, post, 0.075, z)
    scale = camera.focal / z
    pixels = camera.project(head)
    brush = Brush(
        np.array([pixels.min(axis=0) - scale * 0.2, pixels.max(axis=0) + scale * 0.2]), (camera.height, camera.width)
    )
    weather = light.weather
    on = weather.lamps_on
    radiance = (
        weather.lamp_color * (14.0 if weather.night else 5.0)
        if on
        else np.array([0.3, 0.3, 0.3]) * light.at(head[0], np.array([0, 1.0, 0]))
    )
    heat = weather.air_temperature + (26.0 if on else 0.3 * weather.sun_heating)
    brush.hull(pixels, np.full(2, max(0.7, 0.12 * scale)), Paint.of(radiance, heat))
    yield brush.sprite(z - 0.1, LAMP)


def traffic_light(camera: Camera, light: Light, street: Street, index: int) -> Iterator[Sprite | None]:
    """The pole and its arm, then the housing with three lenses."""
    pole_x, head_x, z, height, state = street.signals[index]
    post = np.array([[pole_x, 0, z], [pole_x, height + 0.3, z], [head_x, height + 0.3, z]])
    yield _pole(camera, light, post + np.array([street.middle(z), 0.0, 0.0]), 0.07, z + 0.1)
    middle = np.array([head_x + street.middle(z), height, z])
    scale = camera.focal / z
    center = camera.project(middle[None])[0]
    size = np.array([0.24, 0.6]) * scale
    brush = Brush(np.array([center - size, center + size]), (camera.height, camera.width))
    weather = light.weather
    received = light.at(middle, np.array([0.0, 0.0, -1.0]))
    heat = weather.air_temperature + 0.5 * weather.sun_heating + 1.5
    box = center + np.array([[-1, -1], [1, -1], [1, 1], [-1, 1]]) * size * 0.96
    brush.polygon(box, Paint.lit(np.array([0.03, 0.03, 0.03]), received, heat))
    for k in range(3):
        on = k == state
        color = np.array(SIGNAL_COLORS[k]) * (5.0 if weather.night else 2.2) if on else received * 0.06
        at = center + np.array([0.0, (k - 1) * size[1] * 0.6])
        brush.hull(at[None], np.array([0.14 * scale]), Paint.of(color, heat + (9 if on else 0.5)))
    yield brush.sprite(z, LAMP)


def road_sign(camera: Camera, light: Light, street: Street, index: int) -> Iterator[Sprite | None]:
    """A post with a round, square or triangular plate."""
    x, z, kind = street.signs[index]
    x += street.middle(z)
    yield _pole(camera, light, np.array([[x, 0, z], [x, 2.6, z]]), 0.035, z + 0.05)
    middle = np.array([x, 2.4, z])
    center, scale = camera.project(middle[None])[0], camera.focal / z
    corners = {0: 20, 1: 4, 2: 3, 3: 20}[kind]
    angle = np.arange(corners) * 2 * np.pi / corners + {4: np.pi / 4, 3: -np.pi / 2}.get(corners, 0.0)
    ring = np.stack([np.cos(angle), np.sin(angle)], axis=1) * 0.38 * scale
    brush = Brush(np.array([center - 0.5 * scale, center + 0.5 * scale]), (camera.height, camera.width))
    received = light.at(middle, np.array([0.0, 0.1, -0.99])) * (1.8 if light.weather.night else 1.0)
    heat = light.weather.air_temperature + 0.4 * light.weather.sun_heating - 1.5
    outer, inner = (((0.5, 0.03, 0.03), (0.7, 0.7, 0.7)), ((0.02, 0.12, 0.45), (0.03, 0.18, 0.55)),
                    ((0.5, 0.03, 0.03), (0.6, 0.45, 0.05)), ((0.02, 0.12, 0.45), (0.7, 0.7, 0.7)))[kind]  # fmt: skip
    brush.polygon(center + ring, Paint.lit(np.array(outer), received, heat))
    brush.polygon(center + ring * 0.76, Paint.lit(np.array(inner), received, heat - 0.4))
    brush.polygon(center + ring * 0.3, Paint.lit(np.array(outer), received, heat))
    yield brush.sprite(z, SIGN)


def _pole(camera: Camera, light: Light, line: np.ndarray, radius: float, z: float) -> Sprite | None:
    pixels = camera.project(line)
    width = max(0.4, radius * camera.focal / z)
    brush = Brush(
        np.array([pixels.min(axis=0) - width - 1, pixels.max(axis=0) + width + 1]), (camera.height, camera.width)
    )
    received = light.at(line.mean(axis=0), np.array([0.0, 0.2, -0.98]))
    weather = light.weather
    paint = Paint.lit(np.array([0.16, 0.16, 0.17]), received, weather.air_temperature + 0.5 * weather.sun_heating - 0.8)
    for start, end in pairwise(pixels):
        brush.hull(np.array([start, end]), np.array([width, width * 0.75]), paint)
    brush.roundness(0.3, 0.2)
    return brush.sprite(z, POLE)
