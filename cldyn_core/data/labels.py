"""Boxes of data sets in YOLO's text layout; classes go by name, never by index."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from cldyn_core.data.images import PairError
from cldyn_core.types import M3FD_CLASSES

SAME: dict[str, str] = {
    "person": "People",
    "pedestrian": "People",
    "motorbike": "Motorcycle",
    "traffic light": "Lamp",
}
"""Names that other data sets use for a class of M3FD; letter case does not matter. Lamp is a traffic light there."""


def class_index(name: str, known: Sequence[str] = M3FD_CLASSES) -> int | None:
    """Index into `known` of a class that a data set calls `name`; None if it has no such class."""
    wanted = _canonical(name)
    return next((index for index, own in enumerate(known) if _canonical(own) == wanted), None)


def _canonical(name: str) -> str:
    return SAME.get(name.casefold(), name).casefold()


def read_yolo(
    path: Path, size: tuple[int, int], names: Sequence[str], known: Sequence[str] = M3FD_CLASSES
) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    """Boxes (N, 4) x1 y1 x2 y2 in pixels of an image of `size` (H, W), and labels (N,), indices into `known`.

    Each line of the file is a class (index into `names`), center and size as fractions of the image; classes that
    are not in `known` are left out. Raises PairError naming the file and the line.
    """
    boxes: list[NDArray[np.float64]] = []
    labels: list[int] = []
    for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), start=1):
        words = line.split()
        if not words:
            continue
        if fault := box_fault(words, len(names)):
            raise PairError(f"{path}:{number}: {fault}. Remedy: `cldyn data check` lists all such lines")
        label = class_index(names[int(float(words[0]))], known)
        if label is not None:
            center, extent = np.array(words[1:], np.float64).reshape(2, 2) * (size[1], size[0])
            boxes.append(np.concatenate((center - extent / 2, center + extent / 2)))
            labels.append(label)
    return np.array(boxes, np.float32).reshape(-1, 4), np.array(labels, np.int64)


def box_fault(words: list[str], classes: int | None) -> str:
    """What is wrong with the words of one line: `class cx cy w h`, the class zero-based, the box in 0..1; "" if
    nothing.
    """
    if len(words) != 5:
        return f"has {len(words)} values, expected 5: class cx cy w h"
    try:
        values = [float(word) for word in words]
    except ValueError:
        return "holds something that is not a number"
    index, box = values[0], values[1:]
    if not index.is_integer() or index < 0 or (classes is not None and index >= classes):
        limit = f"0..{classes - 1} of classes.txt" if classes is not None else "a whole number from 0"
        return f"has class {words[0]}, expected {limit}"
    if not all(0.0 <= value <= 1.0 for value in box):
        return f"has a box outside 0..1: {' '.join(words[1:])}"
    return "has a box without extent" if min(box[2:]) == 0.0 else ""
