"""The debug picture: the fused image with the task's answer drawn into it and a caption bar below."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from cldyn_core.drawing import draw_answer
from cldyn_core.types import TaskOutput

Image = NDArray[np.uint8]

_FONT = cv2.FONT_HERSHEY_SIMPLEX


def draw_overlay(fused: Image, output: TaskOutput, caption: str) -> Image:
    """(H, W, 3) uint8 RGB -> new (H + bar, W, 3) picture: the answer as `draw_answer` draws it, and the caption."""
    return _with_caption(draw_answer(fused, output), caption)


def _with_caption(picture: Image, caption: str) -> Image:
    """A dark bar below, so that it hides nothing; the text shrinks to fit a narrow image."""
    height, width = picture.shape[:2]
    scale = max(0.4, min(height, width) / 900)
    text_width = cv2.getTextSize(caption, _FONT, scale, 1)[0][0]
    scale *= min(1.0, (width - 6) / max(text_width, 1)) if width > 40 else 1.0
    text_height = cv2.getTextSize(caption, _FONT, scale, 1)[0][1]
    bar = np.full((max(14, text_height + 8), width, 3), 24, np.uint8)
    cv2.putText(bar, caption, (3, (len(bar) + text_height) // 2), _FONT, scale, (235, 235, 235), 1, cv2.LINE_AA)
    return np.concatenate([picture, bar])
