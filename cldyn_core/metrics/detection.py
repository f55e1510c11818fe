"""Average precision of detections: COCO's, by faster-coco-eval, and as the YOLO trainers print it.

Both take IoU thresholds 0.5 to 0.95 and 101 points of recall. COCO's matches detections by score, at most 100 a class
and image, and takes the precision at each point; the other matches by overlap and integrates between the points. Their
figures of the same detections differ, so a table must say which one it shows. The YOLO trainers' has no limit of 100,
but a least score of 0.001.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from math import nan
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cldyn_core.data.labels import class_index
from cldyn_core.metrics.average_precision import (
    Matches,
    Scene,
    at_recall_points,
    by_overlap,
    by_score,
    integrated,
    match,
)
from cldyn_core.metrics.statistics import Statistic, Weights
from cldyn_core.types import Detections

_MOST = 100  # detections of a class in an image (COCO)
_LEAST_SCORE = 0.001  # YOLO trainers

Record = Mapping[str, Any]


def detection_record(found: Detections, truth: Detections) -> dict[str, Any]:
    """One image, as plain data: truths [class, x0, y0, x1, y1], detections [class, score, x0, y0, x1, y1], and the
    classes that the image was annotated for (None: all).

    Classes are names, as the ground truth has them where it knows the class (`class_index`: "person" is "People").
    """
    indices = [class_index(name, truth.names) for name in found.names]
    names = [name if i is None else truth.names[i] for name, i in zip(found.names, indices, strict=True)]
    truths = [[truth.names[label], *box] for label, box in zip(truth.labels, truth.boxes.tolist(), strict=True)]
    rows = zip(found.labels, found.scores.tolist(), found.boxes.tolist(), strict=True)
    detections = [[names[label], score, *box] for label, score, box in rows]
    annotated = None if truth.annotated is None else [truth.names[label] for label in truth.annotated]
    return {"truths": truths, "found": detections, "annotated": annotated}


def coco_figures(records: Sequence[Record], names: Sequence[str]) -> dict[str, float]:
    """map (0.5:0.95), map50, and "map/<class>", "map50/<class>" by faster-coco-eval; nan without a truth. How
    many boxes enter: "truths/<class>", "detections/<class>".

    Detections of a class that an image was not annotated for do not count.
    """
    truths, found = _as_coco(records, names)
    precision = _precision(truths, found).mean(1)
    present = precision[:, ~np.isnan(precision[0])]
    means = (present.mean(), present[0].mean()) if present.size else (nan, nan)
    figures = {"map": float(means[0]), "map50": float(means[1])}
    for i, name in enumerate(names):
        figures |= {f"map/{name}": float(precision[:, i].mean()), f"map50/{name}": float(precision[0, i])}
    for kind, boxes in (("truths", truths["annotations"]), ("detections", found)):
        counts = np.bincount([box["category_id"] for box in boxes], minlength=len(names) + 1)[1:]
        figures |= {f"{kind}/{name}": float(count) for name, count in zip(names, counts, strict=True)}
    return figures


def precision_recall(records: Sequence[Record], names: Sequence[str]) -> list[tuple[float, float]]:
    """(recall, precision) at COCO's 101 recalls and IoU 0.5, mean over the classes that have truths."""
    precision = _precision(*_as_coco(records, names))[0]
    present = precision[:, ~np.isnan(precision[0])]
    recalls = np.linspace(0.0, 1.0, len(precision))
    return list(zip(recalls.tolist(), present.mean(1).tolist(), strict=True)) if present.size else []


class DetectionFigures:
    """Figures of resampled images: matched once, then only counted. Equal to `coco_figures` for equal weights."""

    def __init__(self, records: Sequence[Record], names: Sequence[str]) -> None:
        self._coco: list[Matches] = []
        self._yolo: list[Matches] = []
        for name in names:
            found = [_found(record, name) for record in records]
            sure = [[row for row in rows if row[1] >= _LEAST_SCORE] for rows in found]
            for tables, of_images, rule in (
                (self._coco, [rows[:_MOST] for rows in found], by_score),
                (self._yolo, sure, by_overlap),
            ):
                scenes = [_scene(rows, record, name) for rows, record in zip(of_images, records, strict=True)]
                tables.append(match(scenes, rule))

    def statistic(self, key: str) -> Statistic:
        """Of weighted images: "map", "map50", "yolo_map" or "yolo_map50"."""
        tables, precision = (self._yolo, integrated) if key.startswith("yolo_") else (self._coco, at_recall_points)
        kept = slice(0, 1) if key.endswith("50") else slice(None)

        def figure(weights: Weights) -> float:
            of_classes = [precision(table, weights, kept) for table in tables]
            known = [value for value in of_classes if not np.isnan(value)]
            return float(np.mean(known)) if known else nan

        return figure


def _precision(truths: dict[str, Any], found: list[dict[str, Any]]) -> NDArray[np.float64]:
    """(10 thresholds, 101 recalls, classes); nan for a class without truths."""
    from faster_coco_eval import COCO, COCOeval_faster

    ground = COCO(truths)
    judged = COCOeval_faster(ground, ground.loadRes(found), "bbox", print_function=lambda *_: None)
    judged.evaluate()
    judged.accumulate()
    precision = judged.eval["precision"][:, :, :, 0, -1]
    return np.where(precision < 0, nan, precision)


def _found(record: Record, name: str) -> list[list[Any]]:
    """Detections of a class that count, best first: those with an area."""
    if record["annotated"] is not None and name not in record["annotated"]:
        return []
    rows = [row for row in record["found"] if row[0] == name and row[4] > row[2] and row[5] > row[3]]
    return sorted(rows, key=lambda row: -row[1])


def _scene(rows: list[list[Any]], record: Record, name: str) -> Scene:
    truths = np.array([row[1:] for row in record["truths"] if row[0] == name], np.float64).reshape(-1, 4)
    boxes = np.array([row[2:] for row in rows], np.float64).reshape(-1, 4)
    return Scene(boxes, np.array([row[1] for row in rows], np.float64), truths)


def _as_coco(records: Sequence[Record], names: Sequence[str]) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """Ground truth and results in COCO's JSON form."""
    number = {name: i + 1 for i, name in enumerate(names)}
    annotations: list[dict[str, Any]] = []
    found = []
    for image, record in enumerate(records, start=1):
        for name, *corners in (row for row in record["truths"] if row[0] in number):
            box = _as_xywh(corners)
            entry = {"image_id": image, "category_id": number[name], "bbox": box, "area": box[2] * box[3]}
            annotations.append({**entry, "id": len(annotations) + 1, "iscrowd": 0})
        for name in names:
            for _, score, *corners in _found(record, name)[:_MOST]:
                entry = {"image_id": image, "category_id": number[name], "bbox": _as_xywh(corners), "score": score}
                found.append(entry)
    images = [{"id": image} for image in range(1, len(records) + 1)]
    categories = [{"id": i, "name": name} for name, i in number.items()]
    return {"images": images, "annotations": annotations, "categories": categories}, found


def _as_xywh(corners: Sequence[float]) -> list[float]:
    x0, y0, x1, y1 = corners
    return [x0, y0, x1 - x0, y1 - y0]
