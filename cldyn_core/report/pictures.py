"""Pictures of a comparison: difference maps, enlarged crops, drawn boxes, WebP files."""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np
from numpy.typing import NDArray

from cldyn_core.report.model import Comparison, Panel

Image = NDArray[np.uint8]
"""(H, W, 3) RGB."""

PAGE_WIDTH = 1024
"""Panels in the page are at most so many pixels wide."""
FILE_WIDTH = 1600
"""Panels and crops stored as files are at most so many pixels wide."""
_CROP_WIDTH = 360
_QUALITY = 92

CROP_COLORS = ("#ffd43b", "#22d3ee", "#ff6bd6", "#a3e635")
_BOX_COLORS = ("#ff922b", "#4dabf7", "#69db7c", "#da77f2", "#ff8787", "#38d9a9", "#ffe066", "#b197fc")


def difference(a: Image, b: Image, gain: float = 4) -> Image:
    """Signed difference of two images of one shape, uint8: mid-gray where equal, brighter where `a` is brighter."""
    signed = 128 + gain * (a.astype(np.float32) - b.astype(np.float32))
    return np.rint(signed).clip(0, 255).astype(np.uint8)


def label_colors(comparisons: Sequence[Comparison]) -> dict[str, str]:
    """#rrggbb for each label of a box, the same in all comparisons."""
    labels = sorted({box.label for c in comparisons for boxes in c.boxes.values() for box in boxes})
    return {label: _BOX_COLORS[i % len(_BOX_COLORS)] for i, label in enumerate(labels)}


def crop_color(index: int) -> str:
    """#rrggbb of a crop: of its outline in the panels, and of its frame."""
    return CROP_COLORS[index % len(CROP_COLORS)]


def crop_name(index: int) -> str:
    """a, b, c, ..., beside the color."""
    return chr(ord("a") + index % 26)


def at_most(image: Image, width: int) -> Image:
    """The image, made smaller where it is wider."""
    height = max(1, round(image.shape[0] * width / image.shape[1]))
    if image.shape[1] <= width:
        return image
    return np.asarray(cv2.resize(image, (width, height), interpolation=cv2.INTER_AREA), np.uint8)


def enlarged(image: Image, crop: tuple[int, int, int, int]) -> Image:
    """A crop x, y, width, height with every pixel repeated: an interpolation would add halos that nobody fused."""
    x, y, w, h = crop
    times = max(1, round(_CROP_WIDTH / w))
    return at_most(image[y : y + h, x : x + w].repeat(times, axis=0).repeat(times, axis=1), FILE_WIDTH)


def drawn(comparison: Comparison, panel: Panel, colors: dict[str, str]) -> Image:
    """The panel at most FILE_WIDTH wide, with its boxes and the outlines of the crops."""
    picture = at_most(panel.image, FILE_WIDTH).copy()
    scale = picture.shape[1] / panel.image.shape[1]
    for box in comparison.boxes.get(panel.name, ()):
        corners = [scale * edge for edge in (box.x0, box.y0, box.x1, box.y1)]
        draw_box(picture, corners, box.text, colors[box.label])
    for i, (x, y, w, h) in enumerate(comparison.crops):
        corners = [scale * edge for edge in (x, y, x + w, y + h)]
        draw_box(picture, corners, crop_name(i), crop_color(i))
    return picture


def draw_box(picture: Image, corners: Sequence[float], text: str, color: str) -> None:
    """Draw x0, y0, x1, y1 with a text above it, or inside where there is no room above; sizes follow the picture's."""
    height, width = picture.shape[:2]
    rgb = tuple(bytes.fromhex(color[1:]))
    text = text.encode("ascii", "replace").decode()  # OpenCV's letters; it crashes on a lone surrogate
    line = 1 + round(width / 1200)
    x0, y0, x1, y1 = (round(v) for v in np.clip(corners, 0, [width - 1, height - 1] * 2).tolist())
    cv2.rectangle(picture, (x0, y0), (x1, y1), rgb, line)
    font, scale = cv2.FONT_HERSHEY_SIMPLEX, max(0.4, width / 1700)
    (text_width, text_height), below = cv2.getTextSize(text, font, scale, line)
    left = max(0, min(x0, width - text_width - 4))
    bottom = y0 if y0 > text_height + below + 2 else y0 + text_height + below + 2
    top = bottom - text_height - below - 2
    cv2.rectangle(picture, (left, top), (left + text_width + 4, bottom), rgb, cv2.FILLED)
    cv2.putText(picture, text, (left + 2, bottom - below), font, scale, (0, 0, 0), line, cv2.LINE_AA)


def encode(image: Image) -> bytes:
    """WebP, lossy."""
    done, data = cv2.imencode(".webp", image[..., ::-1], [cv2.IMWRITE_WEBP_QUALITY, _QUALITY])
    if not done:
        raise OSError("OpenCV cannot write WebP. Remedy: install opencv-python-headless from PyPI")
    return data.tobytes()
