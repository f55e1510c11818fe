"""How each task's answers are scored: a record an image, figures of many records."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import numpy as np

from cldyn_core.evaluate.figures import Figure, Figures, mean_figure
from cldyn_core.metrics.detection import DetectionFigures, coco_figures, detection_record, precision_recall
from cldyn_core.metrics.saliency import SaliencyFigures, saliency_record
from cldyn_core.metrics.segmentation import SegmentationFigures, segmentation_record
from cldyn_core.report import Column
from cldyn_core.tasks.base import TaskNetwork
from cldyn_core.types import Detections, EngineSettings, LabelMap, SaliencyMap, Task

Records = Sequence[Mapping[str, Any]]


class Judge(ABC):
    """Scores one task."""

    columns: ClassVar[tuple[Column, ...]]
    """The figures of the table, the headline first."""
    of_class: ClassVar[str] = ""
    """What the figures of single classes are; "": there are none."""
    curve: ClassVar[tuple[str, str, str]] = ("", "", "")
    """Title and axes of a curve, a line a method; empty: there is none."""

    def prepare(self, network: TaskNetwork) -> None:  # noqa: B027
        """Set the network to give the answers that are scored."""

    @abstractmethod
    def record(self, answer: Any, target: Any) -> dict[str, Any]:
        """Plain data about one image."""

    @abstractmethod
    def figures(self, records: Records, names: Sequence[str], left_out: Sequence[str] = ()) -> Figures:
        """By key of `columns`. left_out: classes that the means do not count."""

    def of_classes(self, records: Records, names: Sequence[str]) -> dict[str, float]:
        """By name of class, `of_class`; nan where a class does not occur."""
        return {}

    def points(self, records: Records, names: Sequence[str]) -> list[tuple[float, float]]:
        """Of `curve`."""
        return []


class DetectionJudge(Judge):
    """Mean average precision."""

    columns = (
        Column("map50", "mAP@0.5", True, explanation="COCO's, by faster-coco-eval"),
        Column("map", "mAP@0.5:0.95", True, explanation="COCO's, by faster-coco-eval"),
        Column("yolo_map50", "mAP@0.5, YOLO style", True, explanation="as YOLO trainers print it; not COCO's"),
        Column("yolo_map", "mAP@0.5:0.95, YOLO style", True, explanation="as YOLO trainers print it; not COCO's"),
    )
    of_class = "AP@0.5"
    curve = ("Precision and recall at IoU 0.5", "recall", "precision")

    def prepare(self, network: TaskNetwork) -> None:
        """Nearly all detections: a precision-recall curve wants the unsure ones too."""
        network.configure(EngineSettings(detector_confidence=0.001, detector_iou=0.6))

    def record(self, answer: Detections, target: Detections) -> dict[str, Any]:
        """See detection_record."""
        return detection_record(answer, target)

    def figures(self, records: Records, names: Sequence[str], left_out: Sequence[str] = ()) -> Figures:
        """COCO's from the library, resampled by the matches; the YOLO trainers' from the matches, without interval."""
        names = [name for name in names if name not in left_out]
        library, matched = coco_figures(records, names), DetectionFigures(records, names)
        every = np.ones(len(records))
        return {
            **{key: Figure(library[key], matched.statistic(key), len(records)) for key in ("map50", "map")},
            **{key: Figure(matched.statistic(key)(every), None, len(records)) for key in ("yolo_map50", "yolo_map")},
        }

    def of_classes(self, records: Records, names: Sequence[str]) -> dict[str, float]:
        """Average precision at 0.5."""
        found = coco_figures(records, names)
        return {name: found[f"map50/{name}"] for name in names}

    def points(self, records: Records, names: Sequence[str]) -> list[tuple[float, float]]:
        """See precision_recall."""
        return precision_recall(records, names)


class SegmentationJudge(Judge):
    """Mean intersection over union of the whole set."""

    columns = (
        Column("miou", "mIoU", True, explanation="one confusion matrix of all pixels, over the classes that occur"),
        Column("miou_truth", "mIoU, classes of the truth", True, explanation="over the classes that the truths have"),
        Column("accuracy", "Pixel accuracy", True),
    )
    of_class = "IoU"

    def record(self, answer: LabelMap, target: LabelMap) -> dict[str, Any]:
        """See segmentation_record."""
        return segmentation_record(answer, target)

    def figures(self, records: Records, names: Sequence[str], left_out: Sequence[str] = ()) -> Figures:
        """See SegmentationFigures."""
        found = SegmentationFigures(records, names, left_out)
        values = found.figures()
        keys = [column.key for column in self.columns]
        return {key: Figure(values[key], found.statistic(key), len(records)) for key in keys}

    def of_classes(self, records: Records, names: Sequence[str]) -> dict[str, float]:
        """Intersection over union."""
        values = SegmentationFigures(records, names).figures()
        return {name: values[f"iou/{name}"] for name in names}


class SaliencyJudge(Judge):
    """F-measure, E-measure, S-measure and error of saliency maps."""

    columns = (
        Column("f_mean", "mF, mean", True, explanation="beta squared 0.3, mean over 256 thresholds"),
        Column("f_adaptive", "mF, adaptive", True, explanation="threshold: twice the map's mean"),
        Column("f_max", "mF, max", True, explanation="best of 256 thresholds"),
        Column("e_mean", "Em, mean", True, explanation="mean over 256 thresholds"),
        Column("e_adaptive", "Em, adaptive", True, explanation="threshold: twice the map's mean"),
        Column("e_max", "Em, max", True, explanation="best of 256 thresholds"),
        Column("s_measure", "S-measure", True),
        Column("mae", "MAE", False, explanation="of the map stretched to its own minimum and maximum"),
    )
    curve = ("F-measure by threshold", "threshold", "F-measure")

    def record(self, answer: SaliencyMap, target: SaliencyMap) -> dict[str, Any]:
        """See saliency_record."""
        return saliency_record(answer, target)

    def figures(self, records: Records, names: Sequence[str], left_out: Sequence[str] = ()) -> Figures:
        """Means of the images, where the figure is one, can be tested image by image."""
        found = SaliencyFigures(records)
        values = found.figures()
        single = {"f_adaptive": "f_adaptive", "e_adaptive": "e_adaptive", "s_measure": "s", "mae": "mae"}
        return {
            key: mean_figure([record[single[key]] for record in records])
            if key in single
            else Figure(value, found.statistic(key), len(records))
            for key, value in values.items()
        }

    def points(self, records: Records, names: Sequence[str]) -> list[tuple[float, float]]:
        """F-measure at every threshold."""
        curve = np.mean([record["f"] for record in records], axis=0)
        return [(float(len(curve) - 1 - i), float(value)) for i, value in enumerate(curve)]


_JUDGES: dict[Task, Judge] = {
    Task.DETECTION: DetectionJudge(),
    Task.SEGMENTATION: SegmentationJudge(),
    Task.SALIENCY: SaliencyJudge(),
}


def judge_of(task: Task) -> Judge:
    """The one of a task (not none)."""
    return _JUDGES[task]
