"""The frame of a chart: title, legend, grid, axes with round ticks."""

from __future__ import annotations

from collections.abc import Sequence
from math import ceil, floor, log10, radians, sin
from xml.etree.ElementTree import Element, SubElement

_WIDTH, _PLOT_HEIGHT = 440.0, 200.0
_MARGIN = 14.0
_LINE = 18.0
_LETTER = 7.1
"""Width of an average letter of 12 px, slightly more."""
_TILT = 35.0
_TINY = 1e-99


def add(parent: Element, tag: str, text: str = "", class_: str = "", **attributes: float | str) -> Element:
    """Append an element; numbers are written with two decimals."""
    written = {name: v if isinstance(v, str) else f"{v:.2f}" for name, v in attributes.items()}
    node = SubElement(parent, tag, {"class": class_, **written} if class_ else written)
    node.text = _printable(text) or None
    return node


def color(series: int) -> str:
    """CSS color of a series."""
    return f"var(--s{series % 8})"


def round_ticks(low: float, high: float, about: int = 5) -> list[float]:
    """Multiples of 1, 2, 2.5 or 5 times a power of ten, from at or below `low` to at or above `high`."""
    if high - low <= max(1e-9 * max(abs(low), abs(high)), _TINY):  # one value: some room around it
        room = 0.5 * abs(low) if abs(low) > _TINY else 0.5
        low, high = low - room, high + room
    least = (high - low) / about
    power = 10.0 ** floor(log10(least))
    step = next(step for step in (power, 2 * power, 2.5 * power, 5 * power, 10 * power) if step >= least * (1 - 1e-9))
    return [i * step for i in range(floor(low / step + 1e-9), ceil(high / step - 1e-9) + 1)]


def tick_labels(ticks: Sequence[float]) -> list[str]:
    """Ticks as text with one number of decimals; very large and very small ones with exponents."""
    labels = [f"{tick:.10g}" for tick in ticks]
    if any("e" in label for label in labels):
        return labels
    decimals = max(len(label.partition(".")[2]) for label in labels)
    return [f"{tick:.{decimals}f}" for tick in ticks]


class Axes:
    """An <svg> with everything but the data. x and y map values to its pixels."""

    def __init__(self, title: str, series: Sequence[str], y_range: tuple[float, float], y_title: str = "") -> None:
        """The x axis is added by `number_x` or `name_x`."""
        self.root = Element("svg", {"class": "chart", "role": "img", "aria-label": _printable(title)})
        add(self.root, "rect", class_="paper", width="100%", height="100%", rx="8")
        add(self.root, "text", title, class_="title", x=_MARGIN, y=_MARGIN + 12)
        top = self._legend(series, _MARGIN + 34) if series else _MARGIN + 22
        if y_title:
            add(self.root, "text", y_title, x=_MARGIN, y=top + 12)
            top += _LINE
        ticks = round_ticks(*y_range)
        labels = tick_labels(ticks)
        self.left = _MARGIN + _LETTER * max(map(len, labels)) + 8
        self.right, self.top = _WIDTH - _MARGIN - 6, top + 10
        self.bottom = self.top + _PLOT_HEIGHT
        self._y_range, self._x_range = (ticks[0], ticks[-1]), (0.0, 1.0)
        for tick, label in zip(ticks, labels, strict=True):
            y = self.y(tick)
            add(self.root, "line", class_="grid", x1=self.left, x2=self.right, y1=y, y2=y)
            add(self.root, "text", label, class_="end", x=self.left - 6, y=y + 4)
        zero = self.y(min(max(0.0, ticks[0]), ticks[-1]))
        add(self.root, "line", class_="axis", x1=self.left, x2=self.right, y1=zero, y2=zero)

    @property
    def width(self) -> float:
        """Of the plot."""
        return self.right - self.left

    def x(self, value: float) -> float:
        """Pixels from the left."""
        low, high = self._x_range
        return self.left + self.width * (value - low) / (high - low)

    def y(self, value: float) -> float:
        """Pixels from the top."""
        low, high = self._y_range
        return self.bottom - _PLOT_HEIGHT * (value - low) / (high - low)

    def number_x(self, x_range: tuple[float, float], title: str) -> None:
        """An axis of numbers."""
        ticks = round_ticks(*x_range, about=6)
        self._x_range = ticks[0], ticks[-1]
        for tick, label in zip(ticks, tick_labels(ticks), strict=True):
            add(self.root, "text", label, class_="middle", x=self.x(tick), y=self.bottom + 18)
        add(self.root, "text", title, class_="middle", x=(self.left + self.right) / 2, y=self.bottom + 18 + _LINE)
        self._end(self.bottom + 18 + _LINE)

    def name_x(self, names: Sequence[str]) -> None:
        """An axis of names: tilted where they are too long, thinned where they are too many."""
        slot = self.width / max(1, len(names))
        longest = _LETTER * max(map(len, names), default=0)
        every = 1 if slot >= 14 else ceil((min(longest, 40) + 8) / slot)
        tilted = longest > slot * every - 6
        for k in range(0, len(names), every):
            x, y = self.left + slot * (k + 0.5), self.bottom + 16
            label = add(self.root, "text", names[k], class_="end" if tilted else "middle", x=x, y=y)
            if tilted:
                label.set("transform", f"rotate({-_TILT} {x:.1f} {y:.1f})")
        self._end(self.bottom + 16 + (longest * sin(radians(_TILT)) if tilted else 0))

    def _legend(self, series: Sequence[str], y: float) -> float:
        """Keys in lines that are broken where they would not fit; returns where they end."""
        x = _MARGIN
        for i, name in enumerate(series):
            length = 18 + _LETTER * len(name) + 16
            if x > _MARGIN and x + length > _WIDTH:
                x, y = _MARGIN, y + _LINE
            add(self.root, "rect", x=x, y=y - 9, width="12", height="10", rx="2", style=f"fill:{color(i)}")
            add(self.root, "text", name, class_="series", x=x + 18, y=y)
            x += length
        return y + 6

    def _end(self, bottom: float) -> None:
        self.root.set("viewBox", f"0 0 {_WIDTH:.0f} {bottom + _MARGIN:.0f}")


def _printable(text: str) -> str:
    """Without what XML does not allow."""
    return "".join(letter if letter.isprintable() else " " for letter in text)
