"""Pictures of single pairs for the report: every method side by side, what it changes, what the task network says."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import combinations

import cv2
import numpy as np
import torch
from numpy.typing import NDArray

from cldyn_core.drawing import draw_answer
from cldyn_core.evaluate.units import Measurer, Unit
from cldyn_core.report import Box, Comparison, Panel, difference
from cldyn_core.types import Detections, LabelledPair, Task, TaskOutput

Image = NDArray[np.uint8]

_SHOWN_SCORE = 0.25
_CROPS = 2
_CROP_SHARE = 5  # a crop is a fifth of the image wide


@torch.inference_mode()
def compare(measurer: Measurer, units: Sequence[Unit], index: int) -> Comparison:
    """One pair: infrared, visible with the ground truth, each unit's image with its answer, cldyn minus vfn."""
    pair = measurer.load(index)
    panels, boxes = _sources(measurer.seen(units[0], pair))
    images: dict[str, Image] = {}
    for unit in units:
        _, fused = measurer.fused(unit, pair)
        images[unit.method.name] = fused.image
        answer = measurer.answer(unit, fused) if unit.judge is not Task.NONE else None
        if isinstance(answer, Detections):
            panels.append(Panel(unit.method.name, fused.image))
            boxes[unit.method.name] = _boxes(answer)
        else:
            panels.append(Panel(unit.method.name, draw_answer(fused.image, answer)))
    panels += [
        Panel(f"{unit.method.name} minus vfn, x4", difference(images[unit.method.name], images["vfn"]))
        for unit in units
        if unit.method.kind == "cldyn" and "vfn" in images
    ]
    return Comparison(pair.name, tuple(panels), _crops(pair, list(images.values())), boxes)


def _sources(pair: LabelledPair) -> tuple[list[Panel], dict[str, tuple[Box, ...]]]:
    """The cameras' images; the ground truth in the visible one."""
    infrared = np.repeat(pair.infrared[..., None], 3, axis=2)
    truth: TaskOutput = pair.target
    if isinstance(truth, Detections):
        panels = [Panel("infrared image", infrared), Panel("ground truth", pair.visible)]
        return panels, {"ground truth": _boxes(truth, scored=False)}
    named = "visible image" if truth is None else "ground truth"
    return [Panel("infrared image", infrared), Panel(named, draw_answer(pair.visible, truth))], {}


def _boxes(found: Detections, scored: bool = True) -> tuple[Box, ...]:
    rows = zip(found.boxes.tolist(), found.labels.tolist(), found.scores.tolist(), strict=True)
    return tuple(
        Box(x0, y0, x1, y1, found.names[label], score if scored else float("nan"))
        for (x0, y0, x1, y1), label, score in rows
        if score >= _SHOWN_SCORE
    )


def _crops(pair: LabelledPair, images: Sequence[Image]) -> tuple[tuple[int, int, int, int], ...]:
    """Where the images' details differ most from each other, apart from each other."""
    height, width = pair.infrared.shape
    w, h = max(1, width // _CROP_SHARE), max(1, height // _CROP_SHARE)
    details = [_details(image) for image in images]
    spread = sum((abs(a - b) for a, b in combinations(details, 2)), np.zeros((height, width), np.float32))
    sums = cv2.boxFilter(spread, -1, (w, h), anchor=(0, 0), normalize=False, borderType=cv2.BORDER_ISOLATED)
    sums = np.array(sums[: height - h + 1, : width - w + 1])
    crops = []
    for _ in range(_CROPS):
        y, x = np.unravel_index(int(sums.argmax()), sums.shape)
        crops.append((int(x), int(y), w, h))
        sums[max(0, y - h) : y + h, max(0, x - w) : x + w] = -1
    return tuple(crops)


def _details(image: Image) -> NDArray[np.float32]:
    """(H, W) luma less its surroundings."""
    luma = cv2.cvtColor(image, cv2.COLOR_RGB2GRAY).astype(np.float32)
    return np.asarray(luma - cv2.blur(luma, (15, 15)), np.float32)
