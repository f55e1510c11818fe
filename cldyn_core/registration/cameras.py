"""One camera's geometry: between its pixels and the rays that they see, with the distortion models of ROS."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

import cv2
import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]

DISTORTION_MODELS: dict[str, tuple[int, ...]] = {
    "plumb_bob": (0, 4, 5),
    "rational_polynomial": (0, 8),
    "equidistant": (0, 4),
}
"""Models of sensor_msgs/CameraInfo, and how many coefficients each may have."""
_FOLD = 1.02  # rays this much wider than any pixel's are not seen: the polynomials bend far ones back into the image
_EXACT = (cv2.TERM_CRITERIA_COUNT | cv2.TERM_CRITERIA_EPS, 50, 1e-9)


@dataclass(frozen=True, eq=False)
class Camera:
    """Size and, where known, intrinsics. A ray is (x, y) at depth 1 of the optical frame (REP-103); without
    intrinsics it is the pixel itself.
    """

    width: int
    height: int
    matrix: Array | None = None
    """(3, 3), K."""
    model: str = "plumb_bob"
    distortion: tuple[float, ...] = ()

    @property
    def k(self) -> Array:
        """(3, 3) K; the identity without intrinsics."""
        return np.eye(3) if self.matrix is None else self.matrix

    @property
    def linear(self) -> bool:
        """Whether its rays are its pixels but for K."""
        return self.matrix is None or (self.model != "equidistant" and not any(self.distortion))

    def rays(self, pixels: Array) -> Array:
        """(N, 2) pixels -> (N, 2) rays."""
        if self.matrix is None or not len(pixels):
            return pixels
        if self.linear:
            return transform(np.asarray(np.linalg.inv(self.matrix)), pixels)[:, :2]
        points, coefficients, same = pixels[:, None], np.array(self.distortion, np.float64), np.eye(3)
        if self.model == "equidistant":
            found = cv2.fisheye.undistortPoints(points, self.matrix, coefficients, R=same, P=same)
        else:
            found = cv2.undistortPointsIter(points, self.matrix, coefficients, same, same, _EXACT)
        return np.asarray(found[:, 0], np.float64)

    def pixels(self, rays: Array) -> Array:
        """(N, 2) rays -> (N, 2) pixels; NaN for those that no pixel sees."""
        if self.matrix is None:
            return rays
        if self.linear:
            return transform(self.matrix, rays)[:, :2]
        seen = np.hypot(*rays.T) <= _FOLD * np.hypot(*self.rays(self.border()).T).max()
        if self.model == "equidistant":
            points = np.asarray(cv2.fisheye.distortPoints(rays[:, None], self.matrix, np.array(self.distortion)))
        else:
            solid = np.column_stack([rays, np.ones(len(rays))])
            zero = np.zeros(3)
            points = np.asarray(cv2.projectPoints(solid, zero, zero, self.matrix, np.array(self.distortion))[0])
        return np.where(seen[:, None], points[:, 0], np.nan)

    def border(self) -> Array:
        """(N, 2) pixels around the edge of the image."""
        right, bottom = self.width - 1, self.height - 1
        corners = np.array([[0, 0], [right, 0], [right, bottom], [0, bottom], [0, 0]], np.float64)
        steps = np.linspace(0, 1, 32, endpoint=False)[:, None]
        return np.concatenate([a + steps * (b - a) for a, b in pairwise(corners)])


def transform(matrix: Array, points: Array) -> Array:
    """(3, 3) on (N, 2) points -> (N, 3): x, y and the third coordinate, not above 0 for points behind."""
    moved = np.column_stack([points, np.ones(len(points))]) @ matrix.T
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.column_stack([moved[:, :2] / moved[:, 2:], moved[:, 2]])
