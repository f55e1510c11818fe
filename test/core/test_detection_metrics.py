"""mAP equals pycocotools'; resampled figures equal those of repeated images; the YOLO-style one equals hand-made and
ultralytics' figures; classes go by name, those without annotation do not count.
"""

from __future__ import annotations

import contextlib
import io
import json
from collections.abc import Sequence
from math import isnan
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from cldyn_core.metrics.detection import DetectionFigures, coco_figures, detection_record
from cldyn_core.types import Detections

pytest.importorskip("faster_coco_eval")

NAMES = ("person", "car", "bus", "kite")
KEYS = ("map", "map50")
SQUARE = (10.0, 10.0, 20.0, 20.0)
AWAY = (100.0, 100.0, 120.0, 120.0)


def detections(rows: Sequence[Any], names: tuple[str, ...] = NAMES, annotated: Any = None) -> Detections:
    """Rows of class, score, x1, y1, x2, y2."""
    array = np.array(rows, np.float64).reshape(-1, 6)
    array = array[np.argsort(-array[:, 1], kind="stable")]
    boxes, scores = array[:, 2:].astype(np.float32), array[:, 1].astype(np.float32)
    return Detections(boxes, scores, array[:, 0].astype(np.int64), names, annotated)


def random_image(rng: np.random.Generator, extra: int = 6) -> tuple[Detections, Detections]:
    """Answer and truth of up to 7 boxes of three of the four classes; no two scores are equal."""
    count = int(rng.integers(0, 8))
    corners = rng.uniform(0, 200, (count, 2))
    truth = np.hstack((corners, corners + rng.uniform(10, 80, (count, 2))))
    labels = rng.integers(0, 3, count)
    near = np.repeat(truth, 2, axis=0) + rng.normal(0, 4, (2 * count, 4))
    far = rng.uniform(0, 200, (extra, 2))
    found = np.vstack((near, np.hstack((far, far + 30))))
    classes = np.concatenate((np.repeat(labels, 2), rng.integers(0, 4, extra)))
    scores = rng.random(len(found))
    answer = detections(np.column_stack((classes, scores, found)))
    return answer, detections(np.column_stack((labels, np.ones(count), truth)))


def images(count: int, seed: int = 0, extra: int = 6) -> list[tuple[Detections, Detections]]:
    rng = np.random.default_rng(seed)
    return [random_image(rng, extra) for _ in range(count)]


def records(pairs: Sequence[tuple[Detections, Detections]]) -> list[dict[str, Any]]:
    return [detection_record(*pair) for pair in pairs]


def one(answer: Sequence[Any], truth: Sequence[Any], **kwargs: Any) -> list[dict[str, Any]]:
    return [detection_record(detections(answer), detections(truth, **kwargs))]


def whole(rows: Sequence[dict[str, Any]], key: str) -> float:
    return DetectionFigures(rows, NAMES).statistic(key)(np.ones(len(rows)))


def pycocotools_precision(pairs: Sequence[tuple[Detections, Detections]]) -> NDArray[np.float64]:
    """(10, classes) average precision, nan without a truth."""
    coco = pytest.importorskip("pycocotools.coco")
    evaluation = pytest.importorskip("pycocotools.cocoeval")
    truths, found = [], []
    for image, (answer, truth) in enumerate(pairs, start=1):
        for rows, boxes in ((found, answer), (truths, truth)):
            for (x1, y1, x2, y2), label, score in zip(
                boxes.boxes.tolist(), boxes.labels.tolist(), boxes.scores.tolist(), strict=True
            ):
                box = [x1, y1, x2 - x1, y2 - y1]
                rows.append({"image_id": image, "category_id": label + 1, "bbox": box, "score": score})
    for number, row in enumerate(truths, start=1):
        row |= {"id": number, "area": row["bbox"][2] * row["bbox"][3], "iscrowd": 0}
    with contextlib.redirect_stdout(io.StringIO()):
        ground = coco.COCO()
        ground.dataset = {
            "images": [{"id": i} for i in range(1, len(pairs) + 1)],
            "annotations": truths,
            "categories": [{"id": i} for i in range(1, len(NAMES) + 1)],
        }
        ground.createIndex()
        judged = evaluation.COCOeval(ground, ground.loadRes(found), "bbox")
        judged.evaluate()
        judged.accumulate()
    precision = judged.eval["precision"][:, :, :, 0, -1]
    return np.where(precision < 0, np.nan, precision).mean(1)


@pytest.mark.parametrize("extra", [6, 150])
def test_equals_pycocotools(extra: int) -> None:
    pairs = images(20, extra=extra)  # 150: more than the 100 of a class that COCO counts, in the first class alone
    expected = pycocotools_precision(pairs)
    found = coco_figures(records(pairs), NAMES)
    assert found["map"] == pytest.approx(np.nanmean(expected), abs=1e-9)
    assert found["map50"] == pytest.approx(np.nanmean(expected[0]), abs=1e-9)
    for i, name in enumerate(NAMES):
        assert found[f"map/{name}"] == pytest.approx(expected[:, i].mean(), abs=1e-9, nan_ok=True)
        assert found[f"map50/{name}"] == pytest.approx(expected[0, i], abs=1e-9, nan_ok=True)
    assert isnan(found["map/kite"])


@pytest.mark.parametrize("key", KEYS)
def test_counted_figures_equal_the_library(key: str) -> None:
    rows = records(images(40, seed=1))
    assert whole(rows, key) == pytest.approx(coco_figures(rows, NAMES)[key], abs=1e-9)


def test_more_than_a_hundred_of_a_class_do_not_count() -> None:
    crowd = [(0, 1 - i / 1000, *AWAY) for i in range(100)]
    rows = one([*crowd, (0, 0.1, *SQUARE)], [(0, 1, *SQUARE)])
    assert whole(rows, "map") == coco_figures(rows, NAMES)["map"] == 0.0


@pytest.mark.parametrize("key", KEYS)
def test_weights_are_repeated_images(key: str) -> None:
    rows = records(images(25, seed=2))
    drawn = np.sort(np.random.default_rng(3).integers(0, 25, 25))
    weights = np.bincount(drawn, minlength=25).astype(np.float64)
    assert weights.max() > 1 and not weights.all()
    figure = DetectionFigures(rows, NAMES).statistic(key)
    assert figure(weights) == pytest.approx(coco_figures([rows[i] for i in drawn], NAMES)[key], abs=1e-9)


@pytest.mark.parametrize("key", ["yolo_map", "yolo_map50"])
def test_weights_are_repeated_images_in_yolo_style(key: str) -> None:
    rows = records(images(25, seed=4))
    drawn = np.sort(np.random.default_rng(5).integers(0, 25, 25))
    figure = DetectionFigures(rows, NAMES).statistic(key)
    assert figure(np.bincount(drawn, minlength=25).astype(np.float64)) == pytest.approx(
        whole([rows[i] for i in drawn], key), abs=1e-9
    )


@pytest.mark.parametrize("key", [*KEYS, "yolo_map", "yolo_map50"])
def test_perfect_missing_and_wrong(key: str) -> None:
    truth = [(0, 1, *SQUARE), (1, 1, *AWAY)]
    assert whole(one([(0, 0.9, *SQUARE), (1, 0.8, *AWAY)], truth), key) == pytest.approx(1.0, abs=6e-3)
    assert whole(one([], truth), key) == 0.0
    assert whole(one([(0, 0.9, *AWAY)], truth), key) == 0.0
    assert isnan(whole(one([(0, 0.9, *SQUARE)], []), key))


def test_hand_made_cases() -> None:
    two = [(0, 1, *SQUARE), (0, 1, *AWAY)]
    found_one = one([(0, 0.9, *SQUARE)], two)  # recall 0.5 at precision 1
    assert whole(found_one, "map50") == pytest.approx(51 / 101)  # recalls 0, 0.01 ... 0.5
    assert whole(found_one, "yolo_map50") == pytest.approx(0.495)  # 49 strips of 1; that from 0.49 ends at the fall
    wrong_first = one([(0, 0.9, 50, 50, 60, 60), (0, 0.8, *SQUARE)], [(0, 1, *SQUARE)])
    assert whole(wrong_first, "map50") == pytest.approx(0.5)
    half = one([(0, 0.9, 10, 10, 20, 16)], [(0, 1, *SQUARE)])  # IoU 0.6: right at 0.5, 0.55 and 0.6
    assert whole(half, "map") == pytest.approx(coco_figures(half, NAMES)["map"])
    assert 0.2 <= whole(half, "map") <= 0.3


def test_uncertain_detections_do_not_enter_the_yolo_figure() -> None:
    rows = one([(0, 0.0009, *SQUARE)], [(0, 1, *SQUARE)])
    assert whole(rows, "yolo_map50") == 0.0
    assert whole(rows, "map50") == 1.0


def test_yolo_style_gives_a_detection_one_choice() -> None:
    near, beside = (0, 1, *SQUARE), (0, 1, 13, 10, 23, 20)  # they overlap by 70 of 130
    rows = one([(0, 0.9, *SQUARE), (0, 0.8, 11, 10, 21, 20)], [near, beside])
    # The second fits the taken truth best (90 of 110) and the other well enough (80 of 120): COCO gives it that one.
    assert whole(rows, "map50") == 1.0
    assert whole(rows, "yolo_map50") == pytest.approx(0.495)


def test_yolo_area_equals_ultralytics() -> None:
    """Of one right or wrong detection an image there is nothing to match, so only the area is compared."""
    metrics = pytest.importorskip("ultralytics.utils.metrics")
    rng = np.random.default_rng(6)
    right, score = rng.random(60) < 0.6, rng.random(60).astype(np.float32)
    rows = [one([(0, s, *(SQUARE if r else AWAY))], [(0, 1, *SQUARE)])[0] for r, s in zip(right, score, strict=True)]
    tp = np.repeat(right[:, None], 10, axis=1)
    precision = metrics.ap_per_class(tp, score, np.zeros(60), np.zeros(60))[5]
    assert whole(rows, "yolo_map") == pytest.approx(precision.mean(), abs=1e-9)


def test_classes_without_annotation_do_not_count() -> None:
    answer = [(0, 0.9, *SQUARE), (1, 0.95, *AWAY)]
    other = one([(1, 0.5, *SQUARE)], [(1, 1, *SQUARE)])
    seen = one(answer, [(0, 1, *SQUARE)]) + other
    unseen = one(answer, [(0, 1, *SQUARE)], annotated=(0,)) + other
    assert coco_figures(seen, NAMES)["map50/car"] == pytest.approx(0.5)
    assert coco_figures(unseen, NAMES)["map50/car"] == pytest.approx(1.0)
    assert [coco_figures(rows, NAMES)["detections/car"] for rows in (seen, unseen)] == [2.0, 1.0]
    assert coco_figures(seen, NAMES)["truths/car"] == coco_figures(unseen, NAMES)["truths/car"] == 1.0
    assert whole(seen, "map50") == pytest.approx(0.75) and whole(unseen, "map50") == pytest.approx(1.0)


def test_classes_go_by_name() -> None:
    answer = detections([(1, 0.9, *SQUARE)], names=("kite", "pedestrian"))
    rows = [detection_record(answer, detections([(0, 1, *SQUARE)]))]
    assert whole(rows, "map50") == coco_figures(rows, NAMES)["map50"] == pytest.approx(1.0)


def test_records_are_plain_data() -> None:
    rows = records(images(5, seed=7))
    again = json.loads(json.dumps(rows))
    assert again == rows and coco_figures(again, NAMES)["map"] == coco_figures(rows, NAMES)["map"]


def test_without_images_or_answers() -> None:
    assert isnan(coco_figures([], NAMES)["map"])
    silent = coco_figures(one([], [(0, 1, *SQUARE)]), NAMES)
    assert silent["map"] == silent["map50/person"] == 0.0 and isnan(silent["map50/car"])
