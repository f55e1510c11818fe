"""A task's answer drawn into its image."""

from __future__ import annotations

import colorsys

import cv2
import numpy as np
from numpy.typing import NDArray

from cldyn_core.types import Detections, LabelMap, SaliencyMap, TaskOutput

Image = NDArray[np.uint8]

_FONT = cv2.FONT_HERSHEY_SIMPLEX
_TINT = 0.45


def draw_answer(fused: Image, output: TaskOutput) -> Image:
    """(H, W, 3) uint8 RGB -> new picture of that size with labeled boxes, or tinted by label or saliency map."""
    picture = fused.copy()
    if isinstance(output, LabelMap):
        picture = _blend(picture, palette(256)[output.classes], output.classes > 0)
    elif isinstance(output, SaliencyMap):
        heat = cv2.applyColorMap(output.values, cv2.COLORMAP_INFERNO)[..., ::-1]
        picture = _blend(picture, np.ascontiguousarray(heat, np.uint8), output.values > 32)
    elif isinstance(output, Detections):
        _draw_boxes(picture, output)
    return picture


def palette(count: int) -> Image:
    """(count, 3) uint8 RGB: index 0 is gray, the others are saturated hues that differ from their neighbors'."""
    hues = [(0.03 + 0.618034 * k) % 1.0 for k in range(count)]
    colors = [colorsys.hsv_to_rgb(hue, 0.75, 1.0) for hue in hues]
    table: Image = np.rint(np.array(colors) * 255).astype(np.uint8)
    table[0] = 128
    return table


def class_color(label: int) -> tuple[int, int, int]:
    """RGB of a detection class."""
    r, g, b = palette(label + 2)[label + 1].tolist()
    return r, g, b


def _blend(picture: Image, colors: Image, where: NDArray[np.bool_]) -> Image:
    if colors.shape != picture.shape:  # an answer of another resolution must not take the picture down
        size = (picture.shape[1], picture.shape[0])
        colors = np.asarray(cv2.resize(colors, size, interpolation=cv2.INTER_NEAREST), np.uint8)
        where = cv2.resize(where.astype(np.uint8), size, interpolation=cv2.INTER_NEAREST).astype(bool)
    mixed = cv2.addWeighted(picture, 1 - _TINT, colors, _TINT, 0)
    return np.where(where[..., None], mixed, picture)


def _draw_boxes(picture: Image, found: Detections) -> None:
    height, width = picture.shape[:2]
    scale = max(0.35, min(height, width) / 1000)
    line = 1 if min(height, width) < 400 else 2
    for box, score, label in zip(found.boxes, found.scores, found.labels, strict=True):
        x1, y1, x2, y2 = (round(v) for v in np.clip(box, 0, [width - 1, height - 1] * 2).tolist())
        color = class_color(int(label))
        cv2.rectangle(picture, (x1, y1), (x2, y2), color, line)
        text = f"{found.names[int(label)]} {score:.2f}"
        (text_width, text_height), _ = cv2.getTextSize(text, _FONT, scale, 1)
        left = max(0, min(x1, width - text_width - 2))
        top = y1 - text_height - 4 if y1 > text_height + 4 else y1  # inside the box where there is no room above
        cv2.rectangle(picture, (left, top), (left + text_width + 2, top + text_height + 4), color, cv2.FILLED)
        cv2.putText(picture, text, (left + 1, top + text_height + 1), _FONT, scale, (0, 0, 0), 1, cv2.LINE_AA)
