"""One gradient for several tasks: plain mean, CAGrad (Liu et al., NeurIPS 2021), PCGrad (Yu et al., NeurIPS 2020).

All methods weigh the rows, and find the weights from the rows' scalar products alone: the parameters may be millions.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

GradientMethod = Literal["cagrad", "pcgrad", "sum"]
Array = NDArray[np.float64]

_ROUNDING = 1e-12
"""Share of the largest eigenvalue, or squared norm, below which one is taken for a rounding error."""
_SHARPEST = 1e10
"""Last weight of the objective against the barrier: the gap to the optimum is at most (T + 2) / this."""
_SHARPEN = 4.0
_NEWTON_STEPS = 50


def combine(gradients: Tensor, method: GradientMethod, *, c: float = 0.5, seed: int = 0) -> Tensor:
    """Rows (T, P), one a task, -> (P,). A single row is returned as it is.

    "sum" gives the sum divided by T and "pcgrad" too, so that all have the scale of the mean. c: radius of CAGrad's
    ball as a share of the mean gradient, at least 0. seed: of the order in which PCGrad projects. Raises
    FloatingPointError, naming the row, for gradients that are not finite, and ValueError for an unknown method.
    """
    ways: dict[str, Callable[[Array], Array]] = {
        "sum": _mean_weights,
        "cagrad": lambda gram: cagrad_weights(gram, c),
        "pcgrad": lambda gram: pcgrad_weights(gram, seed),
    }
    if method not in ways:
        raise ValueError(f"unknown way to combine gradients {method!r}; known: {', '.join(ways)}")
    bad = [i for i, row in enumerate(gradients) if not torch.isfinite(row).all()]
    if bad:
        raise FloatingPointError(f"the gradient of task {bad[0]} is not finite")
    if len(gradients) == 1:
        return gradients[0].clone()
    rows = gradients.double()
    weights = ways[method]((rows @ rows.T).cpu().numpy())
    return (torch.from_numpy(weights).to(rows) @ rows).to(gradients)


def cagrad_weights(gram: Array, c: float) -> Array:
    """Weights (T,) of the rows in CAGrad's direction, from their scalar products (T, T).

    The direction d maximizes the smallest <g_i, d> within c |g0| of the mean g0 (Liu et al., equation 3). The paper's
    dual form, d = g0 + c |g0| g_w / |g_w|, is undefined where the rows can cancel, g_w = 0; so this solves the primal,
    in an orthonormal basis of the rows. A mean that is zero but for rounding has no ball: the mean is returned.
    """
    if not c >= 0:
        raise ValueError(f"the radius of CAGrad's ball must be at least 0, not {c}")
    mean = _mean_weights(gram)
    norms, mean_norm = np.sqrt(np.diag(gram)), math.sqrt(max(0.0, float(mean @ gram @ mean)))
    largest = float(norms.max())
    if c == 0 or mean_norm**2 <= _ROUNDING * largest**2:
        return mean
    lengths = np.where(norms > 0, norms, 1.0)
    values, vectors = np.linalg.eigh(gram / np.outer(lengths, lengths))
    kept = values > _ROUNDING * values[-1]
    roots, vectors = np.sqrt(values[kept]), vectors[:, kept]
    slopes = c * (lengths / largest)[:, None] * vectors * roots
    z = _best_in_unit_ball(gram @ mean / (mean_norm * largest), slopes)
    return mean + c * mean_norm * (vectors @ (z / roots)) / lengths


def pcgrad_weights(gram: Array, seed: int) -> Array:
    """Weights (T,) of the mean of the projected rows: each loses what opposes the others, in random order."""
    generator = np.random.default_rng(seed)
    projected = np.eye(len(gram))
    for i, row in enumerate(projected):
        for j in generator.permutation(len(gram)):
            product = float(row @ gram[j])
            if j != i and product < 0:
                row[j] -= product / gram[j, j]
    return projected.mean(0)


def _mean_weights(gram: Array) -> Array:
    return np.full(len(gram), 1 / len(gram))


def _best_in_unit_ball(offsets: Array, slopes: Array) -> Array:
    """Maximize min_i (offsets_i + slopes_i z) over |z| <= 1: offsets (T,) and slopes (T, K) about 1 -> z (K,).

    A logarithmic barrier with damped Newton steps (Boyd and Vandenberghe, Convex Optimization, 11.3 and 9.6): with
    steps of 1 / (1 + decrement), a self-concordant function needs no line search to stay feasible.
    """
    point = np.append(np.zeros(slopes.shape[1]), offsets.min() - 1)  # z and the level below all values
    rows = np.column_stack([slopes, -np.ones(len(slopes))])
    weight = 1.0
    while weight < _SHARPEST:
        weight = min(_SHARPEN * weight, _SHARPEST)
        for _ in range(_NEWTON_STEPS):
            step, decrement = _newton_step(point, offsets, rows, weight)
            point = point + step / (1 + decrement)
            if decrement < 1e-4:
                break
    return point[:-1]


def _newton_step(point: Array, offsets: Array, rows: Array, weight: float) -> tuple[Array, float]:
    """Step and Newton decrement of -weight level - sum_i log(value_i - level) - log(1 - |z|^2).

    The Hessian is factor^T factor; it is ill-conditioned near the optimum, so it is never multiplied out.
    """
    inverse = 1 / (offsets + rows @ point)
    z = np.append(point[:-1], 0.0)
    bend = 2 / (1 - z @ z)
    gradient = bend * z - rows.T @ inverse
    gradient[-1] -= weight
    factor = np.vstack([rows * inverse[:, None], math.sqrt(bend) * np.eye(len(z))[:-1], bend * z])
    triangle = np.linalg.qr(factor)[1]
    half = np.linalg.solve(triangle.T, -gradient)
    return np.linalg.solve(triangle, half), float(np.linalg.norm(half))
