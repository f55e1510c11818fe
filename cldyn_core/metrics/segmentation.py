"""Intersection over union of label maps, over the whole set: one confusion matrix of all pixels."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from math import nan
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cldyn_core.metrics.statistics import Statistic, Weights
from cldyn_core.types import IGNORED, LabelMap

FMB_LEFT_OUT: Mapping[int, tuple[str, ...]] = {
    15: (),
    14: ("background",),
    13: ("background", "bicycle"),
}
"""What tables of the FMB set leave out, by how many classes they count: nothing; the unlabelled pixels, leaving the
set's own 14 classes; also the bicycle, which no label of its test part shows (SegMiF, issue 28)."""


def segmentation_record(found: LabelMap, truth: LabelMap) -> dict[str, Any]:
    """One image: [truth, found, pixels] for each pair of classes that occurs. Pixels without a truth do not count.

    Raises ValueError when the two have other classes or another size.
    """
    if found.names != truth.names:
        raise ValueError(
            f"answer and ground truth have other classes: {found.names} and {truth.names}. "
            "Remedy: read the ground truth with the names of the network"
        )
    if found.classes.shape != truth.classes.shape:
        raise ValueError(
            f"the answer is {found.classes.shape}, its ground truth {truth.classes.shape}. "
            "Remedy: bring the answer to the size of the ground truth, without interpolation"
        )
    known = truth.classes != IGNORED
    codes = truth.classes[known].astype(np.int64) * 256 + found.classes[known]
    values, counts = np.unique(codes, return_counts=True)
    return {"confusion": [[v // 256, v % 256, n] for v, n in zip(values.tolist(), counts.tolist(), strict=True)]}


class SegmentationFigures:
    """miou, miou_truth, accuracy and "iou/<class>" of (resampled) images.

    miou is over the classes that occur in truths or answers, as torchmetrics' MulticlassJaccardIndex (macro) and
    mmsegmentation take it; miou_truth over those that occur in truths: for sets labelled for few of a network's
    classes. left_out: classes that do not count in it. Pixels that truly are of them are ignored, as torchmetrics'
    ignore_index does; where one is the answer for a pixel of another class, that pixel is missed.
    """

    def __init__(
        self, records: Sequence[Mapping[str, Any]], names: Sequence[str], left_out: Sequence[str] = ()
    ) -> None:
        self.names = tuple(names)
        self._counted = np.array([name not in left_out for name in names])
        self._matrices = np.zeros((len(records), len(names), len(names)))
        for matrix, record in zip(self._matrices, records, strict=True):
            for truth, found, pixels in record["confusion"]:
                matrix[truth, found] = pixels
        self._matrices[:, ~self._counted] = 0.0

    def figures(self) -> dict[str, float]:
        """All figures of all images."""
        every = np.ones(len(self._matrices))
        of_classes = self._ious(every)
        return {
            "miou": self.statistic("miou")(every),
            "miou_truth": self.statistic("miou_truth")(every),
            "accuracy": self.statistic("accuracy")(every),
            **{f"iou/{name}": float(iou) for name, iou in zip(self.names, of_classes, strict=True)},
        }

    def statistic(self, key: str) -> Statistic:
        """Of weighted images: "miou", "miou_truth" or "accuracy"."""

        def miou(weights: Weights) -> float:
            counted = self._counted
            if key == "miou_truth":
                counted = counted & (np.tensordot(weights, self._matrices, 1).sum(1) > 0)
            known = self._ious(weights)[counted]
            known = known[~np.isnan(known)]
            return float(known.mean()) if len(known) else nan

        def accuracy(weights: Weights) -> float:
            matrix = np.tensordot(weights, self._matrices, 1)
            return float(np.trace(matrix) / matrix.sum()) if matrix.sum() else nan

        return accuracy if key == "accuracy" else miou

    def _ious(self, weights: Weights) -> NDArray[np.float64]:
        """By class; nan for one that does not occur."""
        matrix = np.tensordot(weights, self._matrices, 1)
        shared = np.diag(matrix)
        union = matrix.sum(0) + matrix.sum(1) - shared
        return np.divide(shared, union, out=np.full(len(union), nan), where=union > 0)
