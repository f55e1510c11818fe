"""A report as one HTML page that needs no other file and no network."""

from __future__ import annotations

from base64 import b64encode
from math import ceil, isnan
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from cldyn_core.report.charts import svg
from cldyn_core.report.model import Column, Comparison, Panel, Report, Row, Table
from cldyn_core.report.pictures import PAGE_WIDTH, Image, at_most, crop_color, crop_name, encode, enlarged, label_colors
from cldyn_core.report.text import explanations, heading, interval, legend, number

_PAGE = Environment(
    loader=FileSystemLoader(Path(__file__).parent),
    autoescape=True,
    undefined=StrictUndefined,
    trim_blocks=True,
    lstrip_blocks=True,
)


def to_html(report: Report) -> str:
    """The page: report.html.jinja with its style and script, pictures as data URLs, charts as SVG."""
    colors = label_colors(report.comparisons)
    return _PAGE.get_template("report.html.jinja").render(
        report=report,
        tables=[_table(table) for table in report.tables],
        comparisons=[_comparison(comparison, colors) for comparison in report.comparisons],
        charts=[Markup(svg(chart)) for chart in report.charts],  # nosec B704: ElementTree escapes its text
        page_width=PAGE_WIDTH,
    )


def _table(table: Table) -> dict[str, Any]:
    ranks = [table.ranks(column) for column in table.columns]
    return {
        "table": table,
        "headings": [(heading(column), column) for column in table.columns],
        "rows": [
            (row, [_cell(table, row, c, rank.get(row.name, 0)) for c, rank in zip(table.columns, ranks, strict=True)])
            for row in table.rows
        ],
        "legend": legend(table),
        "explanations": explanations(table),
    }


def _cell(table: Table, row: Row, column: Column, rank: int) -> dict[str, Any]:
    value = table.value(row, column)
    hints = [f"{value.count} images"] if value.count else []
    if not isnan(value.p):
        hints.append(f"p = {value.p:.2g}" + (f" against {table.reference}" if table.reference else ""))
    return {
        "text": number(value.value, column.digits),
        "interval": interval(value, column.digits),
        "rank": ("", "best", "second")[rank],
        "significant": value.significant,
        "hint": ", ".join(hints),
        "sort": "" if isnan(value.value) else repr(float(value.value)),
    }


def _comparison(comparison: Comparison, colors: dict[str, str]) -> dict[str, Any]:
    count = len(comparison.panels)
    labels = {box.label for boxes in comparison.boxes.values() for box in boxes}
    return {
        "title": comparison.title,
        "labels": sorted((label, colors[label]) for label in labels),
        "columns": count if count <= 5 else min(5, ceil(count / 2)),
        "panels": [_panel(comparison, panel, colors) for panel in comparison.panels],
    }


def _panel(comparison: Comparison, panel: Panel, colors: dict[str, str]) -> dict[str, Any]:
    """A panel with what is laid over it: sharp and of readable size whatever the size of the picture."""
    height, width = panel.image.shape[:2]
    crops = [
        {
            "name": crop_name(i),
            "color": crop_color(i),
            "source": _source(enlarged(panel.image, (x, y, w, h))),
            "aspect": w / h,
            "place": _place((x, y, x + w, y + h), width, height),
        }
        for i, (x, y, w, h) in enumerate(comparison.crops)
    ]
    boxes = [
        {
            "text": box.text,
            "color": colors[box.label],
            "place": _place((box.x0, box.y0, box.x1, box.y1), width, height),
            "inside": box.y0 < 0.08 * height,
            "leftwards": box.x0 > 0.7 * width,
        }
        for box in comparison.boxes.get(panel.name, ())
    ]
    return {
        "name": panel.name,
        "source": _source(at_most(panel.image, PAGE_WIDTH)),
        "width": width,
        "height": height,
        "crops": crops,
        "boxes": boxes,
    }


def _place(corners: tuple[float, float, float, float], width: int, height: int) -> str:
    """CSS of a rectangle, clipped to the panel."""
    x0, x1 = (min(max(x, 0.0), width) / width for x in corners[::2])
    y0, y1 = (min(max(y, 0.0), height) / height for y in corners[1::2])
    return f"left:{x0:.2%};top:{y0:.2%};width:{x1 - x0:.2%};height:{y1 - y0:.2%}"


def _source(image: Image) -> str:
    return "data:image/webp;base64," + b64encode(encode(image)).decode()
