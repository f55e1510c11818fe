"""Augmentation of labelled pairs: one map for both modalities, boxes and masks, so that they stay together."""

from __future__ import annotations

import math
from dataclasses import replace

import cv2
import numpy as np
from numpy.typing import NDArray

from cldyn_core.data.transforms import random_matrix, transform_boxes, warp
from cldyn_core.types import IGNORED, Detections, LabelledPair, LabelMap, SaliencyMap, TaskOutput


def random_pair_view(pair: LabelledPair, size: tuple[int, int], rng: np.random.Generator) -> LabelledPair:
    """A randomly scaled, shifted and mirrored window of `size` (H, W). Outside: gray, cold, nothing labelled."""
    matrix = random_matrix((pair.infrared.shape[0], pair.infrared.shape[1]), size, rng)
    visible = warp(pair.visible, matrix, size, (114, 114, 114))
    return LabelledPair(
        visible, warp(pair.infrared, matrix, size, 0), _warp_target(pair.target, matrix, size), pair.name
    )


def random_crop(pair: LabelledPair, size: tuple[int, int], rng: np.random.Generator) -> LabelledPair:
    """A crop of `size` (H, W), flipped or not, in one of four orientations; without a target. H equals W.

    A smaller pair is enlarged first.
    """
    visible, infrared = pair.visible, pair.infrared
    if (scale := max(size) / min(infrared.shape)) > 1:
        larger = tuple(math.ceil(side * scale) for side in infrared.shape[::-1])
        visible, infrared = (np.asarray(cv2.resize(image, larger), np.uint8) for image in (visible, infrared))
    height, width = infrared.shape
    top, left = int(rng.integers(height - size[0] + 1)), int(rng.integers(width - size[1] + 1))
    flip, turns = bool(rng.integers(2)), int(rng.integers(4))

    def cut(image: NDArray[np.uint8]) -> NDArray[np.uint8]:
        crop = np.rot90(image[top : top + size[0], left : left + size[1]], turns)
        return crop[:, ::-1] if flip else crop

    return LabelledPair(cut(visible), cut(infrared), None, pair.name)


def shrink_pair(pair: LabelledPair, longest: int) -> LabelledPair:
    """The whole pair, made smaller if its longer side exceeds `longest` pixels."""
    height, width = pair.infrared.shape
    scale = min(1.0, longest / max(height, width))
    if scale == 1.0:
        return pair
    size = (round(height * scale), round(width * scale))
    matrix = np.array([[size[1] / width, 0.0, 0.0], [0.0, size[0] / height, 0.0]])
    visible, infrared = (
        np.asarray(cv2.resize(image, size[::-1], interpolation=cv2.INTER_AREA), np.uint8)
        for image in (pair.visible, pair.infrared)
    )
    return LabelledPair(visible, infrared, _warp_target(pair.target, matrix, size), pair.name)


def _warp_target(target: TaskOutput, matrix: np.ndarray, size: tuple[int, int]) -> TaskOutput:
    if isinstance(target, Detections):
        boxes, labels = transform_boxes(target.boxes, target.labels, matrix, size)
        return replace(target, boxes=boxes, labels=labels, scores=np.ones(len(labels), np.float32))
    if isinstance(target, LabelMap):
        return replace(target, classes=warp(target.classes, matrix, size, IGNORED, nearest=True))
    if isinstance(target, SaliencyMap):
        return SaliencyMap(warp(target.values, matrix, size, 0, nearest=True))
    return None
