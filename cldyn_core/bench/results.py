"""From turns to figures: medians, ratios taken round by round, and how far the executor is from the machine's floor."""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from cldyn_core.bench.floor import floor_ms
from cldyn_core.bench.laps import FUSION, LOOP, Lap
from cldyn_core.bench.rounds import Record

REFERENCE, PROBE, EAGER = "reference", "machine", "torch fp32"
"""Names of the sides that are always there; the third is an engine."""
_STREAM = "stream"


@dataclass(frozen=True)
class Row:
    """One way of one side at one size."""

    scope: str
    side: str
    way: str
    turns: tuple[Lap, ...]
    """One a round."""

    @property
    def ms(self) -> float:
        """Median over the rounds."""
        return statistics.median(lap.total_ms for lap in self.turns)

    @property
    def stages_ms(self) -> dict[str, float]:
        """Median of each stage."""
        names = self.turns[0].stages_ms
        return {name: statistics.median(lap.stages_ms[name] for lap in self.turns) for name in names}

    def faster_than(self, other: Row) -> list[float]:
        """How many times as fast as another row, lowest, median and highest of the rounds."""
        ratios = [theirs.total_ms / ours.total_ms for ours, theirs in zip(self.turns, other.turns, strict=True)]
        return [min(ratios), statistics.median(ratios), max(ratios)]


class SizeResult:
    """All figures of one size."""

    def __init__(self, records: Mapping[str, Record], pixels: int, period: int, usual: str = "fp32") -> None:
        """period: frames that a stream holds its plan; usual: the precision that AUTO stands for. Needs all sides that
        are always there.
        """
        self.engines = {n: r for n, r in records.items() if n not in (REFERENCE, PROBE) and not r.unavailable}
        self.rows = list(_rows(records, period))
        self.rates = _best(records[PROBE].turns)
        self.memory_mb = {name: r.facts["memory_mb"] for name, r in records.items() if r.facts and name != PROBE}
        self._pixels, self._usual = pixels, usual

    def row(self, scope: str, side: str, way: str) -> Row | None:
        """One row; None where it was not measured."""
        found = (row for row in self.rows if (row.scope, row.side, row.way) == (scope, side, way))
        return next(found, None)

    @property
    def best(self) -> str:
        """The engine whose stream is the fastest, among those in the usual precision where there are any."""
        streams = [row for row in self.rows if row.scope == FUSION and row.way == _STREAM]
        usual = [row for row in streams if self.engines[row.side].facts["precision"] == self._usual]
        return min(usual or streams, key=lambda row: row.ms).side

    def ratios(self) -> dict[str, float]:
        """Above 1: faster. Of the best engine; what was not measured is left out."""
        pairs = {
            "stream_vs_reference": ((FUSION, self.best, _STREAM), (FUSION, REFERENCE, "reference")),
            "exact_vs_reference": ((FUSION, self.best, "exact"), (FUSION, REFERENCE, "reference")),
            "open_vs_reference": ((FUSION, self.best, "open"), (FUSION, REFERENCE, "reference")),
            "executor_vs_eager": ((FUSION, self.best, "open"), (FUSION, REFERENCE, "first_pass")),
            "loop_stream_vs_reference": ((LOOP, self.best, _STREAM), (LOOP, REFERENCE, "reference")),
            "loop_exact_vs_reference": ((LOOP, self.best, "exact"), (LOOP, REFERENCE, "reference")),
        }
        found = {name: (self.row(*ours), self.row(*theirs)) for name, (ours, theirs) in pairs.items()}
        return {n: round(ours.faster_than(theirs)[1], 3) for n, (ours, theirs) in found.items() if ours and theirs}

    def floors(self) -> dict[str, dict[str, float]]:
        """By side: measured and least milliseconds of a pass without and with held kernels, and their quotient."""
        found = {}
        for side, record in self.engines.items():
            for way, count in record.facts["multiply_adds"].items():
                floor = floor_ms(count, self._pixels, record.facts["precision"], self.rates)
                if (row := self.row(FUSION, side, way)) and floor:
                    figures = {"multiply_adds_a_pixel": count, "floor_ms": floor, "measured_ms": row.ms}
                    found[f"{side} {way}"] = {**figures, "distance": row.ms / floor}
        return found

    def as_json(self) -> dict[str, Any]:
        """Plain data."""
        return {
            "best": self.best,
            "ratios": self.ratios(),
            "rows": [self._row_json(row) for row in self.rows],
            "floors": self.floors(),
            "machine": self.rates,
            "memory_mb": self.memory_mb,
            "engines": {name: record.facts["describe"] for name, record in self.engines.items()},
        }

    def _row_json(self, row: Row) -> dict[str, Any]:
        facts = self.engines[row.side].facts if row.side in self.engines else {"backend": "", "precision": "fp32"}
        reference = self.row(row.scope, REFERENCE, "reference")
        low, middle, high = row.faster_than(reference) if reference else (None, None, None)
        return {
            "scope": row.scope,
            "side": row.side,
            "backend": facts["backend"],
            "precision": facts["precision"],
            "way": row.way,
            "ms": row.ms,
            "stages_ms": row.stages_ms,
            "rounds": len(row.turns),
            "vs_reference": {"low": low, "median": middle, "high": high},
        }


def _rows(records: Mapping[str, Record], period: int) -> list[Row]:
    rows: list[Row] = []
    for side, record in records.items():
        if side == PROBE or not record.turns:
            continue
        laps = {(lap.scope, lap.way): tuple(t[i] for t in record.turns) for i, lap in enumerate(record.turns[0])}
        rows += [Row(scope, side, way, turns) for (scope, way), turns in laps.items()]
        for scope in (FUSION, LOOP):
            held, planned = laps.get((scope, "stream_held")), laps.get((scope, "stream_made"))
            if held and planned:
                turns = tuple(_shared(*pair, period) for pair in zip(held, planned, strict=True))
                rows.append(Row(scope, side, _STREAM, turns))
    return rows


def _shared(held: Lap, planned: Lap, period: int) -> Lap:
    """The average frame of a stream: one in `period` frames plans."""

    def average(of_held: float, of_planned: float) -> float:
        return ((period - 1) * of_held + of_planned) / period

    names = dict.fromkeys((*held.stages_ms, *planned.stages_ms))
    stages = {name: average(held.stages_ms.get(name, 0.0), planned.stages_ms.get(name, 0.0)) for name in names}
    return Lap(held.scope, _STREAM, average(held.total_ms, planned.total_ms), stages)


def _best(turns: Sequence[Mapping[str, float]]) -> dict[str, float]:
    return {name: max(turn[name] for turn in turns) for name in turns[0]}
