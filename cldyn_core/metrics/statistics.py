"""How sure a figure is: bootstrap intervals and paired tests over images.

A figure of a set of images is a function of their weights: how often each image counts. So means, mAP and mIoU are
resampled alike, without touching an image again.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from math import nan

import numpy as np
from numpy.typing import NDArray

Weights = NDArray[np.float64]
Statistic = Callable[[Weights], float]
"""(N,) weights of the images, not negative -> the figure of the set; nan where there is none."""

_LEAST = 2  # images of which an interval says anything
_LEAST_COMPARED = 20
"""Images that the paired bootstrap needs. With fewer it calls chance significant: at 9 images 10 % of the time."""
_BATCH = 1 << 22  # numbers in memory at once


@dataclass(frozen=True)
class Interval:
    """A percentile interval (Efron and Tibshirani, 1993, chapter 13); nan for fewer than two images."""

    low: float
    high: float


@dataclass(frozen=True)
class Comparison:
    """Two methods on the same images."""

    difference: float
    """Figure of the first minus that of the second."""
    low: float
    high: float
    p: float
    """Two-sided, that there is no difference; nan for too few images."""
    count: int
    """Images compared."""


def bootstrap_interval(
    statistic: Statistic, count: int, *, confidence: float = 0.95, rounds: int = 1000, seed: int = 0
) -> Interval:
    """Interval of a figure of `count` images, drawn with replacement `rounds` times. Rounds without a figure are left
    out. Equal seeds give equal intervals.

    Raises ValueError for a confidence or a number of rounds out of range.
    """
    return interval_of(resampled(statistic, count, rounds=rounds, seed=seed), confidence)


def compare_figures(
    first: Statistic, second: Statistic, count: int, *, confidence: float = 0.95, rounds: int = 1000, seed: int = 0
) -> Comparison:
    """Two methods' figures of the same images, by the paired bootstrap: both see the same resampled images.

    p is twice the smaller share of rounds on either side of zero, one round added to each, so never below
    2 / (rounds + 1); nan for fewer than 20 images, where it would be too small. Rounds without a figure are left out.
    Raises ValueError as `bootstrap_interval`.
    """
    drawn = [resampled(statistic, count, rounds=rounds, seed=seed) for statistic in (first, second)]
    differences = drawn[0] - drawn[1]
    interval = interval_of(differences, confidence)
    p = p_of_differences(differences, count)
    difference = first(np.ones(count)) - second(np.ones(count))
    return Comparison(difference, interval.low, interval.high, p, count)


def resampled(statistic: Statistic, count: int, *, rounds: int = 1000, seed: int = 0) -> NDArray[np.float64]:
    """(rounds,) figures of `count` images drawn with replacement: equal seeds draw equal images. Empty for fewer than
    two images.
    """
    _check(rounds=rounds)
    if count < _LEAST:
        return np.zeros(0)
    return np.array([statistic(weights) for weights in _resamples(count, rounds, seed)])


def interval_of(drawn: NDArray[np.float64], confidence: float = 0.95) -> Interval:
    """Percentile interval of resampled figures; nan ones are left out."""
    _check(confidence)
    return _percentiles(drawn.tolist(), confidence)


def p_of_differences(drawn: NDArray[np.float64], count: int) -> float:
    """See `compare_figures`; drawn: differences of resampled figures of `count` images. nan without a figure."""
    known = drawn[~np.isnan(drawn)]
    if not len(known) or count < _LEAST_COMPARED:
        return nan
    sides = min(int((known <= 0).sum()), int((known >= 0).sum())) + 1
    return min(1.0, 2 * sides / (len(known) + 1))


def compare_means(
    first: Sequence[float], second: Sequence[float], *, confidence: float = 0.95, rounds: int = 10_000, seed: int = 0
) -> Comparison:
    """Two methods' figures of each image: the sign-flip permutation test of the mean difference (Fisher, 1935).

    Exact where there are at most `rounds` sign patterns. Images without one of the figures are left out.

    Raises ValueError for sequences of different lengths, and as `bootstrap_interval`.
    """
    from scipy import stats

    _check(confidence, rounds)
    if len(first) != len(second):
        raise ValueError(
            f"{len(first)} figures of the one method, {len(second)} of the other. Remedy: take the same images"
        )
    differences = np.array(first, np.float64) - np.array(second, np.float64)
    differences = differences[~np.isnan(differences)]
    count = len(differences)
    if count < _LEAST:
        return Comparison(float(differences.mean()) if count else nan, nan, nan, nan, count)
    interval = bootstrap_interval(weighted_mean(differences), count, confidence=confidence, seed=seed)
    test = stats.permutation_test(
        (differences,), lambda x, axis: np.mean(x, axis=axis), permutation_type="samples", vectorized=True,
        n_resamples=rounds, batch=max(1, _BATCH // count), rng=np.random.default_rng(seed),
    )  # fmt: skip
    return Comparison(float(differences.mean()), interval.low, interval.high, float(test.pvalue), count)


def weighted_mean(figures: Sequence[float] | NDArray[np.float64]) -> Statistic:
    """The mean of figures, one an image; nan ones are left out."""
    values = np.asarray(figures, np.float64)
    known = ~np.isnan(values)
    values = np.where(known, values, 0.0)

    def mean(weights: Weights) -> float:
        total = float(weights @ known)
        return float(weights @ values) / total if total else nan

    return mean


def _check(confidence: float = 0.95, rounds: int = 1) -> None:
    if not 0 < confidence < 1:
        raise ValueError(f"confidence is {confidence}. Remedy: choose one between 0 and 1, such as 0.95")
    if rounds < 1:
        raise ValueError(f"rounds is {rounds}. Remedy: resample at least once")


def _resamples(count: int, rounds: int, seed: int) -> Iterator[Weights]:
    random = np.random.default_rng(seed)
    for _ in range(rounds):
        yield np.bincount(random.integers(0, count, count), minlength=count).astype(np.float64)


def _percentiles(figures: Sequence[float], confidence: float) -> Interval:
    known = np.array(figures)[~np.isnan(figures)]
    if not len(known):
        return Interval(nan, nan)
    low, high = np.quantile(known, ((1 - confidence) / 2, (1 + confidence) / 2))
    return Interval(float(low), float(high))
