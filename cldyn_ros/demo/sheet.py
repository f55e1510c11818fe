"""The contact sheet: visible, infrared, fused and overlay side by side, a row per task."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from cldyn_ros.demo.examine import Evidence

COLUMNS = ("visible", "infrared", "fused", "overlay")
_WIDTH = 480
_GAP, _BAR = 6, 26
_PAPER, _INK = 250, (40, 40, 40)


def write_sheet(evidence: Evidence, path: Path) -> None:
    """Write the PNG; a picture that was not recorded stays an empty, labelled field. Raises OSError."""
    rows = [_row(row.task, [row.pictures.get(name) for name in COLUMNS]) for row in evidence.rows]
    if not rows:
        rows = [_row("nothing was fused", [None] * len(COLUMNS))]
    sheet = np.concatenate(rows)
    if not cv2.imwrite(str(path), sheet[..., ::-1]):
        raise OSError(f"{path}: cannot be written")


def _row(task: str, pictures: list[NDArray[np.uint8] | None]) -> NDArray[np.uint8]:
    heights = [round(p.shape[0] * _WIDTH / p.shape[1]) for p in pictures if p is not None]
    height = max(heights, default=_WIDTH * 3 // 4)
    canvas = np.full((_BAR + height + _GAP, len(pictures) * (_WIDTH + _GAP) + _GAP, 3), _PAPER, np.uint8)
    for k, (name, picture) in enumerate(zip(COLUMNS, pictures, strict=True)):
        left = _GAP + k * (_WIDTH + _GAP)
        title = f"task {task}: {name}" if k == 0 else name
        cv2.putText(canvas, title, (left, _BAR - 8), cv2.FONT_HERSHEY_SIMPLEX, 0.55, _INK, 1, cv2.LINE_AA)
        if picture is None:
            cv2.putText(
                canvas,
                "not recorded",
                (left + 9, _BAR + 40),
                cv2.FONT_HERSHEY_SIMPLEX,
                0.6,
                (170, 0, 0),
                1,
                cv2.LINE_AA,
            )
            continue
        shrinking = picture.shape[1] > _WIDTH
        size = (_WIDTH, round(picture.shape[0] * _WIDTH / picture.shape[1]))
        resized = cv2.resize(picture, size, interpolation=cv2.INTER_AREA if shrinking else cv2.INTER_CUBIC)
        canvas[_BAR : _BAR + size[1], left : left + _WIDTH] = resized
    return canvas
