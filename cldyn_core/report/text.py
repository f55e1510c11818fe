"""Figures as text, the same in the page and in Markdown."""

from __future__ import annotations

import re
from math import isinf, isnan

from cldyn_core.report.model import SIGNIFICANT, Column, Table, Value

DASH = "–"  # noqa: RUF001
_ARROWS = {True: " ↑", False: " ↓", None: ""}


def number(value: float, digits: int) -> str:
    """Fixed digits; a dash for nan."""
    if isnan(value):
        return DASH
    if isinf(value):
        return "∞" if value > 0 else "-∞"
    return f"{round(value, digits) + 0.0:.{digits}f}"  # + 0.0: no negative zero


def interval(value: Value, digits: int) -> str:
    """`[low, high]`, empty where there is none."""
    if isnan(value.low) and isnan(value.high):
        return ""
    return f"[{number(value.low, digits)}, {number(value.high, digits)}]"


def heading(column: Column) -> str:
    """Title with an arrow towards the better."""
    return column.title + _ARROWS[column.higher_is_better]


def legend(table: Table) -> list[str]:
    """What the marks of a table mean: those that it has."""
    values = [table.value(row, column) for row in table.rows for column in table.columns]
    ranked = {rank for column in table.columns for rank in table.ranks(column).values()}
    parts = ["bold: best"] if ranked else []
    if 2 in ranked:
        parts.append("underlined: second")
    if any(interval(value, 0) for value in values):
        parts.append("[ ]: bootstrap interval")
    if any(value.significant for value in values):
        against = f" against {table.reference}" if table.reference else ""
        parts.append(f"*: p < {SIGNIFICANT:g}{against} (paired test)")
    if counts := sorted({value.count for value in values if value.count}):
        least, most = counts[0], counts[-1]
        parts.append(f"{most if least == most else f'{least} to {most}'} image{'s' if most > 1 else ''}")
    return parts


def explanations(table: Table) -> list[tuple[str, str]]:
    """(heading, explanation) of the columns that have one."""
    return [(heading(column), column.explanation) for column in table.columns if column.explanation]


def slug(name: str) -> str:
    """A name as part of a file name: ASCII letters and digits, at most 40."""
    return re.sub(r"[^a-z0-9]+", "-", name.lower()).strip("-")[:40].rstrip("-")
