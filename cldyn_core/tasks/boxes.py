"""What the detectors share: coordinates of boxes, answers, classes that an image was not annotated for."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from cldyn_core.types import Detections

MAX_DETECTIONS = 300
SILENT = -12.0
"""Logit of a class that is certainly not there."""


def size_of(image: Tensor) -> Tensor:
    """(W, H, W, H) of (B, C, H, W), on its device."""
    height, width = image.shape[2:]
    return image.new_tensor([width, height, width, height])


def to_center(corners: Tensor) -> Tensor:
    """Boxes (..., 4): x1 y1 x2 y2 -> center x, center y, width, height."""
    first, last = corners[..., :2], corners[..., 2:]
    return torch.cat(((first + last) / 2, last - first), -1)


def to_corners(boxes: Tensor) -> Tensor:
    """Boxes (..., 4): center x, center y, width, height -> x1 y1 x2 y2."""
    center, size = boxes[..., :2], boxes[..., 2:]
    return torch.cat((center - size / 2, center + size / 2), -1)


def to_detections(
    corners: Tensor, scores: Tensor, labels: Tensor, limits: Tensor, names: tuple[str, ...]
) -> Detections:
    """Best first, at most 300, clipped to the image.

    Args:
        corners: (N, 4) x1 y1 x2 y2 in pixels.
        scores: (N,) in [0, 1].
        labels: (N,) indices into `names`.
        limits: `size_of` the image.
        names: names of the classes.
    """
    corners = corners.clamp(min=0).minimum(limits)
    inside = (corners[:, 2:] - corners[:, :2] > 1).all(1)  # a box in the padding is clipped to nothing
    corners, scores, labels = corners[inside], scores[inside], labels[inside]
    best = scores.argsort(descending=True, stable=True)[:MAX_DETECTIONS]
    kept, found = (t[best].detach().cpu().numpy().astype(np.float32) for t in (corners, scores))
    return Detections(kept, found, labels[best].cpu().numpy().astype(np.int64), names)


def unannotated(target: Detections, classes: int, device: torch.device) -> Tensor:
    """(classes,) bool: those that may be in the image without a box."""
    hidden = torch.zeros(classes, dtype=torch.bool, device=device)
    if target.annotated is not None:
        hidden[:] = True
        hidden[list(target.annotated)] = False
    return hidden
