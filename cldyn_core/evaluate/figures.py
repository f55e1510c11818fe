"""A row's figures: what they are, and enough of each image to resample them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from math import inf, isnan, nan
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cldyn_core.metrics.fusion import FUSION_METRICS
from cldyn_core.metrics.statistics import (
    Statistic,
    compare_means,
    interval_of,
    p_of_differences,
    resampled,
    weighted_mean,
)
from cldyn_core.report import Column, Row, Table, Value


@dataclass(frozen=True)
class Figure:
    """One cell, before it is resampled."""

    value: float
    statistic: Statistic | None
    """None: it is shown without an interval."""
    count: int
    """Images, all of which the statistic weighs."""
    of_images: tuple[float, ...] = ()
    """Where the figure is a mean: what it is the mean of, nan where an image has none."""

    def drawn(self, rounds: int) -> NDArray[np.float64]:
        """Its resampled figures, drawn once; none without a statistic."""
        return np.zeros(0) if self.statistic is None else _resampled(self.statistic, self.count, rounds)


@dataclass(frozen=True, kw_only=True)
class Combined(Figure):
    """A figure of other figures of the same images, resampled together with them."""

    function: Callable[..., Any]
    """Of one number a part, and element by element of arrays."""
    parts: tuple[Figure, ...]

    def drawn(self, rounds: int) -> NDArray[np.float64]:
        """The function of the parts' resampled figures."""
        return np.asarray(self.function(*(part.drawn(rounds) for part in self.parts)), np.float64)


def combined(function: Callable[..., Any], *parts: Figure) -> Figure:
    """See Combined; the parts are of the same images."""
    value = float(function(*(np.float64(part.value) for part in parts)))
    return Combined(value=value, statistic=None, count=parts[0].count, function=function, parts=parts)


_LARGE = ("qcv", "mse")  # in squared grey levels


@lru_cache(maxsize=256)
def _resampled(statistic: Statistic, count: int, rounds: int) -> NDArray[np.float64]:
    return resampled(statistic, count, rounds=rounds)


Figures = Mapping[str, Figure]
"""By column key."""


def mean_figure(of_images: Sequence[float]) -> Figure:
    """The mean of one figure an image; nan and -inf ones (MS-SSIM of tiny images) do not count."""
    of_images = [nan if value == -inf else value for value in of_images]
    statistic = weighted_mean(of_images)
    return Figure(statistic(np.ones(len(of_images))), statistic, len(of_images), tuple(of_images))


def fusion_columns(names: Sequence[str]) -> tuple[Column, ...]:
    """Columns of fusion metrics."""
    metrics = {name: FUSION_METRICS[name] for name in names}
    return tuple(
        Column(name, metric.title, metric.higher_is_better, 2 if name in _LARGE else 4, metric.source)
        for name, metric in metrics.items()
    )


def make_table(
    key: str,
    title: str,
    columns: Sequence[Column],
    rows: Mapping[str, Figures],
    *,
    reference: str = "",
    rounds: int = 1000,
    caption: str = "",
) -> Table:
    """A row a method, all of the same images. reference: the row that the others are tested against, or "" for none."""
    against = rows.get(reference, {})

    def cells(name: str, figures: Figures) -> dict[str, Value]:
        others = against if name != reference else {}
        return {c.key: _value(figures[c.key], others.get(c.key), rounds) for c in columns if c.key in figures}

    made = tuple(Row(name, cells(name, figures)) for name, figures in rows.items())
    return Table(key, title, tuple(columns), made, caption, reference=reference if reference in rows else "")


def _value(figure: Figure, other: Figure | None, rounds: int) -> Value:
    if isnan(figure.value):
        return Value(nan)
    interval = interval_of(figure.drawn(rounds))
    count = sum(not isnan(value) for value in figure.of_images) if figure.of_images else figure.count
    p = nan
    if other is not None and figure.of_images:
        p = compare_means(figure.of_images, other.of_images).p
    elif other is not None:
        p = p_of_differences(figure.drawn(rounds) - other.drawn(rounds), figure.count)
    return Value(figure.value, interval.low, interval.high, count, p)
