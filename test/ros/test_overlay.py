"""The debug picture."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest

from cldyn_core.drawing import class_color, palette
from cldyn_core.types import Detections, LabelMap, SaliencyMap
from cldyn_ros.overlay import draw_overlay

CAPTION = "detection | exact | 9.8 Hz | 41 ms"


def detections(*boxes: list[float]) -> Detections:
    count = len(boxes)
    scores = np.full(count, 0.87, np.float32)
    return Detections(np.array(boxes, np.float32).reshape(count, 4), scores, np.arange(count) % 2, ("car", "bus"))


@pytest.mark.parametrize("size", [(1, 1), (24, 32), (96, 128), (480, 640), (1200, 1600)])
def test_any_size_keeps_the_picture_and_gets_a_bar(size: tuple[int, int]) -> None:
    fused = np.full((*size, 3), 77, np.uint8)
    picture = draw_overlay(fused, None, CAPTION)
    assert picture.shape[1:] == (size[1], 3)
    assert size[0] + 14 <= picture.shape[0] <= size[0] + 60
    np.testing.assert_array_equal(picture[: size[0]], fused)
    if size[1] >= 128:
        bar = picture[size[0] :]
        assert bar.max() > 200, "the caption is legible"
        assert bar[:, -3:].max() < 60, "and not cut off"


def test_boxes_are_drawn_in_the_class_color_where_they_are() -> None:
    fused = np.zeros((120, 160, 3), np.uint8)
    picture = draw_overlay(fused, detections([20, 40, 100, 90], [110, 60, 150, 110]), CAPTION)
    assert tuple(picture[90, 60]) == class_color(0)
    assert tuple(picture[110, 130]) == class_color(1)
    assert class_color(0) != class_color(1)
    assert not picture[60, 60].any(), "the inside stays visible"
    assert not fused.any(), "the input is not drawn on"


def test_boxes_outside_the_image_do_no_harm() -> None:
    found = detections([-50, -50, 500, 500], [30, 30, 20, 20], [0, 0, 5, 3], [159, 119, 159, 119])
    assert draw_overlay(np.zeros((120, 160, 3), np.uint8), found, "").shape[1] == 160


def test_label_map_tints_all_but_the_background() -> None:
    fused = np.full((40, 60, 3), 100, np.uint8)
    classes = np.zeros((40, 60), np.uint8)
    classes[:, 30:] = 3
    picture = draw_overlay(fused, LabelMap(classes, ("road",) * 4), "")
    np.testing.assert_array_equal(picture[:40, :30], fused[:, :30])
    tint = picture[20, 45].astype(int) - 100
    assert np.argmax(tint) == np.argmax(palette(4)[3])
    assert np.abs(tint).max() > 20


@pytest.mark.parametrize("shape", [(40, 60), (20, 30)])
def test_saliency_tints_the_salient(shape: tuple[int, int]) -> None:
    """Also when the map has another resolution than the image."""
    values = np.zeros(shape, np.uint8)
    values[:, shape[1] // 2 :] = 255
    fused = np.full((40, 60, 3), 100, np.uint8)
    picture = draw_overlay(fused, SaliencyMap(values), "")
    np.testing.assert_array_equal(picture[:40, :28], fused[:, :28])
    assert np.abs(picture[20, 45].astype(int) - 100).max() > 20


def test_palette_neighbors_differ() -> None:
    table = palette(20).astype(int)
    assert tuple(table[0]) == (128, 128, 128)
    assert min(np.abs(a - b).sum() for a, b in pairwise(table[1:])) > 100
