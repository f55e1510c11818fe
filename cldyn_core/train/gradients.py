"""One gradient for several tasks: plain mean, CAGrad (Liu et al., NeurIPS 2021), PCGrad (Yu et al., NeurIPS 2020)."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable
from functools import partial
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

GradientMethod = Literal["cagrad", "pcgrad", "sum"]

_SWEEPS = 200
_TOLERANCE = 1e-13
_GOLDEN = (math.sqrt(5.0) - 1.0) / 2.0


def combine(gradients: Tensor, method: GradientMethod, *, c: float = 0.5) -> Tensor:
    """Rows (T, P), one a task, -> (P,). "sum" gives the mean, the sum divided by T, so that all have one scale.

    c: radius of CAGrad's ball as a share of the mean gradient, at least 0. Raises FloatingPointError, naming the row,
    for gradients that are not finite, and ValueError for an unknown method.
    """
    bad = [i for i, row in enumerate(gradients) if not torch.isfinite(row).all()]
    if bad:
        raise FloatingPointError(f"the gradient of task {bad[0]} is not finite")
    gram = (gradients @ gradients.T).double().cpu().numpy()
    ways: dict[str, Callable[[], NDArray[np.float64]]] = {
        "sum": lambda: np.full(len(gram), 1 / len(gram)),
        "cagrad": lambda: cagrad_weights(gram, c),
        "pcgrad": lambda: pcgrad_weights(gram),
    }
    if method not in ways:
        raise ValueError(f"unknown way to combine gradients {method!r}; known: {', '.join(ways)}")
    return torch.from_numpy(ways[method]()).to(gradients) @ gradients


def cagrad_weights(gram: NDArray[np.float64], c: float) -> NDArray[np.float64]:
    """Weights (T,) of the rows in CAGrad's direction, from their scalar products (T, T).

    The direction d maximizes the smallest <g_i, d> within c |g0| of the mean g0. By duality d = g0 + c |g0| g_w / |g_w|
    with the w of the simplex that minimizes <g_w, g0> + c |g0| |g_w|.
    """
    mean = np.full(len(gram), 1 / len(gram))
    radius = c * math.sqrt(max(0.0, float(mean @ gram @ mean)))

    def objective(w: NDArray[np.float64]) -> float:
        return float(w @ gram @ mean) + radius * math.sqrt(max(0.0, float(w @ gram @ w)))

    w = _minimize_on_simplex(objective, mean)
    norm = math.sqrt(max(0.0, float(w @ gram @ w)))
    return mean + (radius / norm) * w if norm > 0 else mean


def pcgrad_weights(gram: NDArray[np.float64]) -> NDArray[np.float64]:
    """Weights (T,) of the mean of the projected rows: each row loses what opposes another one, in their order."""
    total = np.zeros(len(gram))
    for i in range(len(gram)):
        row = np.eye(len(gram))[i]
        for j in range(len(gram)):
            product = float(row @ gram[j])
            if j != i and product < 0:
                row[j] -= product / gram[j, j]
        total += row
    return total / len(gram)


def _minimize_on_simplex(
    objective: Callable[[NDArray[np.float64]], float], start: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Minimize a convex function by moving weight between two coordinates at a time, as far as it helps."""
    w, value = start.copy(), objective(start)
    for _ in range(_SWEEPS):
        before = value
        for i, j in itertools.combinations(range(len(w)), 2):
            direction = np.zeros(len(w))
            direction[i], direction[j] = 1.0, -1.0
            along = partial(_along, objective, w, direction)
            move = _golden_section(along, -float(w[i]), float(w[j]))
            moved = np.maximum(w + move * direction, 0.0)
            if objective(moved) < value:
                w, value = moved, objective(moved)
        if before - value <= _TOLERANCE * abs(before):
            break
    return w


def _along(
    objective: Callable[[NDArray[np.float64]], float], w: NDArray[np.float64], direction: NDArray[np.float64], t: float
) -> float:
    return objective(w + t * direction)


def _golden_section(function: Callable[[float], float], low: float, high: float) -> float:
    while high - low > 1e-10:
        a, b = high - _GOLDEN * (high - low), low + _GOLDEN * (high - low)
        if function(a) <= function(b):
            high = b
        else:
            low = a
    return (low + high) / 2
