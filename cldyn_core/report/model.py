"""What an evaluation report holds: tables, pictures, charts. Plain data, checked when it is made."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from math import isnan, nan

import numpy as np
from numpy.typing import NDArray

SIGNIFICANT = 0.05
"""A smaller p value is marked."""


@dataclass(frozen=True)
class Value:
    """One figure. nan: there is none."""

    value: float
    low: float = nan
    """Lower end of its bootstrap interval."""
    high: float = nan
    count: int = 0
    """Images it was taken from; 0: not stated."""
    p: float = nan
    """Of the paired test against the table's reference row."""

    @property
    def significant(self) -> bool:
        """True where the difference from the reference row is unlikely to be chance."""
        return self.p < SIGNIFICANT


MISSING = Value(nan)


@dataclass(frozen=True)
class Column:
    """One measure."""

    key: str
    title: str
    higher_is_better: bool | None
    """None: neither is better."""
    digits: int = 4
    """Shown after the decimal point."""
    explanation: str = ""


@dataclass(frozen=True)
class Row:
    """One method: its figures by column key. A missing one is shown as a dash."""

    name: str
    values: Mapping[str, Value]
    note: str = ""


@dataclass(frozen=True)
class Table:
    """Methods by measures. Raises ValueError for names that are there twice, or not at all."""

    key: str
    """Name of its CSV file: letters, digits, `_`, `-`, `.`."""
    title: str
    columns: tuple[Column, ...]
    rows: tuple[Row, ...]
    caption: str = ""
    row_title: str = "Method"
    reference: str = ""
    """Name of the row that p values are against."""

    def __post_init__(self) -> None:
        where = f"table {self.key!r}"
        if not re.fullmatch(r"[A-Za-z0-9_-][A-Za-z0-9._-]*", self.key):
            raise ValueError(f"{where}: names a file. Remedy: use letters, digits, `_`, `-` and `.`")
        _refuse_twice(where, "column", (column.key for column in self.columns))
        _refuse_twice(where, "row", (row.name for row in self.rows))
        if self.reference and self.reference not in {row.name for row in self.rows}:
            raise ValueError(f"{where}: no row is called {self.reference!r} (its reference)")
        keys = {column.key for column in self.columns}
        for row in self.rows:
            if unknown := sorted(row.values.keys() - keys):
                raise ValueError(f"{where}: row {row.name!r} has figures without a column: {', '.join(unknown)}")

    def value(self, row: Row, column: Column) -> Value:
        """A figure; MISSING where the row has none."""
        return row.values.get(column.key, MISSING)

    def ranks(self, column: Column) -> dict[str, int]:
        """Row name -> 1 (best) or 2 (second). Rows that show the same digits share a rank; nan has none.

        Empty where neither direction is better, or where no two rows differ.
        """
        shown = {row.name: round(self.value(row, column).value, column.digits) for row in self.rows}
        shown = {name: value for name, value in shown.items() if not isnan(value)}
        if column.higher_is_better is None or len(set(shown.values())) < 2:
            return {}
        best = sorted(set(shown.values()), reverse=column.higher_is_better)[:2]
        return {name: 1 + best.index(value) for name, value in shown.items() if value in best}


@dataclass(frozen=True, eq=False)
class Panel:
    """One picture of a comparison."""

    name: str
    image: NDArray[np.uint8]
    """(H, W, 3) RGB."""


@dataclass(frozen=True)
class Box:
    """One detection, corners in pixels of the panel."""

    x0: float
    y0: float
    x1: float
    y1: float
    label: str
    score: float = nan
    """In [0, 1]; nan, e.g. of a ground truth: not shown."""

    @property
    def text(self) -> str:
        """What is written at the box."""
        return self.label if isnan(self.score) else f"{self.label} {self.score:.2f}"


@dataclass(frozen=True, eq=False)
class Comparison:
    """Pictures of one scene side by side, the same crops of each enlarged. All panels have one size.

    Raises ValueError for panels of different sizes, crops outside them, and boxes of a panel that is not there.
    """

    title: str
    panels: tuple[Panel, ...]
    crops: tuple[tuple[int, int, int, int], ...] = ()
    """x, y, width, height in pixels."""
    boxes: Mapping[str, tuple[Box, ...]] = field(default_factory=dict)
    """Detections by name of panel."""

    def __post_init__(self) -> None:
        where = f"comparison {self.title!r}"
        _refuse_twice(where, "panel", (panel.name for panel in self.panels))
        for panel in self.panels:
            shape, kind = panel.image.shape, panel.image.dtype
            if shape != self.panels[0].image.shape or shape[2:] != (3,) or kind != np.uint8:
                raise ValueError(f"{where}: panel {panel.name!r} is {shape} {kind}; all must be one (H, W, 3) uint8")
        height, width = self.panels[0].image.shape[:2] if self.panels else (0, 0)
        for x, y, w, h in self.crops:
            if min(x, y) < 0 or min(w, h) < 1 or x + w > width or y + h > height:
                raise ValueError(f"{where}: crop {x, y, w, h} is not inside the {width}x{height} panels")
        if unknown := sorted(self.boxes.keys() - {panel.name for panel in self.panels}):
            raise ValueError(f"{where}: boxes for panels that are not there: {', '.join(unknown)}")


@dataclass(frozen=True)
class Histogram:
    """Bars in groups: one group a label, one bar a series. Raises ValueError for a series of another length."""

    title: str
    labels: tuple[str, ...]
    series: Mapping[str, Sequence[float]]

    def __post_init__(self) -> None:
        for name, values in self.series.items():
            if len(values) != len(self.labels):
                raise ValueError(f"histogram {self.title!r}: {name!r} has {len(values)} of {len(self.labels)} values")


@dataclass(frozen=True)
class Curve:
    """Lines through (x, y) points in the given order; a point that is not finite interrupts its line."""

    title: str
    x_title: str
    y_title: str
    series: Mapping[str, Sequence[tuple[float, float]]]


@dataclass(frozen=True)
class Report:
    """One evaluation. Raises ValueError for two tables of one key."""

    title: str
    command: str = ""
    """What was run, to run it again."""
    facts: Mapping[str, str] = field(default_factory=dict)
    """Date, commit, machine, data: name to text."""
    tables: tuple[Table, ...] = ()
    comparisons: tuple[Comparison, ...] = ()
    histograms: tuple[Histogram, ...] = ()
    curves: tuple[Curve, ...] = ()
    notes: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        _refuse_twice("report", "table", (table.key for table in self.tables))

    @property
    def charts(self) -> tuple[Curve | Histogram, ...]:
        """Curves, then histograms."""
        return (*self.curves, *self.histograms)


def _refuse_twice(where: str, kind: str, names: Iterable[str]) -> None:
    if twice := [name for name, times in Counter(names).items() if times > 1]:
        raise ValueError(f"{where}: {kind} {twice[0]!r} is there twice. Remedy: give each its own name")
