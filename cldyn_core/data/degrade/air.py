"""Fog, and what fog shares with rain: the air between the camera and the scene."""

from __future__ import annotations

import math
from abc import abstractmethod
from dataclasses import dataclass, field

import numpy as np

from cldyn_core.data.degrade.base import (
    Chance,
    Degradation,
    DegradationError,
    Image,
    Infrared,
    Visible,
    bounded,
    stored,
    to_linear,
    to_srgb,
)
from cldyn_core.data.synthetic.images import resized
from cldyn_core.data.synthetic.noise import fractal_tile

_CAMERA_HEIGHT = 1.5  # metres above the road
_HORIZON = 0.38  # of the image height
_STREET = 14.0  # metres from the middle of the street to the houses
_FAR = 100.0  # metres to where the street ends: trees and houses are above the horizon, as well as sky
_CONTRAST = 0.05  # left of an object at the meteorological optical range (WMO)


@dataclass(frozen=True)
class Air(Degradation):
    """Koschmieder's law (1924) in linear light: scene * t + airlight * (1 - t), t = exp(-optical depth).

    In the infrared the air itself is seen where the scene is not; it is taken to be as warm as the median pixel.
    """

    thermal_share: float = bounded(0.3, 0.0, 1.0)
    """Optical depth in the infrared over that in the visible, no unit."""
    view: float = bounded(45.0, 5.0, 150.0, "degrees")
    """Horizontal field of view of the visible camera."""
    depth: Image | None = field(default=None, compare=False, repr=False)
    """(H, W) distance in metres of what the visible camera sees; None: `street_depth`."""

    @abstractmethod
    def _optical_depth(self, depth: Image, chance: Chance) -> Image:
        """(H, W), visible, of the way to each pixel's `depth`."""

    def _degrade(self, visible: Visible, infrared: Infrared, chance: Chance) -> tuple[Visible, Infrared]:
        height, width = visible.shape[:2]
        depth = street_depth(height, width, self.view) if self.depth is None else self.depth
        if depth.shape != (height, width) or not (depth >= 0).all():
            raise DegradationError(
                f"{self.name}: depth {depth.shape} does not suit the visible image {(height, width)}. "
                "Remedy: give one of its size, in metres, none missing or below 0"
            )
        thickness = self._optical_depth(np.asarray(depth, np.float32), chance)
        seen, light = np.exp(-thickness)[..., None], to_linear(visible)
        hazy = to_srgb(light * seen + airlight(light) * (1 - seen))
        felt = resized(np.exp(-np.float32(self.thermal_share) * thickness), infrared.shape[1], infrared.shape[0])
        warmth = np.float32(np.nanmedian(infrared))
        return hazy, stored(warmth + (infrared - warmth) * felt, infrared.dtype)


@dataclass(frozen=True)
class Fog(Air):
    """Fog of a meteorological visibility, in the infrared thinner by `thermal_share`."""

    visibility: float = bounded(100.0, 5.0, 100_000.0, "metres")
    """Meteorological optical range: distance at which 5 % of the contrast is left."""
    patchiness: float = bounded(0.15, 0.0, 0.4)
    """Standard deviation of the extinction over its mean, in clouds as large as a third of the image; no unit."""

    def _optical_depth(self, depth: Image, chance: Chance) -> Image:
        height, width = depth.shape
        clouds = resized(fractal_tile(128, 4, 3, chance.frame), width, height)
        extinction = -math.log(_CONTRAST) / self.visibility  # per metre
        return depth * extinction * np.maximum(1 + np.float32(self.patchiness) * clouds, 0)


def street_depth(height: int, width: int, view: float) -> Image:
    """(height, width) distance in metres, along the optical axis, in an empty street seen by a car's camera.

    A flat road, houses along both sides and a far end; their inverse distances are added, which hides where one begins.
    view: horizontal field of view in degrees.
    """
    focal = width / 2 / math.tan(math.radians(view) / 2)
    below = np.arange(height, dtype=np.float32) + 0.5 - _HORIZON * height
    aside = np.abs(np.arange(width, dtype=np.float32) + 0.5 - width / 2)
    road = np.maximum(below, 0) / (focal * _CAMERA_HEIGHT)
    houses = aside / (focal * _STREET)
    return (1 / (road[:, None] + houses[None] + 1 / _FAR)).astype(np.float32)


def airlight(light: Image) -> Image:
    """(3,) light that the air scatters into the camera, of an (H, W, 3) image in linear light.

    That of the sky: the brighter tenth of the upper half begins there, which leaves out lamps; half as colored, as the
    air is lit from all around.
    """
    sky = np.quantile(light[: max(1, light.shape[0] // 2)].reshape(-1, 3), 0.9, axis=0)
    return ((sky + sky.mean()) / 2).astype(np.float32)
