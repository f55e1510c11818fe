"""Boxes, labels and salient pixels from the masks of the objects."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from cldyn_core.data.synthetic.brush import Sprite
from cldyn_core.types import M3FD_CLASSES

LABELS = {
    semantic: M3FD_CLASSES.index("People" if semantic == "person" else semantic.capitalize())
    for semantic in ("person", "car", "bus", "lamp", "motorcycle", "truck")
}
"""Label of a semantic class."""
MIN_LONG, MIN_SHORT = 6, 3
"""Pixels; an object with a smaller box gets none."""
MIN_VISIBLE = 0.3
"""Share of an object's pixels in the image that must be unhidden for a box."""
SALIENT = 0.35
"""Share of the highest score from which an object is salient."""


@dataclass(frozen=True)
class Instance:
    """One object: where its pixels are on the canvas, hidden ones included."""

    label: int | None
    """Index into M3FD_CLASSES; None: no box."""
    sprite: Sprite
    prominence: float
    """Weight of its size when the salient objects are chosen; 0: never."""


def ground_truth(
    instances: list[Instance], seen: NDArray[np.uint8], corner: tuple[int, int]
) -> tuple[NDArray[np.float32], NDArray[np.int64], NDArray[np.uint8]]:
    """What `RenderedFrame` says: boxes (N, 4), labels (N,), saliency (H, W).

    `seen` (H, W): number of the instance that each pixel shows, from 1. `corner`: the image's corner on the canvas.
    """
    boxes, labels, scores = [], [], {}
    visible = np.bincount(seen.ravel(), minlength=len(instances) + 1)
    for number, instance in enumerate(instances, start=1):
        (x1, y1, x2, y2), area = _extent(instance.sprite, corner, seen.shape[1], seen.shape[0])
        size = (x2 - x1, y2 - y1)
        if not area or visible[number] < MIN_VISIBLE * area or max(size) < MIN_LONG or min(size) < MIN_SHORT:
            continue
        scores[number] = float(np.sqrt(visible[number])) * instance.prominence
        if instance.label is not None:
            boxes.append((x1, y1, x2, y2))
            labels.append(instance.label)
    best = max(scores.values(), default=0.0)
    chosen = [number for number, score in scores.items() if score > 0 and score >= SALIENT * best]
    saliency = np.isin(seen, chosen).astype(np.uint8) * np.uint8(255)
    return np.array(boxes, np.float32).reshape(-1, 4), np.array(labels, np.int64), saliency


def _extent(sprite: Sprite, corner: tuple[int, int], width: int, height: int) -> tuple[tuple[int, int, int, int], int]:
    """Box in the image (x1, y1, x2, y2; ends excluded) of the sprite's solid pixels, and their number."""
    x, y = sprite.x - corner[0], sprite.y - corner[1]
    solid = sprite.alpha[max(0, -y) : max(0, height - y), max(0, -x) : max(0, width - x)] > 0.5
    rows, columns = np.flatnonzero(solid.any(axis=1)), np.flatnonzero(solid.any(axis=0))
    if not len(rows):
        return (0, 0, 0, 0), 0
    left, top = max(0, x), max(0, y)
    box = (left + int(columns[0]), top + int(rows[0]), left + int(columns[-1]) + 1, top + int(rows[-1]) + 1)
    return box, int(solid.sum())
