"""FMI: mutual information of local features (Haghighat and Razian, 2014, "Fast-FMI")."""

from __future__ import annotations

from collections.abc import Callable

import cv2
import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from scipy import fft

from cldyn_core.metrics.triple import FUSED, SOURCES, Luma, Plane, Triple, sobel

DEFAULT_FEATURE = "gradient"
_SIDE = 3
_CELLS = _SIDE * _SIDE
_CHUNK = 512  # windows at a time: their joint distributions stay in the cache


def fmi(triple: Triple, feature: str = DEFAULT_FEATURE) -> float:
    """Feature mutual information, 0..1 (Haghighat and Razian, 2014); nan below 3x3 pixels. Slow: seconds.

    feature: "gradient" (the default: horizontal differences), "none" (grey levels), "edge" (binary Sobel edges, what
    public code calls FMI_pixel) or "dct". Within windows of 3x3 pixels the features are read as distributions; their
    joint one lies between independence and the Frechet bound, by their correlation. In flat windows that correlation is
    rounding noise, so values of public code differ by up to 1 %. Raises ValueError for another feature.
    """
    if feature not in FEATURES:
        raise ValueError(f'no feature "{feature}" of fmi: choose from {", ".join(FEATURES)}')
    if min(triple.luma[FUSED].shape) < _SIDE:
        return float("nan")
    features = [FEATURES[feature](image) for image in triple.luma]
    fused = _windows(features[FUSED])
    return sum(_mean_information(_windows(features[source]), fused) for source in SOURCES) / 2


def _edges(image: Luma) -> Plane:
    """Sobel edges, thinned to ridges, above twice the root mean square gradient."""
    horizontal, vertical = (part / 8 for part in sobel(image, cv2.BORDER_REPLICATE))
    strength = horizontal**2 + vertical**2
    around = np.pad(strength, 1)
    across = (strength > around[1:-1, :-2]) & (strength > around[1:-1, 2:])
    along = (strength > around[:-2, 1:-1]) & (strength > around[2:, 1:-1])
    return ((strength > 4 * strength.mean()) & (across | along)).astype(np.float64)


FEATURES: dict[str, Callable[[Luma], Plane]] = {
    "none": lambda image: image.astype(np.float64),
    "gradient": lambda image: np.gradient(image.astype(np.float64), axis=1),
    "edge": _edges,
    "dct": lambda image: fft.dctn(image.astype(np.float64), norm="ortho"),
}


def _windows(feature: Plane) -> Plane:
    """(9, n) the values of every window, column by column."""
    windows = sliding_window_view(feature, (_SIDE, _SIDE))
    return np.ascontiguousarray(windows.transpose(3, 2, 0, 1).reshape(_CELLS, -1))


def _mean_information(source: Plane, fused: Plane) -> float:
    """Mean normalised mutual information of windows; that of identical ones is 1."""
    differ = np.flatnonzero((source != fused).any(axis=0))
    total = float(source.shape[1] - len(differ))
    for start in range(0, len(differ), _CHUNK):
        chosen = differ[start : start + _CHUNK]
        total += float(_information(_distribution(source[:, chosen]), _distribution(fused[:, chosen])).sum())
    return total / source.shape[1]


def _distribution(windows: Plane) -> Plane:
    """(9, n) stretched to 0..1 and divided by the sum; uniform in flat windows."""
    low, high = windows.min(axis=0), windows.max(axis=0)
    flat = low == high
    stretched = np.where(flat, 1.0, (windows - low) / np.where(flat, 1.0, high - low))
    return stretched / stretched.sum(axis=0)


def _information(p: Plane, q: Plane) -> Plane:
    """(n,) 2 I / (H(p) + H(q)) of the joint distributions that have the correlations of p and q."""
    cumulative_p, cumulative_q = p.cumsum(axis=0), q.cumsum(axis=0)
    correlation = _correlation(p, q)
    grid_p, grid_q = cumulative_p[:, None], cumulative_q[None]
    independent = grid_p * grid_q
    bound = np.where(correlation >= 0, np.minimum(grid_p, grid_q), np.maximum(grid_p + grid_q - 1, 0))
    covariance = (bound - independent).sum(axis=(0, 1))
    spread = _deviation(p) * _deviation(q)
    bounded = (spread > 0) & (covariance != 0)
    share = np.divide(correlation * spread, covariance, out=np.zeros_like(spread), where=bounded)
    joint = share * np.diff(np.diff(bound, axis=0, prepend=0), axis=1, prepend=0) + (1 - share) * p[:, None] * q[None]
    marginal = _entropy(p) + _entropy(q)
    information = marginal - _entropy(joint.reshape(_CELLS * _CELLS, -1))
    return np.divide(2 * information, marginal, out=np.zeros_like(marginal), where=marginal > 0)


def _correlation(p: Plane, q: Plane) -> Plane:
    """(n,) Pearson coefficients, 0 where there is none."""
    dp, dq = (x - x.cumsum(axis=0)[-1] / _CELLS for x in (p, q))  # summed in order: decides what flat windows give
    power = np.sqrt((dp * dp).sum(axis=0) * (dq * dq).sum(axis=0))
    return np.divide((dp * dq).sum(axis=0), power, out=np.zeros_like(power), where=power > 0)


def _deviation(p: Plane) -> Plane:
    """(n,) standard deviation of the position."""
    positions = np.arange(1.0, _CELLS + 1)
    return np.sqrt(np.maximum(positions**2 @ p - (positions @ p) ** 2, 0))


def _entropy(p: Plane) -> Plane:
    """(n,) in bits; of the modulus, as a joint distribution extrapolated beyond its bound has cells below zero."""
    return -(p * np.log2(np.abs(p) + (p == 0))).sum(axis=0)
