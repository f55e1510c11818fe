"""The figures as text for a terminal."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from cldyn_core.bench.laps import FUSION, LOOP
from cldyn_core.report.markdown import aligned

_STAGES = ("convert", "plan", "execute", "task", "publish")
_TITLES = {
    FUSION: "Fusion alone (luma in, luma out; fixed task feature), ms",
    LOOP: "Whole loop (8-bit images in, bytes of a message out), ms",
}


def as_text(document: Mapping[str, Any]) -> str:
    """All of the document of `cldyn bench`."""
    return "\n\n".join(_blocks(document))


def _blocks(document: Mapping[str, Any]) -> Iterator[str]:
    hardware, conditions = document["hardware"], document["conditions"]
    sets = ", ".join(hardware["instruction_sets"]) or "no instruction sets known"
    yield "\n".join(
        (
            f"{hardware['gpu'] or hardware['cpu']}, {hardware['cores']} cores ({sets}), "
            f"{conditions['threads']} threads, {conditions['device']}",
            *document["notes"],
            *(f"left out: {name}: {why}" for name, why in document["left_out"].items()),
        )
    )
    for size, result in document["sizes"].items():
        for scope in (FUSION, LOOP):
            rows = [row for row in result["rows"] if row["scope"] == scope]
            if rows:
                yield f"{size}. {_TITLES[scope]}\n{_table(rows)}"
        yield f"{size}. {_rest(result)}"
    yield "\n".join((f"Ratios at {conditions['sizes'][0]} (above 1: faster):", *_ratios(document["ratios"])))


def _table(rows: list[dict[str, Any]]) -> str:
    stages = [stage for stage in _STAGES if any(stage in row["stages_ms"] for row in rows)]
    cells = [
        [
            row["side"] if row["side"] == row["way"] else f"{row['side']}, {_way(row['way'])}",
            *(_number(row["stages_ms"].get(stage)) for stage in stages),
            _number(row["ms"]),
            _ratio(row["vs_reference"]),
        ]
        for row in rows
    ]
    return aligned(["", *stages, "frame", "times as fast"], cells)


def _rest(result: Mapping[str, Any]) -> str:
    rates = result["machine"]
    copy = rates["copy"] / 1e9
    peaks = ", ".join(f"{name} {rate / 1e9:.0f} GFLOP/s" for name, rate in rates.items() if name != "copy")
    floors = [
        [
            _way(name),
            f"{floor['multiply_adds_a_pixel']:.0f}",
            _number(floor["floor_ms"]),
            _number(floor["measured_ms"]),
            f"{floor['distance']:.2f}",
        ]
        for name, floor in result["floors"].items()
    ]
    table = aligned(["", "multiply-adds a pixel", "floor", "measured", "measured / floor"], floors)
    memory = ", ".join(f"{name} {_number(megabytes, 0)}" for name, megabytes in result["memory_mb"].items())
    return f"Machine: {peaks}, copy {copy:.0f} GB/s. A pass against its floor, ms\n{table}\nPeak memory, MB: {memory}"


def _way(name: str) -> str:
    return name.replace("stream_", "stream, plan ").replace("_", " ")


def _ratios(ratios: Mapping[str, float]) -> list[str]:
    return [f"  {name:26} {ratio:7.2f}" for name, ratio in ratios.items()]


def _ratio(ratio: Mapping[str, Any]) -> str:
    if ratio["median"] is None:
        return ""
    return f"{ratio['median']:.2f} [{ratio['low']:.2f}, {ratio['high']:.2f}]"


def _number(value: float | None, digits: int = 1) -> str:
    return "" if value is None else f"{value:.{digits}f}"
