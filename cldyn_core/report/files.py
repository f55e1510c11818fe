"""A report as files: page, Markdown, CSV, JSON, pictures."""

from __future__ import annotations

import csv
import dataclasses
import io
import json
import re
from collections.abc import Iterator, Mapping
from math import isnan
from pathlib import Path
from typing import Any

import numpy as np

from cldyn_core.checkpoint import write_whole
from cldyn_core.report.charts import svg
from cldyn_core.report.html import to_html
from cldyn_core.report.markdown import chart_file, crop_file, panel_file, to_markdown
from cldyn_core.report.model import Report, Table
from cldyn_core.report.pictures import drawn, encode, enlarged, label_colors


def write_report(report: Report, folder: Path) -> Path:
    """Write report.html, report.md, report.json, a CSV a table, and pictures/; return the path of the page.

    An earlier report in the folder is replaced, together with its files that the new one does not have; others stay.
    """
    (folder / "pictures").mkdir(parents=True, exist_ok=True)
    old = _listed(folder / "report.json")
    new = []
    for name, content in _files(report):
        write_whole(folder / name, content)
        new.append(name)
    write_whole(folder / "report.json", (json.dumps({**to_json(report), "files": new}, indent=2) + "\n").encode())
    for name in old - set(new):
        (folder / name).unlink(missing_ok=True)
    return folder / "report.html"


def to_csv(table: Table) -> str:
    """One line a figure, nothing rounded: row,column,value,low,high,count,p."""
    text = io.StringIO()
    lines = csv.writer(text, lineterminator="\n")
    lines.writerow(("row", "column", "value", "low", "high", "count", "p"))
    for row in table.rows:
        for column in table.columns:
            v = table.value(row, column)
            figures = (float(v.value), float(v.low), float(v.high), int(v.count), float(v.p))
            lines.writerow((row.name, column.key, *(repr(figure) for figure in figures)))
    return text.getvalue()


def to_json(report: Report) -> dict[str, Any]:
    """All but the pixels, for `json.dumps`: nan becomes None, an infinity "inf" or "-inf", a panel its name."""
    return {field.name: _plain(getattr(report, field.name)) for field in dataclasses.fields(report)}


def _plain(value: Any) -> Any:
    if dataclasses.is_dataclass(value):
        fields = {field.name: getattr(value, field.name) for field in dataclasses.fields(value)}
        return {name: _plain(held) for name, held in fields.items() if not isinstance(held, np.ndarray)}
    if isinstance(value, Mapping):
        return {str(key): _plain(held) for key, held in value.items()}
    if isinstance(value, np.generic):
        return _plain(value.item())
    if isinstance(value, float):
        return None if isnan(value) else value if abs(value) < float("inf") else str(value)
    if isinstance(value, (str, int, type(None))):
        return value
    return [_plain(held) for held in value]


def _files(report: Report) -> Iterator[tuple[str, bytes]]:
    """(name below the folder, content), what others refer to first."""
    colors = label_colors(report.comparisons)
    for i, comparison in enumerate(report.comparisons):
        for j, panel in enumerate(comparison.panels):
            yield panel_file(comparison, i, j), encode(drawn(comparison, panel, colors))
            for k, crop in enumerate(comparison.crops):
                yield crop_file(comparison, i, j, k), encode(enlarged(panel.image, crop))
    for i, chart in enumerate(report.charts):
        yield chart_file(chart, i), _bytes(svg(chart, standalone=True))
    for table in report.tables:
        yield f"{table.key}.csv", _bytes(to_csv(table))
    yield "report.md", _bytes(to_markdown(report))
    yield "report.html", _bytes(to_html(report))


def _bytes(text: str) -> bytes:
    return text.encode(errors="replace")  # names of files may hold what UTF-8 cannot


def _listed(path: Path) -> set[str]:
    """Files of the report that a report.json belongs to; only plain names in its folder and in pictures/ count."""
    try:
        names = json.loads(path.read_bytes())["files"]
    except (OSError, ValueError, KeyError, TypeError):  # none, or not ours
        return set()
    return {name for name in names if re.fullmatch(r"(pictures/)?[A-Za-z0-9_-][A-Za-z0-9._-]*", str(name))}
