"""Augmentation geometry, and that both trainers learn."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from cldyn_core.data.transforms import Labelled, random_light, random_view, transform_boxes
from cldyn_core.train.visual import Progress, VisualTraining, sample_batch, train_visual
from cldyn_core.vfn import VFN


def marked(height: int, width: int, box: tuple[int, int, int, int]) -> Labelled:
    image = np.zeros((height, width, 3), np.uint8)
    x0, y0, x1, y1 = box
    image[y0:y1, x0:x1] = 255
    return Labelled(image, np.array([box], np.float32), np.array([2]))


@settings(max_examples=80, deadline=None)
@given(seed=st.integers(0, 10_000), height=st.integers(40, 120), width=st.integers(40, 160))
def test_boxes_follow_the_pixels(seed: int, height: int, width: int) -> None:
    rng = np.random.default_rng(seed)
    x0, y0 = int(rng.integers(0, width - 20)), int(rng.integers(0, height - 20))
    view = random_view(marked(height, width, (x0, y0, x0 + 20, y0 + 16)), (64, 96), rng)
    assert view.image.shape == (64, 96, 3)
    bright = np.argwhere(view.image[..., 0] > 127 + 57)  # the gray outside is 114
    if len(view.boxes):
        (top, left), (bottom, right) = bright.min(0), bright.max(0) + 1
        np.testing.assert_allclose(view.boxes[0], [left, top, right, bottom], atol=2.5)
        assert view.labels.tolist() == [2]


def test_boxes_that_leave_the_view_are_dropped() -> None:
    boxes = np.array([[0, 0, 10, 10], [50, 50, 60, 60], [95, 5, 105, 15]], np.float32)
    shift = np.array([[1.0, 0.0, -8.0], [0.0, 1.0, 0.0]])
    kept, labels = transform_boxes(boxes, np.arange(3), shift, (100, 100))
    assert labels.tolist() == [1, 2]
    np.testing.assert_array_equal(kept, [[42, 50, 52, 60], [87, 5, 97, 15]])


def test_light_changes_brightness_not_shape() -> None:
    image = np.random.default_rng(0).integers(0, 256, (30, 40, 3), np.uint8)
    out = [random_light(image, np.random.default_rng(seed)) for seed in range(5)]
    assert all(o.shape == image.shape and o.dtype == np.uint8 for o in out)
    assert np.std([o.mean() for o in out]) > 3


def test_crops_of_a_batch_stay_registered() -> None:
    rng = np.random.default_rng(0)
    images = [rng.integers(0, 256, (40, 50), np.uint8) for _ in range(3)]
    infrared, luma = sample_batch([(i, 255 - i) for i in images], VisualTraining(batch=6, crop=32), rng)
    assert infrared.shape == (6, 1, 32, 32)
    torch.testing.assert_close(infrared + luma, torch.ones_like(luma))


def test_stage_one_learns_and_is_reproducible() -> None:
    rng = np.random.default_rng(0)
    y, x = np.mgrid[:64, :64]
    waves = [(127 + 120 * np.sin(x / a), 127 + 120 * np.cos(y / b)) for a, b in rng.uniform(3, 9, (4, 2))]
    pairs = [(a.astype(np.uint8), b.astype(np.uint8)) for a, b in waves]
    runs = []
    for _ in range(2):
        torch.manual_seed(0)
        history: list[Progress] = []
        vfn = train_visual(VFN(1), pairs, VisualTraining(steps=40, batch=4, crop=32, report_every=10), history.append)
        runs.append([p.loss for p in history])
        assert not vfn.training
    assert runs[0] == runs[1]
    assert runs[0][-1] < 0.8 * runs[0][0]
    with pytest.raises(ValueError, match="at least 128 pixels"):
        train_visual(VFN(1), pairs, VisualTraining())


def test_the_detector_learns_one_picture() -> None:
    pytest.importorskip("ultralytics", reason="the detector's optional package is not installed")
    from cldyn_core.tasks.detection import Detector
    from cldyn_core.train.tasks import DetectorTraining, train_detector

    torch.manual_seed(0)
    sample = marked(64, 64, (16, 20, 44, 50))
    losses: list[float] = []
    detector = Detector()
    recipe = DetectorTraining(steps=20, batch=2, size=(64, 64), warmup=2, report_every=5)
    train_detector(detector, lambda _rng: sample, recipe, lambda p, _m: losses.append(p.loss))
    assert losses[-1] < 0.9 * losses[0]
    assert not detector.model.training
