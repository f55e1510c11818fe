"""Average precision of any resample of a set of images: detections are matched once and then only counted."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from math import nan

import numpy as np
from numpy.typing import NDArray

from cldyn_core.metrics.statistics import Weights

THRESHOLDS: NDArray[np.float64] = np.linspace(0.5, 0.95, 10)
"""Of the intersection over union."""

_RECALLS = np.linspace(0.0, 1.0, 101)


@dataclass(frozen=True)
class Matches:
    """All detections of one class, best first."""

    image: NDArray[np.int64]
    hits: tuple[NDArray[np.int64], ...]
    """By threshold: the detections that matched a truth."""
    truths: NDArray[np.float64]
    """Of the class, by image."""


@dataclass(frozen=True)
class Scene:
    """One image's boxes of one class, (N, 4) x0 y0 x1 y1, best detection first."""

    found: NDArray[np.float64]
    scores: NDArray[np.float64]
    truths: NDArray[np.float64]


def match(scenes: Sequence[Scene], rule: Callable[[NDArray[np.float64]], NDArray[np.bool_]]) -> Matches:
    """rule: `by_score` or `by_overlap`."""
    none = np.zeros((len(THRESHOLDS), 0), bool)
    hits = [rule(_intersection_over_union(scene.found, scene.truths)) for scene in scenes]
    scores = np.concatenate([np.zeros(0), *(scene.scores for scene in scenes)])
    images = np.repeat(np.arange(len(scenes)), [len(scene.scores) for scene in scenes])
    order = np.argsort(-scores, kind="stable")
    truths = np.array([len(scene.truths) for scene in scenes], np.float64)
    hit = np.concatenate([none, *hits], axis=1)[:, order]
    return Matches(images[order], tuple(np.flatnonzero(row) for row in hit), truths)


def by_score(overlap: NDArray[np.float64]) -> NDArray[np.bool_]:
    """(10, N): each detection in turn takes the truth it overlaps most of those that are left (COCO)."""
    hit = np.zeros((len(THRESHOLDS), len(overlap)), bool)
    if not overlap.size:
        return hit
    for row, threshold in zip(hit, THRESHOLDS, strict=True):
        left = np.ones(overlap.shape[1], bool)
        for i, own in enumerate(overlap):
            best = int(np.where(left, own, -1.0)[::-1].argmax())  # of equals the last, as COCO's
            best = len(left) - 1 - best
            if left[best] and own[best] >= min(threshold, 1 - 1e-10):
                row[i], left[best] = True, False
    return hit


def by_overlap(overlap: NDArray[np.float64]) -> NDArray[np.bool_]:
    """(10, N): each detection chooses the truth it overlaps most; of those above the threshold that chose a truth, the
    surest has it (YOLO trainers).
    """
    hit = np.zeros((len(THRESHOLDS), len(overlap)), bool)
    if not overlap.size:
        return hit
    chosen = overlap.argmax(1)
    own = overlap[np.arange(len(overlap)), chosen]
    for row, threshold in zip(hit, THRESHOLDS, strict=True):
        close = np.flatnonzero(own >= threshold)
        row[close[np.unique(chosen[close], return_index=True)[1]]] = True
    return hit


def at_recall_points(matches: Matches, weights: Weights, kept: slice) -> float:
    """COCO: the best precision at or beyond each of 101 recalls, mean over them and the thresholds."""
    return _mean_area(matches, weights, kept, _points)


def integrated(matches: Matches, weights: Weights, kept: slice) -> float:
    """YOLO trainers: area under the precision envelope, by the trapezoidal rule over 101 recalls."""
    return _mean_area(matches, weights, kept, _trapezoids)


def _mean_area(
    matches: Matches, weights: Weights, kept: slice, area: Callable[[NDArray[np.int64], int], float]
) -> float:
    """Mean over the thresholds; nan without a truth. Weights are whole numbers."""
    total = round(float(weights @ matches.truths))
    if not total:
        return nan
    counted = weights[matches.image].astype(np.int64)
    seen = counted.cumsum()
    areas = []
    for hit in matches.hits[kept]:
        false = seen[hit] - counted[hit].cumsum()
        areas.append(area(np.repeat(false, counted[hit]), total))
    return float(np.mean(areas))


def _points(false: NDArray[np.int64], truths: int) -> float:
    """false: for each hit, best first, the misses before it. They say it all: precision only falls between hits."""
    recall = np.arange(1, len(false) + 1) / truths
    return float(np.append(_envelope(false), 0.0)[np.searchsorted(recall, _RECALLS, side="left")].mean())


def _trapezoids(false: NDArray[np.int64], truths: int) -> float:
    """The envelope begins at 1, is linear between detections, and ends in 0 behind the last. false: as of `_points`."""
    if not len(false):
        return 0.0
    after, envelope = np.arange(1, len(false) + 1) / truths, _envelope(false)
    # A miss between two hits has the recall of the former and lies on the envelope of the latter.
    before = np.where(np.diff(false, prepend=0) > 0, envelope, np.append(1.0, envelope[:-1]))
    recall = np.stack((np.append(0.0, after[:-1]), after), axis=1).ravel()
    precision = np.stack((before, envelope), axis=1).ravel()
    ends = np.concatenate(([0.0], recall, [after[-1], 1.0])), np.concatenate(([1.0], precision, [0.0, 0.0]))
    return float(np.trapezoid(np.interp(_RECALLS, *ends), _RECALLS))


def _envelope(false: NDArray[np.int64]) -> NDArray[np.float64]:
    found = np.arange(1, len(false) + 1)
    return np.maximum.accumulate((found / (found + false))[::-1])[::-1]


def _intersection_over_union(boxes: NDArray[np.float64], truths: NDArray[np.float64]) -> NDArray[np.float64]:
    """(N, 4), (M, 4) -> (N, M)."""
    low = np.maximum(boxes[:, None, :2], truths[None, :, :2])
    high = np.minimum(boxes[:, None, 2:], truths[None, :, 2:])
    shared = (high - low).clip(0).prod(2)
    areas = [(b[:, 2:] - b[:, :2]).prod(1) for b in (boxes, truths)]
    union = areas[0][:, None] + areas[1][None] - shared
    return np.divide(shared, union, out=np.zeros_like(shared), where=union > 0)
