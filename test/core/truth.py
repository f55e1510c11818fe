"""Ground truth of detection, written by hand."""

from __future__ import annotations

import numpy as np

from cldyn_core.types import M3FD_CLASSES, Detections


def boxes(*rows: tuple[float, float, float, float, int], annotated: tuple[int, ...] | None = None) -> Detections:
    """Rows of x1 y1 x2 y2 and class."""
    array = np.array(rows, np.float32).reshape(-1, 5)
    certain = np.ones(len(rows), np.float32)
    return Detections(array[:, :4], certain, array[:, 4].astype(np.int64), M3FD_CLASSES, annotated)
