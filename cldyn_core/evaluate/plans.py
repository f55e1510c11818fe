"""Which configurations the plans choose, task by task."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence

from cldyn_core.evaluate.units import Record
from cldyn_core.report import Histogram

CONFIGURATION_NAMES = ("1x1", "3x3", "3x3, dilation 2", "3x3, dilation 3")


def plan_histograms(rows: Mapping[str, Sequence[Record]]) -> tuple[Histogram, ...]:
    """Share of each configuration among all branches of all pairs, by method; empty where nothing was planned."""
    series = {name: _shares(records) for name, records in rows.items() if any(r["plan"] for r in records)}
    return (Histogram("Chosen configurations", CONFIGURATION_NAMES, series),) if series else ()


def _shares(records: Sequence[Record]) -> list[float]:
    chosen = Counter(configuration for record in records for configuration, _ in record["plan"])
    return [chosen[c] / chosen.total() for c in range(len(CONFIGURATION_NAMES))]
