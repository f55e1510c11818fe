"""mIoU equals torchmetrics' over a set; by hand; ignored pixels, classes left out, errors."""

from __future__ import annotations

import json
from math import isnan
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from cldyn_core.data.synthetic import SEMANTIC_CLASSES
from cldyn_core.metrics.segmentation import FMB_LEFT_OUT, SegmentationFigures, segmentation_record
from cldyn_core.packages import import_torchmetrics
from cldyn_core.types import IGNORED, LabelMap

NAMES = ("background", "road", "car", "kite")


def label_map(rows: Any, names: tuple[str, ...] = NAMES) -> LabelMap:
    return LabelMap(np.array(rows, np.uint8), names)


def random_set(seed: int, count: int = 6) -> list[tuple[LabelMap, LabelMap]]:
    """Answers and truths of three of the four classes, some pixels ignored."""
    rng = np.random.default_rng(seed)
    pairs = []
    for _ in range(count):
        truth = rng.integers(0, 3, (20, 30))
        answer = np.where(rng.random(truth.shape) < 0.7, truth, rng.integers(0, 3, truth.shape))
        truth[rng.random(truth.shape) < 0.1] = IGNORED
        pairs.append((label_map(answer), label_map(truth)))
    return pairs


def figures(pairs: list[tuple[LabelMap, LabelMap]], left_out: tuple[str, ...] = ()) -> dict[str, float]:
    return SegmentationFigures([segmentation_record(*pair) for pair in pairs], NAMES, left_out).figures()


@pytest.mark.parametrize("left_out", [(), ("background",)])
def test_equals_torchmetrics(left_out: tuple[str, ...]) -> None:
    pytest.importorskip("lightning_utilities")
    classification = import_torchmetrics("torchmetrics.classification")
    pairs = random_set(0)
    answers, truths = (torch.from_numpy(np.stack([p[i].classes for p in pairs]).astype(np.int64)) for i in (0, 1))
    ignored = IGNORED
    if left_out:  # torchmetrics ignores one class only
        truths, ignored = torch.where(truths == IGNORED, 0, truths), 0
    metric = classification.MulticlassJaccardIndex(len(NAMES), average="macro", ignore_index=ignored)
    assert figures(pairs, left_out)["miou"] == pytest.approx(float(metric(answers, truths)), abs=1e-6)


def test_by_hand() -> None:
    found = figures([(label_map([[0, 1, 1, 1]]), label_map([[0, 0, 1, IGNORED]]))])
    assert found["iou/background"] == pytest.approx(1 / 2)
    assert found["iou/road"] == pytest.approx(1 / 2)
    assert isnan(found["iou/car"]) and isnan(found["iou/kite"])
    assert found["miou"] == pytest.approx(1 / 2)
    assert found["accuracy"] == pytest.approx(2 / 3)


def test_a_class_that_is_only_answered_counts_as_zero() -> None:
    found = figures([(label_map([[0, 2]]), label_map([[0, 0]]))])
    assert found["iou/car"] == 0.0
    assert found["miou"] == pytest.approx((1 / 2 + 0) / 2)
    assert found["miou_truth"] == pytest.approx(1 / 2)


def test_the_set_is_one_matrix_not_a_mean_of_images() -> None:
    pairs = [
        (label_map([[0, 0, 0, 0]]), label_map([[0, 0, 0, 0]])),
        (label_map([[0]]), label_map([[1]])),
    ]
    assert figures(pairs)["iou/background"] == pytest.approx(4 / 5)


def test_weights_are_repeated_images() -> None:
    pairs = random_set(1)
    weights = [2, 0, 1, 3, 0, 1]
    repeated = [pair for pair, times in zip(pairs, weights, strict=True) for _ in range(times)]
    counted = SegmentationFigures([segmentation_record(*pair) for pair in pairs], NAMES)
    for key in ("miou", "accuracy"):
        assert counted.statistic(key)(np.array(weights, np.float64)) == pytest.approx(figures(repeated)[key])


@given(st.integers(0, 2**32 - 1))
def test_swapping_answer_and_truth_keeps_the_figures(seed: int) -> None:
    rng = np.random.default_rng(seed)
    a, b = label_map(rng.integers(0, 4, (5, 6))), label_map(rng.integers(0, 4, (5, 6)))
    assert figures([(a, b)]) == pytest.approx(figures([(b, a)]), nan_ok=True)
    assert figures([(a, a)])["miou"] == 1.0


def test_what_fmb_tables_leave_out() -> None:
    for count, left_out in FMB_LEFT_OUT.items():
        assert set(left_out) <= set(SEMANTIC_CLASSES)
        assert len(SEMANTIC_CLASSES) - len(left_out) == count
    pairs = [(label_map([[0, 1, 2]]), label_map([[0, 1, 1]]))]
    assert figures(pairs)["miou"] == pytest.approx((1 + 1 / 2 + 0) / 3)
    assert figures(pairs, ("background",))["miou"] == pytest.approx((1 / 2 + 0) / 2)


def test_nothing_known_is_nan() -> None:
    found = figures([(label_map([[0, 1]]), label_map([[IGNORED, IGNORED]]))])
    assert isnan(found["miou"]) and isnan(found["accuracy"])
    assert isnan(figures([])["miou"])


def test_records_are_plain_data() -> None:
    record = segmentation_record(*random_set(2, 1)[0])
    assert json.loads(json.dumps(record)) == record


def test_maps_that_do_not_fit_are_refused() -> None:
    with pytest.raises(ValueError, match="ground truth"):
        segmentation_record(label_map([[0, 1]]), label_map([[0], [1]]))
    with pytest.raises(ValueError, match="classes"):
        segmentation_record(label_map([[0]], ("road",)), label_map([[0]]))
