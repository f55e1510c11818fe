"""Anti-aliased drawing of color and temperature together, and the canvas that keeps depth and identity."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray

from cldyn_core.data.synthetic.images import Image, resized

SHIFT = 4
"""Bits after the point in cv2's polygon corners."""
LIMIT = 30_000.0
"""Pixels; corners farther away would overflow cv2's arithmetic."""
_UNIT_CIRCLE = np.stack([np.cos(np.arange(12) * np.pi / 6), np.sin(np.arange(12) * np.pi / 6)], axis=1)


class Paint(NamedTuple):
    """Radiance (linear, 1.0 is about white by day) and temperature in degrees Celsius."""

    red: float
    green: float
    blue: float
    temperature: float

    @staticmethod
    def lit(albedo: NDArray[np.float64], light: NDArray[np.float64], temperature: float) -> Paint:
        """A surface of (3,) albedo under (3,) light."""
        return Paint.of(albedo * light, temperature)

    @staticmethod
    def of(radiance: NDArray[np.float64], temperature: float) -> Paint:
        """Of (3,) radiance."""
        red, green, blue = radiance.tolist()
        return Paint(red, green, blue, temperature)


@dataclass(frozen=True)
class Sprite:
    """A drawn thing: premultiplied (h, w, 4) radiance and temperature, (h, w) coverage, and where it goes."""

    paint: Image
    alpha: Image
    x: int
    y: int
    depth: float | Image
    semantic: int

    @property
    def region(self) -> tuple[slice, slice]:
        """Rows and columns of the canvas that it covers."""
        return slice(self.y, self.y + self.alpha.shape[0]), slice(self.x, self.x + self.alpha.shape[1])


class Canvas:
    """The scene so far: (H, W, 4) radiance and temperature, and per pixel the depth, class, instance and ground."""

    def __init__(self, height: int, width: int) -> None:
        self.paint = np.zeros((height, width, 4), np.float32)
        self.depth = np.full((height, width), 1e4, np.float32)
        self.semantic = np.zeros((height, width), np.uint8)
        self.instance = np.zeros((height, width), np.uint8)
        self.ground = np.zeros((height, width), np.float32)

    def copy(self) -> Canvas:
        """An independent copy."""
        other = Canvas(*self.depth.shape)
        for name in ("paint", "depth", "semantic", "instance", "ground"):
            setattr(other, name, getattr(self, name).copy())
        return other

    def add(self, sprite: Sprite, instance: int = 0) -> None:
        """Draws the sprite where nothing nearer stands. Bare ground hides nothing, however near: all stand on it."""
        region = sprite.region
        alpha = sprite.alpha * ((self.depth[region] > sprite.depth) | (self.ground[region] > 0.5))
        paint = self.paint[region]
        paint *= (1.0 - alpha)[..., None]
        paint += sprite.paint * (alpha > 0)[..., None]
        solid = alpha > 0.5
        self.semantic[region][solid] = sprite.semantic
        self.instance[region][solid] = instance
        self.ground[region] *= 1.0 - alpha
        depth = np.broadcast_to(np.asarray(sprite.depth, np.float32), solid.shape)
        self.depth[region][solid] = depth[solid]


class Brush:
    """A supersampled piece of the canvas. Positions are canvas pixels."""

    def __init__(self, outline: NDArray[np.float64], canvas: tuple[int, int]) -> None:
        """`outline` (N, 2): points that bound what will be drawn; `canvas` (height, width)."""
        low = np.clip(np.floor(outline.min(axis=0)) - 1, 0, [canvas[1], canvas[0]]).astype(int)
        high = np.clip(np.ceil(outline.max(axis=0)) + 2, 0, [canvas[1], canvas[0]]).astype(int)
        self.origin = low
        self.size = np.maximum(high - low, 0)
        extent = int(self.size.max())
        self.scale = 4 if extent < 56 else 2 if extent < 300 else 1
        self.empty = bool((self.size == 0).any())
        shape = (int(self.size[1]) * self.scale, int(self.size[0]) * self.scale)
        self.paint = np.zeros((*shape, 4), np.float32)
        self.mask = np.zeros(shape, np.uint8)

    def polygon(self, points: NDArray[np.float64], paint: Paint) -> None:
        """Fills (N, 2) corners."""
        if len(points) < 3 or self.empty:
            return
        at = np.clip((points - self.origin + 0.5) * self.scale - 0.5, -LIMIT, LIMIT)
        fixed = [np.round(at * (1 << SHIFT)).astype(np.int32)]
        cv2.fillPoly(self.paint, fixed, paint, cv2.LINE_8, SHIFT)
        cv2.fillPoly(self.mask, fixed, 255.0, cv2.LINE_8, SHIFT)

    def hull(self, centers: NDArray[np.float64], radii: NDArray[np.float64], paint: Paint) -> None:
        """Fills the convex hull of discs: (N, 2) centers, (N,) radii in pixels."""
        rims = centers[:, None] + _UNIT_CIRCLE[None] * np.asarray(radii)[:, None, None]
        outline = cv2.convexHull(rims.reshape(-1, 2).astype(np.float32))[:, 0]
        self.polygon(outline.astype(np.float64), paint)

    def roundness(self, depth: float, cooling: float) -> None:
        """Darkens rims by up to `depth` (fraction) and cools them by up to `cooling` degrees, as if it were round."""
        if self.empty or not self.mask.any():
            return
        padded = cv2.copyMakeBorder(self.mask, 1, 1, 1, 1, cv2.BORDER_CONSTANT, value=0)
        distance = cv2.distanceTransform(padded, cv2.DIST_L2, 3)[1:-1, 1:-1]
        inside = np.minimum(distance / max(2.0, float(distance.max()) * 0.8), 1.0)
        self.paint[..., :3] *= (1.0 - depth * (1.0 - inside))[..., None]
        self.paint[..., 3] -= cooling * (1.0 - inside)

    def grain(self, tile: Image, color: float, temperature: float, repeat: float = 0.4) -> None:
        """Adds texture that moves with the thing: relative color deviation and degrees."""
        if self.empty:
            return
        crop = tile[: max(8, int(tile.shape[0] * repeat)), : max(8, int(tile.shape[1] * repeat))]
        noise = resized(crop, self.mask.shape[1], self.mask.shape[0])
        self.paint[..., :3] *= (1.0 + color * noise)[..., None]
        self.paint[..., 3] += temperature * noise

    def sprite(self, depth: float, semantic: int) -> Sprite | None:
        """What was drawn, at canvas resolution; None when nothing of it is on the canvas."""
        if self.empty or not self.mask.any():
            return None
        self.paint *= (self.mask > 0)[..., None]
        paint, alpha = self.paint, (self.mask > 0).astype(np.float32)
        if self.scale > 1:
            width, height = self.size.tolist()
            paint, alpha = (resized(image, width, height, cv2.INTER_AREA) for image in (paint, alpha))
        x, y = self.origin.tolist()
        return Sprite(paint, alpha, x, y, depth, semantic)
