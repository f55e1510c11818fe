"""A report as GitHub Markdown, with its pictures as files beside it."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence

from cldyn_core.report.model import Column, Comparison, Curve, Histogram, Report, Row, Table
from cldyn_core.report.pictures import crop_name
from cldyn_core.report.text import explanations, heading, interval, legend, number, slug


def to_markdown(report: Report) -> str:
    """Tables are aligned in the text, too."""
    return "\n\n".join(_blocks(report)) + "\n"


def panel_file(comparison: Comparison, i: int, j: int) -> str:
    """Name of the j-th panel of the i-th comparison, from the report's folder."""
    return f"pictures/{i + 1:02d}-{j + 1}-{slug(comparison.panels[j].name)}.webp"


def crop_file(comparison: Comparison, i: int, j: int, k: int) -> str:
    """Name of that panel's k-th crop."""
    return f"pictures/{i + 1:02d}-{j + 1}-{slug(comparison.panels[j].name)}-crop{k + 1}.webp"


def chart_file(chart: Curve | Histogram, i: int) -> str:
    """Name of the i-th chart."""
    return f"pictures/chart{i + 1:02d}-{slug(chart.title)}.svg"


def escape(text: str) -> str:
    """A text that is shown as it is, on one line."""
    return re.sub(r"([\\`*_{}\[\]<>|~#&@])", r"\\\1", " ".join(text.split()))


def aligned(header: Sequence[str], rows: Sequence[Sequence[str]], right: bool = True) -> str:
    """A table whose columns are aligned; all but the first to the right, if asked."""
    widths = [max(3, *(len(line[i]) for line in (header, *rows))) for i in range(len(header))]
    rule = ["-" * width if i == 0 or not right else "-" * (width - 1) + ":" for i, width in enumerate(widths)]

    def line(cells: Sequence[str]) -> str:
        padded = (c.rjust(w) if i and right else c.ljust(w) for i, (c, w) in enumerate(zip(cells, widths, strict=True)))
        return "| " + " | ".join(padded) + " |"

    return "\n".join(line(cells) for cells in (header, rule, *rows))


def _blocks(report: Report) -> Iterator[str]:
    yield f"# {escape(report.title)}"
    if report.command:
        fence = "`" * max([3, *(len(run) + 1 for run in re.findall("`+", report.command))])
        yield f"{fence}sh\n{report.command}\n{fence}"
    if report.facts:
        yield "\n".join(f"- {escape(name)}: {escape(fact)}" for name, fact in report.facts.items())
    for table in report.tables:
        yield from _table(table)
    if report.charts:
        yield "## Charts"
        yield from (f"![{escape(chart.title)}]({chart_file(chart, i)})" for i, chart in enumerate(report.charts))
    if report.comparisons:
        yield "## Pictures"
    for i, comparison in enumerate(report.comparisons):
        yield from _comparison(comparison, i)
    if report.notes:
        yield "## Notes"
        yield "\n".join(f"- {escape(note)}" for note in report.notes)


def table_markdown(table: Table) -> str:
    """One table with its heading, caption and legend."""
    return "\n\n".join(_table(table))


def _table(table: Table) -> Iterator[str]:
    yield f"## {escape(table.title)}"
    if table.caption:
        yield escape(table.caption)
    header = [escape(table.row_title), *(escape(heading(column)) for column in table.columns)]
    ranks = {column.key: table.ranks(column) for column in table.columns}
    yield aligned(header, [_row(table, row, ranks) for row in table.rows])
    if marks := legend(table):
        yield f"{escape('; '.join(marks))}."
    if explained := explanations(table):
        yield "\n".join(f"- {escape(name)}: {escape(text)}" for name, text in explained)


def _row(table: Table, row: Row, ranks: dict[str, dict[str, int]]) -> list[str]:
    name = escape(f"{row.name} ({row.note})" if row.note else row.name)
    return [name, *(_cell(table, row, column, ranks[column.key].get(row.name, 0)) for column in table.columns)]


def _cell(table: Table, row: Row, column: Column, rank: int) -> str:
    value = table.value(row, column)
    text = number(value.value, column.digits)
    text = (text, f"**{text}**", f"<u>{text}</u>")[rank] + (r"\*" if value.significant else "")
    return f"{text} {interval(value, column.digits)}".rstrip()


def _comparison(comparison: Comparison, i: int) -> Iterator[str]:
    yield f"### {escape(comparison.title)}"
    names = [escape(panel.name) for panel in comparison.panels]
    rows = [[f"![{name}]({panel_file(comparison, i, j)})" for j, name in enumerate(names)]]
    for k in range(len(comparison.crops)):
        letter = crop_name(k)
        rows.append([f"![{name}, crop {letter}]({crop_file(comparison, i, j, k)})" for j, name in enumerate(names)])
    if names:
        yield aligned(names, rows, right=False)
