"""World and image: X right, Y up, Z forward in meters; the camera looks along +Z and pans by shifting its image.

Everything is drawn on a canvas a little larger than the image, and the pan cuts the image out of it.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Points = NDArray[np.float64]

NEAR = 0.6
"""Meters; nothing nearer is drawn."""


@dataclass(frozen=True)
class Camera:
    """A level pinhole camera. Pixel positions are canvas positions, with pixel centers at whole numbers."""

    width: int
    """Canvas size, margins included."""
    height: int
    margin_x: int
    margin_y: int
    focal: float
    center: float
    horizon: float
    x: float
    y: float
    """Where the camera is; y is its height above the road."""

    @property
    def eye(self) -> Points:
        """(3,) position in the world."""
        return np.array([self.x, self.y, 0.0])

    def project(self, points: Points) -> Points:
        """(N, 3) world points, all with Z >= NEAR, to (N, 2) pixels."""
        scale = self.focal / points[:, 2]
        return np.stack(
            [self.center + (points[:, 0] - self.x) * scale, self.horizon + (self.y - points[:, 1]) * scale], axis=1
        )

    def project_polygon(self, points: Points) -> Points:
        """(N, 3) corners of a polygon to its (M, 2) pixels after clipping at NEAR; M is 0 when it is wholly behind."""
        if (points[:, 2] >= NEAR).all():
            return self.project(points)
        clipped: list[Points] = []
        for start, end in zip(points, np.roll(points, -1, axis=0), strict=True):
            if start[2] >= NEAR:
                clipped.append(start)
            if (start[2] >= NEAR) != (end[2] >= NEAR):
                clipped.append(start + (end - start) * ((NEAR - start[2]) / (end[2] - start[2])))
        return self.project(np.array(clipped)) if clipped else np.empty((0, 2))


@dataclass(frozen=True)
class Pose:
    """Where something stands on the road, which way it faces, and how far it has come (for its gait)."""

    x: float
    z: float
    heading: float
    """Radians; 0 looks along +Z, a quarter turn along +X."""
    speed: float = 0.0
    distance: float = 0.0

    def to_world(self, local: Points) -> Points:
        """(N, 3) forward, right, up in meters to (N, 3) world."""
        sin, cos = np.sin(self.heading), np.cos(self.heading)
        forward, right, up = local[:, 0], local[:, 1], local[:, 2]
        return np.stack([self.x + forward * sin + right * cos, up, self.z + forward * cos - right * sin], axis=1)

    def turn(self, local: Points) -> Points:
        """(N, 3) local directions to world directions."""
        return self.to_world(local) - np.array([self.x, 0.0, self.z])
