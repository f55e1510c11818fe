"""Sky and ground, computed per canvas pixel."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from cldyn_core.data.synthetic.brush import Canvas
from cldyn_core.data.synthetic.camera import Camera
from cldyn_core.data.synthetic.config import SEMANTIC_CLASSES
from cldyn_core.data.synthetic.images import Image
from cldyn_core.data.synthetic.light import Light, Weather
from cldyn_core.data.synthetic.noise import fractal_tile, sample
from cldyn_core.data.synthetic.street import Street

FAR = 500.0
SKY, ROAD, SIDEWALK, VEGETATION = (SEMANTIC_CLASSES.index(n) for n in ("sky", "road", "sidewalk", "vegetation"))


@dataclass(frozen=True)
class GroundMap:
    """For the rows at and below `top`: world X and Z of every pixel, and the ground's (h, W, 3) albedo."""

    top: int
    x: Image
    z: Image
    albedo: Image


def paint_sky(canvas: Canvas, camera: Camera, weather: Weather, rng: np.random.Generator) -> None:
    """Gradient, clouds, stars, a low sun; cold above and near the air's temperature at the horizon."""
    v, u = np.mgrid[0 : camera.height, 0 : camera.width].astype(np.float32)
    slope = np.maximum(camera.horizon - v, 0) / np.float32(camera.focal)
    rise = (1 - np.exp(-slope * 3.2))[..., None]
    sky = weather.sky_horizon * (1 - rise) + weather.sky_top * rise
    tile = fractal_tile(256, 4, 6, rng)
    scale = 0.35 / (slope + 0.12)
    noise = sample(tile, (u - camera.center) / camera.focal * scale * 0.6 + rng.random(), scale * 0.8)
    cover = np.clip((noise - 1.4 + 2.6 * weather.clouds) * 0.8, 0, 1) * np.clip(slope * 12, 0, 1)
    if not weather.night:
        bright = weather.ambient * 1.1 + weather.sun * 0.55
        cloud = bright * (0.75 + 0.12 * noise[..., None])
        sky = sky * (1 - 0.85 * cover[..., None]) + cloud * 0.85 * cover[..., None]
    else:
        sky = sky * (1 + 0.5 * cover[..., None])
        stars = (rng.random(cover.shape) > 0.9992) & (cover < 0.1)
        sky[stars] += 0.10 * rng.random((int(stars.sum()), 1))
    if weather.glare == "sun":
        sky += _sun(camera, weather, u, v)[..., None] * weather.sun * 6
    canvas.paint[..., :3] = sky
    cold = 9 + 16 * (1 - np.exp(-slope * 4))
    canvas.paint[..., 3] = weather.air_temperature - cold * (1 - 0.75 * cover) + 0.3 * noise
    canvas.semantic[:] = SKY


def _sun(camera: Camera, weather: Weather, u: Image, v: Image) -> Image:
    x, y, z = weather.sun_direction
    column, row = camera.center + camera.focal * x / z, camera.horizon - camera.focal * y / z
    distance = np.hypot(u - column, v - row) / camera.focal
    shine = 8.0 * (distance < 0.022) + 0.9 * np.exp(-distance / 0.05) + 0.25 * np.exp(-distance / 0.22)
    return np.asarray(shine, np.float32)


def paint_ground(canvas: Canvas, camera: Camera, light: Light, street: Street, rng: np.random.Generator) -> GroundMap:
    """Asphalt, markings, kerbs, sidewalks and grass, with light pools, house shadows and a wet film."""
    weather = light.weather
    top = int(np.clip(np.ceil(camera.horizon + camera.focal * camera.y / FAR), 0, camera.height - 1))
    v, u = np.mgrid[top : camera.height, 0 : camera.width].astype(np.float32)
    z = np.minimum(camera.focal * camera.y / np.maximum(v - camera.horizon, 0.05), FAR).astype(np.float32)
    x = ((u - camera.center) * z / camera.focal + camera.x).astype(np.float32)
    surface = _Surface(camera, street, x - street.curve * z * z, z, rng)
    albedo, warmth = surface.build()
    points = np.stack([x, np.zeros_like(x), z], axis=-1)
    received = light.at(points, np.array([0.0, 1.0, 0.0]))
    sun = weather.sun * max(0.0, float(weather.sun_direction[1]))
    shade = _house_shadow(street, weather, x, z)[..., None] if not weather.night else np.zeros_like(x)[..., None]
    received = received - shade * sun * 0.97
    wet = weather.wet * surface.asphalt[..., None]
    radiance = albedo * received * (1 - 0.45 * wet) + wet * _mirror(canvas, camera, u, v) * 0.5
    temperature = _ground_temperature(weather, surface, warmth, shade[..., 0])
    canvas.paint[top:, :, :3], canvas.paint[top:, :, 3] = radiance, temperature
    canvas.depth[top:] = z * 1.02 + 0.3
    canvas.semantic[top:] = np.select([surface.asphalt > 0.5, surface.grass > 0.5], [ROAD, VEGETATION], SIDEWALK)
    canvas.ground[top:] = 1.0
    return GroundMap(top, x, z, albedo.astype(np.float32))


def _ground_temperature(weather: Weather, surface: _Surface, warmth: Image, shade: Image) -> Image:
    asphalt, grass = surface.asphalt, surface.grass
    gain = asphalt * 1.0 + grass * 0.25 + (1 - asphalt - grass) * 0.75
    day = weather.sun_heating * gain * (1 - 0.45 * shade)
    night = asphalt * 3.0 - grass * 2.0 + (1 - asphalt - grass) * 1.6 if weather.night else 0.0
    return weather.air_temperature + day + night - 1.5 * weather.wet * asphalt + warmth


def _mirror(canvas: Canvas, camera: Camera, u: Image, v: Image) -> Image:
    """What a wet road reflects of the far scene: the sky upside down, smeared upright."""
    above = np.clip(2 * np.float32(camera.horizon) - v, 0, None)
    flipped = cv2.remap(canvas.paint[..., :3], u, above, cv2.INTER_LINEAR)
    return np.asarray(cv2.blur(flipped, (3, max(3, camera.height // 12))), np.float32)


def _house_shadow(street: Street, weather: Weather, x: Image, z: Image) -> Image:
    """1 where a house stands between the ground and the sun."""
    sun = weather.sun_direction
    total = np.zeros_like(x)
    if weather.sun.max() < 0.2 or abs(sun[0]) < 0.05:
        return total
    for house in street.houses:
        if np.sign(house.x) != np.sign(sun[0]):
            continue
        reach = (house.x - x) / sun[0]
        at = z + reach * sun[2]
        inside = (reach > 0) & (reach * sun[1] < house.height) & (at > house.z0) & (at < house.z1)
        total = np.maximum(total, inside)
    return np.asarray(cv2.GaussianBlur(total.astype(np.float32), (0, 0), 1.2), np.float32)


class _Surface:
    """Materials of the ground; every edge is softened by the size of a pixel's footprint."""

    def __init__(self, camera: Camera, street: Street, x: Image, z: Image, rng: np.random.Generator) -> None:
        self.street, self.x, self.z, self.rng = street, x, z, rng
        self.foot_x = np.maximum(z / camera.focal, 1e-3)
        self.foot_z = np.maximum(z * z / (camera.focal * camera.y), 1e-3)
        self.tile = fractal_tile(256, 8, 5, rng)
        edge = street.half
        self.asphalt = self.band(x, -edge, edge, self.foot_x)
        if street.junction:
            cross = self.band(z, street.junction, street.junction + street.junction_width, self.foot_z)
            self.asphalt = np.maximum(self.asphalt, cross)
        outer = edge + street.sidewalk
        wide = outer if street.verge else 60.0
        self.grass = (1 - self.band(x, -wide, wide, self.foot_x)) * (1 - self.asphalt)

    @staticmethod
    def band(value: Image, low: float, high: float, footprint: Image) -> Image:
        """Share of each pixel that lies in low..high."""
        half = footprint * 0.5
        covered = np.minimum(value + half, high) - np.maximum(value - half, low)
        return np.clip(covered / footprint, 0, 1)

    def stripes(self, value: Image, period: float, width: float, footprint: Image) -> Image:
        """Share covered by a stripe of `width` in every `period`, averaged out where pixels are coarse."""
        phase = np.mod(value, period)
        sharp = self.band(phase, 0, width, np.minimum(footprint, period))
        blend = np.clip(footprint / period * 1.5 - 0.2, 0, 1)
        return sharp * (1 - blend) + width / period * blend

    def noise(self, scale: float) -> Image:
        """Texture of a given size in meters, faded where pixels are coarser."""
        values = sample(self.tile, self.x / scale + self.rng.random(), self.z / scale + self.rng.random())
        return values / (1 + (np.sqrt(self.foot_x * self.foot_z) * 10 / scale))

    def build(self) -> tuple[Image, Image]:
        """(h, W, 3) albedo and (h, W) degrees above the material's temperature."""
        rng = self.rng
        fine, middle, broad = self.noise(1.6), self.noise(9.0), self.noise(60.0)
        road = np.array([0.095, 0.095, 0.10]) * rng.uniform(0.7, 1.5)
        albedo = self.asphalt[..., None] * road * (1 + 0.16 * fine + 0.10 * middle + 0.12 * broad)[..., None]
        warmth = 0.25 * fine + 0.35 * middle + 0.5 * broad
        tracks = self._tracks() * self.asphalt
        albedo *= (1 - 0.14 * tracks)[..., None]
        cracks = np.exp(-((self.noise(14.0) / 0.05) ** 2)) * (self.z < 45) * self.asphalt * 0.5
        albedo *= (1 - 0.5 * cracks)[..., None]
        warmth = warmth + 0.7 * tracks + 0.5 * cracks
        pavement = 1 - self.asphalt - self.grass
        albedo += pavement[..., None] * self._pavement(fine, middle)
        green = np.array([0.07, 0.12, 0.035]) * rng.uniform(0.6, 1.4)
        albedo += self.grass[..., None] * green * (1 + 0.35 * fine + 0.25 * middle)[..., None]
        marks = self._marks() * np.clip(0.86 + 0.22 * middle + 0.12 * fine, 0.25, 1.0)
        yellow = rng.random() < 0.35
        color = np.array([0.62, 0.62, 0.60])
        albedo = albedo * (1 - marks[..., None]) + color * marks[..., None]
        center = self._center(yellow)[..., None] * 0.85
        albedo = albedo * (1 - center) + (np.array([0.60, 0.42, 0.06]) if yellow else color) * center
        warmth = warmth - 0.9 * np.maximum(marks, center[..., 0]) + self._manholes(albedo)
        return np.maximum(albedo, 0.005), warmth.astype(np.float32)

    def _pavement(self, fine: Image, middle: Image) -> NDArray[np.float64]:
        base = np.array([0.24, 0.225, 0.21]) * self.rng.uniform(0.7, 1.2)
        if self.rng.random() < 0.3:
            base = np.array([0.26, 0.16, 0.12])
        size = self.rng.uniform(0.4, 0.9)
        joints = np.maximum(
            self.stripes(self.x, size, 0.03, self.foot_x), self.stripes(self.z, size, 0.04, self.foot_z)
        )
        kerb = self.band(np.abs(self.x), self.street.half, self.street.half + 0.18, self.foot_x)
        return base * ((1 + 0.1 * fine + 0.12 * middle) * (1 - 0.35 * joints) * (1 + 0.6 * kerb))[..., None]

    def _tracks(self) -> Image:
        lane = self.street.lane
        offset = np.abs(np.mod(self.x, lane) - lane / 2)
        return np.exp(-(((offset - 0.8) / 0.32) ** 2)) * (np.abs(self.x) < lane * self.street.lanes)

    def _clear(self) -> Image:
        """1 away from junction and crosswalk, where lines run."""
        street = self.street
        clear = np.ones_like(self.z)
        if street.junction:
            clear *= 1 - self.band(
                self.z, street.junction - 1, street.junction + street.junction_width + 1, self.foot_z
            )
        if street.crosswalk:
            clear *= 1 - self.band(self.z, street.crosswalk - 1.6, street.crosswalk + 4.0, self.foot_z)
        return clear * (self.z < 250)

    def _center(self, double: bool) -> Image:
        width = np.maximum(self.foot_x, 1e-3)
        if double:
            lines = self.band(self.x, -0.24, -0.10, width) + self.band(self.x, 0.10, 0.24, width)
        else:
            lines = self.band(self.x, -0.07, 0.07, width) * self.stripes(self.z, 6.0, 3.0, self.foot_z)
        return lines * self._clear() * (self.street.layout != "parking")

    def _marks(self) -> Image:
        street, marks = self.street, np.zeros_like(self.x)
        edge = street.lane * street.lanes
        side = np.abs(self.x)
        if street.layout == "parking":
            bays = self.stripes(self.z, 2.7, 0.12, self.foot_z) * self.band(side, edge - 0.8, edge + 3.8, self.foot_x)
            return bays * (self.z < 90)
        clear = self._clear()
        if street.lanes > 1:
            marks += self.band(side, street.lane - 0.06, street.lane + 0.06, self.foot_x) * self.stripes(
                self.z, 8.0, 3.2, self.foot_z
            ) * clear  # fmt: skip
        marks += self.band(side, edge, edge + 0.12, self.foot_x) * clear
        if street.crosswalk:
            zebra = self.stripes(self.x + 0.25, 1.0, 0.5, self.foot_x) * (side < street.half - 0.3)
            marks += zebra * self.band(self.z, street.crosswalk, street.crosswalk + 3.0, self.foot_z)
            stop = self.band(self.z, street.crosswalk - 1.3, street.crosswalk - 0.9, self.foot_z)
            marks += stop * self.band(self.x, 0.1, edge, self.foot_x)
        return np.clip(marks, 0, 1)

    def _manholes(self, albedo: Image) -> Image:
        warmth = np.zeros_like(self.x)
        for _ in range(int(self.rng.integers(0, 4))):
            x, z = self.rng.uniform(-1, 1) * self.street.half * 0.7, self.rng.uniform(4, 25)
            inside = np.clip((0.36 - np.hypot(self.x - x, self.z - z)) / self.foot_x * 0.5, 0, 1)
            albedo *= (1 - 0.5 * inside)[..., None]
            warmth += inside * self.rng.uniform(-1.0, 3.5)
        return warmth
