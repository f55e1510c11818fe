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
        self._before: list[NDArray[np.float32]] = []

    def seen(self, luma: Tensor, infrared: Tensor) -> bool:
        """Take a frame, (1, 1, H, W) each, in [0, 1]: True when it shows another scene. False for the first one."""
        before, self._before = self._before, [_structure(luma), _structure(infrared)]
        pairs = [pair for pair in zip(before, self._before, strict=False) if min(map(np.std, pair)) > _FLATTEST]
        return bool(pairs) and max(np.corrcoef(a.ravel(), b.ravel())[0, 1] for a, b in pairs) < _ALIKE

    def forget(self) -> None:
        """The next frame is the first one."""
        self._before = []


def _structure(image: Tensor) -> NDArray[np.float32]:
    rows = image[..., :: max(1, image.shape[2] // _ROWS), :]
    thumbnail = F.adaptive_avg_pool2d(rows, _SIZE)[0, 0].cpu().numpy()
    coarse = cv2.GaussianBlur(thumbnail, (0, 0), _COARSE, borderType=cv2.BORDER_REFLECT)
    return (thumbnail - coarse).astype(np.float32, copy=False)
