"""Curves and histograms as SVG: inside a page, or as files of their own."""

from __future__ import annotations

from collections.abc import Sequence
from math import isfinite
from pathlib import Path
from xml.etree.ElementTree import Element, tostring

from cldyn_core.report.axes import Axes, add, color
from cldyn_core.report.model import Curve, Histogram

_STYLE = Path(__file__).with_name("charts.css")
_DASHES = ("none", "7 4", "2 4")
_MOST_MARKERS = 24
"""A line of more points has no markers."""


def svg(chart: Curve | Histogram, standalone: bool = False) -> str:
    """An <svg> element that follows light and dark; standalone: with its style, else the page has charts.css."""
    root = _lines(chart) if isinstance(chart, Curve) else _bars(chart)
    if standalone:
        root.set("xmlns", "http://www.w3.org/2000/svg")
        style = Element("style")
        style.text = _STYLE.read_text(encoding="utf-8")
        root.insert(0, style)
    return tostring(root, encoding="unicode")


def _lines(chart: Curve) -> Element:
    points = [point for line in chart.series.values() for point in line if _drawable(point)]
    xs, ys = [x for x, _ in points] or [0.0, 1.0], [y for _, y in points] or [0.0, 1.0]
    axes = Axes(chart.title, list(chart.series), (min(ys), max(ys)), chart.y_title)
    axes.number_x((min(xs), max(xs)), chart.x_title)
    for i, (name, line) in enumerate(chart.series.items()):
        style = f"stroke:{color(i)};stroke-dasharray:{_DASHES[i // 8 % len(_DASHES)]}"
        add(axes.root, "path", class_="line", d=_path(axes, line), style=style)
        for x, y in line if len(line) <= _MOST_MARKERS else ():
            if _drawable((x, y)):
                dot = add(axes.root, "circle", cx=axes.x(x), cy=axes.y(y), r=3.0, style=f"fill:{color(i)}")
                add(dot, "title", f"{name}: {x:.6g}, {y:.6g}")
    return axes.root


def _path(axes: Axes, line: Sequence[tuple[float, float]]) -> str:
    steps, pen = [], "M"
    for point in line:
        if _drawable(point):
            steps.append(f"{pen}{axes.x(point[0]):.1f} {axes.y(point[1]):.1f}")
        pen = "L" if _drawable(point) else "M"
    return "".join(steps)


def _bars(chart: Histogram) -> Element:
    heights = [value for values in chart.series.values() for value in values if isfinite(value)]
    axes = Axes(chart.title, list(chart.series), (min([0.0, *heights]), max([0.0, *heights])))
    axes.name_x(chart.labels)
    slot = axes.width / max(1, len(chart.labels))
    width = slot * (0.8 if slot > 8 else 1.0) / max(1, len(chart.series))
    for i, (name, values) in enumerate(chart.series.items()):
        for k, value in enumerate(values):
            if not isfinite(value):
                continue
            left = axes.left + slot * (k + 0.5) + width * (i - len(chart.series) / 2)
            top, bottom = sorted((axes.y(value), axes.y(0)))
            gap = min(1.0, width / 5)
            bar = add(axes.root, "rect", x=left + gap / 2, y=top, width=width - gap, height=bottom - top)
            bar.set("style", f"fill:{color(i)}")
            add(bar, "title", f"{name}, {chart.labels[k]}: {value:.6g}")
    return axes.root


def _drawable(point: tuple[float, float]) -> bool:
    return isfinite(point[0]) and isfinite(point[1])
