"""`cldyn eval` as a user calls it, quickly, and its report as the other programs read it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from cldyn_core.cli import main

QUICK = ["--rounds=20", "--pictures=1", "--workers=1", "--device=cpu"]


def evaluate(out: Path, table: str, *words: object) -> dict[str, Any]:
    """The report as JSON."""
    assert main(["eval", table, *map(str, words), "--out", str(out), *QUICK]) == 0
    report: dict[str, Any] = json.loads((out / "report.json").read_text())
    return report


def cells(table: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """Row name -> column key -> value."""
    return {row["name"]: {key: cell["value"] for key, cell in row["values"].items()} for row in table["rows"]}
