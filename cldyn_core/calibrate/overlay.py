"""A picture by which a person judges a calibration."""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np
from numpy.typing import NDArray

from cldyn_core.calibrate.recorded import GrayPair
from cldyn_core.registration.registration import Registration, register

_COLOR = (0, 90, 255)  # BGR
_EDGES = 92.0  # percentile of the gradients above which a pixel is drawn
_WIDTH = 640


def overlay(pairs: Sequence[GrayPair], registration: Registration) -> NDArray[np.uint8]:
    """Rows of visible images with the infrared edges in them: left stretched, right registered. (H, W, 3) BGR."""
    rows = []
    for pair in pairs:
        size = pair.visible.shape[0], pair.visible.shape[1]
        both = register(pair.infrared, size, ()), registration(pair.infrared, size)
        row = np.hstack([_drawn(pair.visible, infrared) for infrared in both])
        scale = min(1.0, 2 * _WIDTH / row.shape[1])
        rows.append(cv2.resize(row, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA))
    return np.vstack(rows)


def _drawn(visible: NDArray[np.uint8], infrared: NDArray[np.uint8]) -> NDArray[np.uint8]:
    smooth = cv2.GaussianBlur(infrared.astype(np.float32), (0, 0), 1.0)
    strength = cv2.magnitude(cv2.Sobel(smooth, cv2.CV_32F, 1, 0), cv2.Sobel(smooth, cv2.CV_32F, 0, 1))
    strength[cv2.erode((infrared > 0).astype(np.uint8), np.ones((9, 9), np.uint8)) == 0] = 0
    image = cv2.cvtColor(visible, cv2.COLOR_GRAY2BGR).astype(np.uint8, copy=False)
    image[strength > max(1.0, float(np.percentile(strength, _EDGES)))] = _COLOR
    return image
