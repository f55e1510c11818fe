"""Whether the cameras show another scene than in the frame before: a cut in a recording, another camera."""

from __future__ import annotations

import cv2
import numpy as np
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

_SIZE = 24, 32  # rows, columns of the compared thumbnails: a motion of some pixels hardly changes them
_ROWS = 240  # of an image are looked at, or a few more: enough for the mean of a cell
_COARSE = 3.0  # in cells: what is wider (sky above road) is common to most scenes and taken away
_FLATTEST = 1 / 255  # one gray value: what deviates less shows nothing but noise
_ALIKE = 0.5  # correlation: within clips of 30 frames a second above 0.95, between clips below 0.2


class SceneChange:
    """Compares each frame with the one before, by the correlation of small images without their coarse structure.

    Correlation does not see gain, exposure and thermal range. The scene has changed when neither camera recognizes it:
    a lamp that goes on, or a sensor that calibrates itself, changes one of them.
    """

    def __init__(self) -> None:
        self._before: dict[str, NDArray[np.float32]] = {}  # of each camera, the last image that was not flat

    def seen(self, luma: Tensor, infrared: Tensor) -> bool:
        """Take a frame, (1, 1, H, W) each, in [0, 1]: True when it shows another scene. False for the first one."""
        found = [self._likeness("visible", _structure(luma)), self._likeness("infrared", _structure(infrared))]
        known = [likeness for likeness in found if likeness is not None]
        return bool(known) and max(known) < _ALIKE

    def forget(self) -> None:
        """The next frame is the first one."""
        self._before = {}

    def _likeness(self, camera: str, now: NDArray[np.float32]) -> float | None:
        """Correlation with what the camera saw before; None where one of both shows nothing."""
        if np.std(now) <= _FLATTEST:
            return None
        before, self._before[camera] = self._before.get(camera), now
        return None if before is None else float(np.corrcoef(before.ravel(), now.ravel())[0, 1])


def _structure(image: Tensor) -> NDArray[np.float32]:
    rows = image[..., :: max(1, image.shape[2] // _ROWS), :]
    thumbnail = F.adaptive_avg_pool2d(rows, _SIZE)[0, 0].cpu().numpy()
    coarse = cv2.GaussianBlur(thumbnail, (0, 0), _COARSE, borderType=cv2.BORDER_REFLECT)
    return (thumbnail - coarse).astype(np.float32, copy=False)
