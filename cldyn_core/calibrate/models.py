"""Maps of the plane from pairs of points, some of which are wrong."""

from __future__ import annotations

from typing import Literal

import numpy as np

from cldyn_core.registration.cameras import Array, transform

Model = Literal["similarity", "affine", "homography"]
MODELS: tuple[Model, ...] = ("similarity", "affine", "homography")
"""From the stiffest: scale, turn and shift; also shear and a scale for each axis; also perspective."""
LEAST: dict[Model, int] = {"similarity": 2, "affine": 3, "homography": 4}
"""Points that determine each."""

_ROUNDS = 15
_GOOD = 1.5  # times the usual distance: from there on a point counts less, the farther the less
_EXACT = 1e-6  # of the points' extent: a usual distance below is rounding


def fit(model: Model, source: Array, target: Array, weights: Array | None = None) -> Array:
    """(N, 2) points on (N, 2) -> (3, 3), last entry 1: least squares, in which points far off count ever less (Huber).

    weights: (N,), above 0. Raises ValueError for too few points, or points on a line.
    """
    if len(source) < LEAST[model]:
        raise ValueError(f"a {model} needs {LEAST[model]} points, not {len(source)}")
    before, after = _centered(source), _centered(target)
    a, b = (transform(m, points)[:, :2] for m, points in ((before, source), (after, target)))
    trust = np.ones(len(a)) if weights is None else weights / weights.max()
    scale = trust
    for _ in range(_ROUNDS):
        found = _least_squares(model, a, b, scale)
        far = np.hypot(*(transform(found, a)[:, :2] - b).T)
        usual = max(_EXACT, _GOOD * float(np.median(far)))
        scale = trust * np.minimum(1.0, usual / np.maximum(far, 1e-12))
    matrix = np.linalg.inv(after) @ found @ before
    return np.asarray(matrix / matrix[2, 2], np.float64)


def _least_squares(model: Model, a: Array, b: Array, weights: Array) -> Array:
    x, y = a.T
    one, zero = np.ones_like(x), np.zeros_like(x)
    if model == "similarity":
        rows = [np.column_stack([x, -y, one, zero]), np.column_stack([y, x, zero, one])]
    else:
        rows = [np.column_stack([x, y, one, zero, zero, zero]), np.column_stack([zero, zero, zero, x, y, one])]
    if model == "homography":
        rows = [np.column_stack([row, -side * x, -side * y]) for row, side in zip(rows, b.T, strict=True)]
    root = np.sqrt(np.concatenate([weights, weights]))[:, None]
    values, _, rank, _ = np.linalg.lstsq(root * np.concatenate(rows), root[:, 0] * b.T.ravel(), rcond=1e-9)
    if rank < rows[0].shape[1]:
        raise ValueError(f"the points lie so that they determine no {model}")
    if model == "similarity":
        c, s, dx, dy = values
        return np.array([[c, -s, dx], [s, c, dy], [0, 0, 1]])
    return np.append(values, [0.0, 0.0, 1.0] if model == "affine" else [1.0]).reshape(3, 3)


def _centered(points: Array) -> Array:
    """(3, 3) that moves the points' mean to 0 and their usual distance from it to 1."""
    middle = points.mean(0)
    size = max(1e-9, float(np.hypot(*(points - middle).T).mean()))
    return np.array([[1 / size, 0, -middle[0] / size], [0, 1 / size, -middle[1] / size], [0, 0, 1]])
