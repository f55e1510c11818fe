"""Calibration from a target that both bands show: a heated chessboard, or a grid of holes before a warm plate."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Literal

import cv2
import numpy as np
from numpy.typing import NDArray

from cldyn_core.calibrate.found import Found, NotFoundError, Residuals, simplest
from cldyn_core.calibrate.models import Model, fit
from cldyn_core.calibrate.recorded import Cameras, GrayPair, undistorted
from cldyn_core.registration.calibration import Calibration
from cldyn_core.registration.cameras import Array, transform

Target = Literal["chessboard", "circles"]
_SMALLEST = 480  # pixels of the shorter side: smaller images are enlarged, or the finders miss small squares
_FEWEST = 3  # views that teach


@dataclass(frozen=True)
class View:
    """The same (N, 2) points of a target in both images, in pixels."""

    infrared: Array
    visible: Array


def look(pair: GrayPair, target: Target, pattern: tuple[int, int]) -> View | None:
    """The target in both images; None where one does not show it. pattern: inner corners, or circles, in a row and
    in a column.
    """
    infrared, visible = (_points(image, target, pattern) for image in (pair.infrared, pair.visible))
    if infrared is None or visible is None:
        return None
    return View(_in_order_of(visible, infrared), visible)


def find(views: Sequence[View], judges: Sequence[View], cameras: Cameras, models: Sequence[Model]) -> Found:
    """The map that fits the views, by the simplest of the models that does for `judges`. Raises NotFoundError."""
    if len(views) < _FEWEST or not judges:
        raise NotFoundError(
            f"the target is found in both images of {len(views) + len(judges)} pairs, {_FEWEST + 1} are the least. "
            "Remedy: check --pattern; warm the target, hold it still, and show it in more places"
        )
    infrared, visible = cameras.camera("infrared"), cameras.camera("visible")
    source = undistorted(infrared, np.concatenate([view.infrared for view in views]))
    target = undistorted(visible, np.concatenate([view.visible for view in views]))
    found = []
    for model in models:
        homography = fit(model, source, target)
        found.append(Found(model, homography, residuals(judges, cameras.calibration(homography))))
    return simplest(found)


def residuals(views: Sequence[View], calibration: Calibration) -> Residuals:
    """Of all points of these views; all weigh alike."""
    back = np.asarray(np.linalg.inv(calibration.to_infrared))
    offsets = [np.zeros((0, 2))]
    for view in views:
        rays = transform(back, calibration.infrared.rays(view.infrared))[:, :2]
        offsets.append(calibration.visible.pixels(rays) - view.visible)
    means = [offset.mean(0) for offset in offsets[1:]]
    spread = max((float(np.hypot(*(a - b))) for a, b in combinations(means, 2)), default=0.0)
    at = np.concatenate([offsets[0], *(view.visible for view in views)])
    return Residuals(at, np.concatenate(offsets), np.ones(len(at)), spread)


def _points(image: NDArray[np.uint8], target: Target, pattern: tuple[int, int]) -> Array | None:
    """(N, 2) pixels, row by row; hot may be dark or bright."""
    zoom = max(1.0, _SMALLEST / min(image.shape))
    large = cv2.resize(image, None, fx=zoom, fy=zoom, interpolation=cv2.INTER_CUBIC)
    large = cv2.normalize(large, None, 0, 255, cv2.NORM_MINMAX)  # type: ignore[call-overload]
    for shown in (large, cv2.bitwise_not(large)):
        if target == "chessboard":
            found, points = cv2.findChessboardCornersSB(shown, pattern, flags=cv2.CALIB_CB_EXHAUSTIVE)
        else:
            found, points = cv2.findCirclesGrid(shown, pattern, flags=cv2.CALIB_CB_SYMMETRIC_GRID)
        if found:
            return np.asarray((points.reshape(-1, 2) + 0.5) / zoom - 0.5, np.float64)
    return None


def _in_order_of(visible: Array, infrared: Array) -> Array:
    """The infrared points from the same corner on: a finder may begin at the other end, in one of the two images."""

    def turned(points: Array) -> float:
        c, s = fit("similarity", points, visible)[:2, 0]
        return float(abs(np.arctan2(s, c)))

    return min((infrared, infrared[::-1]), key=turned)
