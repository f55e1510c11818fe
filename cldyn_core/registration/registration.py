"""Brings infrared images onto the visible image's pixels."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from cldyn_core.registration.calibration import Calibration, read_calibration


def register(infrared: NDArray[Any], size: tuple[int, int], homography: tuple[float, ...]) -> NDArray[Any]:
    """Bring (h, w) infrared onto the visible image's pixels; size is (H, W); see EngineSettings.homography. Outside:
    0.
    """
    height, width = size
    if homography:
        matrix = np.asarray(homography, np.float64).reshape(3, 3)
        return cv2.warpPerspective(infrared, matrix, (width, height), flags=cv2.INTER_LINEAR)
    if infrared.shape == (height, width):
        return infrared
    shrinking = infrared.shape[0] > height
    return cv2.resize(infrared, (width, height), interpolation=cv2.INTER_AREA if shrinking else cv2.INTER_LINEAR)


def homography_fault(values: tuple[float, ...]) -> str:
    """Why these values are no homography; "" when they are one, or none are given."""
    if not values:
        return ""
    if len(values) != 9:
        return f"a homography has 9 values (row-major 3x3) or none, not {len(values)}"
    matrix = np.asarray(values, np.float64)
    if not np.isfinite(matrix).all() or abs(np.linalg.det(matrix.reshape(3, 3))) < 1e-12:
        return "the homography is not finite or cannot be inverted"
    return ""


class Registration:
    """What EngineSettings.homography and .calibration ask for. Any thread may call it.

    Raises ValueError (CalibrationError is one) that says what is wrong with them.
    """

    def __init__(self, homography: tuple[float, ...] = (), calibration: str = "") -> None:
        if fault := homography_fault(homography):
            raise ValueError(fault)
        if homography and calibration:
            raise ValueError("a homography and a calibration are both given: empty one of them")
        self.asked = homography, calibration
        self._homography = homography
        self._calibration: Calibration | None = read_calibration(Path(calibration)) if calibration else None
        self._table: tuple[tuple[int, ...], Any, Any] = ((), None, None)  # of the last sizes: a camera keeps its own

    def __call__(self, infrared: NDArray[Any], size: tuple[int, int]) -> NDArray[Any]:
        """(h, w) infrared, any type OpenCV resamples -> (H, W); size is (H, W). Outside: 0.

        Raises CalibrationError for images of another shape than the calibrated ones.
        """
        if self._calibration is None:
            return register(infrared, size, self._homography)
        sizes, coarse, fine = self._table
        if sizes != (*infrared.shape, *size):
            table = self._calibration.table((infrared.shape[0], infrared.shape[1]), size)
            coarse, fine = cv2.convertMaps(
                table[..., 0], table[..., 1], cv2.CV_16SC2
            )  # to 1/32 pixel; remap is fastest with it
            self._table = (*infrared.shape, *size), coarse, fine
        return cv2.remap(infrared, coarse, fine, cv2.INTER_LINEAR, borderMode=cv2.BORDER_CONSTANT, borderValue=0)
