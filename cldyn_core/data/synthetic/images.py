"""Float pictures, and cv2's resizing with its type."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

Image = NDArray[np.float32]
"""(h, w) or (h, w, channels)."""


def resized(image: Image, width: int, height: int, interpolation: int = cv2.INTER_LINEAR) -> Image:
    """The image at another size."""
    return np.asarray(cv2.resize(image, (width, height), interpolation=interpolation), np.float32)
