"""Maps of images, boxes and light."""

from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from truth import boxes

from cldyn_core.data.pair_views import random_crop, random_pair_view
from cldyn_core.data.transforms import random_light, transform_boxes
from cldyn_core.types import Detections, LabelledPair


def marked(height: int, width: int, box: tuple[int, int, int, int]) -> LabelledPair:
    image = np.zeros((height, width), np.uint8)
    x0, y0, x1, y1 = box
    image[y0:y1, x0:x1] = 255
    return LabelledPair(np.repeat(image[..., None], 3, 2), image, boxes((*box, 2)))


@settings(max_examples=80, deadline=None)
@given(seed=st.integers(0, 10_000), height=st.integers(40, 120), width=st.integers(40, 160))
def test_boxes_follow_the_pixels(seed: int, height: int, width: int) -> None:
    rng = np.random.default_rng(seed)
    x0, y0 = int(rng.integers(0, width - 20)), int(rng.integers(0, height - 20))
    view = random_pair_view(marked(height, width, (x0, y0, x0 + 20, y0 + 16)), (64, 96), rng)
    assert view.visible.shape == (64, 96, 3)
    assert isinstance(view.target, Detections)
    bright = np.argwhere(view.visible[..., 0] > 127 + 57)  # the gray outside is 114
    if len(view.target.boxes):
        (top, left), (bottom, right) = bright.min(0), bright.max(0) + 1
        np.testing.assert_allclose(view.target.boxes[0], [left, top, right, bottom], atol=2.5)
        assert view.target.labels.tolist() == [2]


def test_boxes_that_leave_the_view_are_dropped() -> None:
    corners = np.array([[0, 0, 10, 10], [50, 50, 60, 60], [95, 5, 105, 15]], np.float32)
    shift = np.array([[1.0, 0.0, -8.0], [0.0, 1.0, 0.0]])
    kept, labels = transform_boxes(corners, np.arange(3), shift, (100, 100))
    assert labels.tolist() == [1, 2]
    np.testing.assert_array_equal(kept, [[42, 50, 52, 60], [87, 5, 97, 15]])


def test_light_changes_brightness_not_shape() -> None:
    image = np.random.default_rng(0).random((30, 40, 3)).astype(np.float32)
    out = [random_light(image, np.random.default_rng(seed)) for seed in range(5)]
    assert all(o.shape == image.shape and o.dtype == np.float32 and 0 <= o.min() <= o.max() <= 1 for o in out)
    assert np.std([o.mean() for o in out]) > 0.01


@settings(max_examples=40, deadline=None)
@given(seed=st.integers(0, 10_000), height=st.integers(10, 60), width=st.integers(10, 60))
def test_crops_stay_registered_and_small_pairs_are_enlarged(seed: int, height: int, width: int) -> None:
    rng = np.random.default_rng(seed)
    infrared = rng.integers(0, 256, (height, width), np.uint8)
    crop = random_crop(LabelledPair(np.repeat(255 - infrared[..., None], 3, 2), infrared), (32, 32), rng)
    assert crop.infrared.shape == (32, 32)
    assert np.abs(crop.visible[..., 0].astype(int) + crop.infrared - 255).max() <= 1
