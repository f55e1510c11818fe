"""Evaluation reports: ranks, figures in every format, escaping, pictures, charts, files."""

from __future__ import annotations

import csv
import json
import math
import re
from html.parser import HTMLParser
from pathlib import Path
from xml.etree.ElementTree import fromstring

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cldyn_core.report import (
    Box,
    Column,
    Comparison,
    Curve,
    Histogram,
    Panel,
    Report,
    Row,
    Table,
    Value,
    difference,
    write_report,
)
from cldyn_core.report.axes import round_ticks
from cldyn_core.report.charts import svg
from cldyn_core.report.files import to_csv, to_json
from cldyn_core.report.html import to_html
from cldyn_core.report.markdown import escape, to_markdown
from cldyn_core.report.pictures import PAGE_WIDTH, at_most, drawn, enlarged, label_colors

NASTY = "<script>alert('x')</script> & \"quoted\" | *pipe* `tick` \x07\udcff"
VOID = {"meta", "img", "br", "link", "hr", "input"}
FIGURES = st.floats(-1e6, 1e6) | st.just(math.nan)


def scene(seed: int, size: tuple[int, int] = (48, 64)) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (*size, 3), dtype=np.uint8)


def example(name: str = "ours") -> Report:
    columns = (Column("en", "EN", True, 2, "Entropy."), Column("qcv", "Q_CV", False, 1), Column("ms", "Time", None, 1))
    rows = (
        Row("mean", {"en": Value(6.5, 6.25, 6.75, 20), "qcv": Value(500.0), "ms": Value(1.0)}),
        Row(name, {"en": Value(7.0, 6.75, 7.25, 20, 0.01), "qcv": Value(math.nan), "ms": Value(9.0)}, note="closed"),
        Row("max", {"en": Value(5.0, 4.5, 5.5, 20, 0.5), "qcv": Value(400.0)}),
    )
    boxes = {name: (Box(-5, 2, 30, 20, "car", 0.9), Box(40, 30, 80, 60, name))}
    return Report(
        title=f"Evaluation of {name}",
        command=f"cldyn eval ``` {name}",
        facts={"commit": "abc", name: name},
        tables=(Table("fusion", "Fusion", columns, rows, "Caption.", reference="mean"),),
        comparisons=(Comparison(name, (Panel("mean", scene(0)), Panel(name, scene(1))), ((4, 8, 16, 12),), boxes),),
        histograms=(Histogram("Plans", ("1x1", name), {"detection": (0.25, 0.75), name: (math.nan, -0.1)}),),
        curves=(Curve("mAP", "alpha", name, {name: ((0, 0.1), (0.5, math.nan), (1, 0.3)), "none": ()}),),
        notes=(name,),
    )


class Balance(HTMLParser):
    """Checks that every tag is closed, and collects what the page refers to."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.links: list[str] = []
        self.text = ""

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.links += [value or "" for name, value in attrs if name in ("src", "href", "srcset", "action")]
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """An element of SVG that closes itself."""

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text += data


def read(page: str) -> Balance:
    parser = Balance()
    parser.feed(page)
    parser.close()
    assert not parser.open
    return parser


@given(
    st.lists(st.integers(-3, 3).map(float) | FIGURES, min_size=1, max_size=8),
    st.sampled_from([True, False, None]),
    st.integers(0, 4),
)
def test_ranks(figures: list[float], higher: bool | None, digits: int) -> None:
    column = Column("c", "C", higher, digits)
    rows = tuple(Row(str(i), {"c": Value(figure)}) for i, figure in enumerate(figures))
    ranks = Table("t", "T", (column,), rows).ranks(column)
    shown = {str(i): round(figure, digits) for i, figure in enumerate(figures) if not math.isnan(figure)}
    if higher is None or len(set(shown.values())) < 2:
        assert ranks == {}
        return
    for name, figure in shown.items():  # the rank is one more than the number of different better figures
        better = {other for other in shown.values() if (other > figure if higher else other < figure)}
        assert ranks.get(name) == (len(better) + 1 if len(better) < 2 else None)
    assert ranks.keys() <= shown.keys()


@given(st.lists(st.tuples(FIGURES, FIGURES, FIGURES, st.integers(0, 99), FIGURES), min_size=1, max_size=5))
@settings(max_examples=40)
def test_figures_survive_csv_and_json(figures: list[tuple[float, float, float, int, float]]) -> None:
    rows = tuple(Row(f'row, "{i}"\n', {"c": Value(*figure)}) for i, figure in enumerate(figures))
    table = Table("t", "T", (Column("c", "C", True),), rows)
    lines = list(csv.DictReader(to_csv(table).splitlines(keepends=True)))
    stored = json.loads(json.dumps(to_json(Report("R", tables=(table,))), allow_nan=False))["tables"][0]["rows"]
    for row, line, entry in zip(rows, lines, stored, strict=True):
        value = row.values["c"]
        assert (line["row"], line["column"], entry["name"]) == (row.name, "c", row.name)
        for field in ("value", "low", "high", "count", "p"):
            exact = getattr(value, field)
            held = entry["values"]["c"][field]
            assert held is None if math.isnan(exact) else held == exact
            assert np.array_equal(float(line[field]), exact, equal_nan=True)


def test_numpy_figures_are_figures() -> None:
    value = Value(np.float32(0.5), np.float64("inf"), count=np.int64(3))  # type: ignore[arg-type]
    report = Report("R", tables=(Table("t", "T", (Column("c", "C", True),), (Row("a", {"c": value}),)),))
    assert to_json(report)["tables"][0]["rows"][0]["values"]["c"] == {
        "value": 0.5, "low": "inf", "high": None, "count": 3, "p": None,
    }  # fmt: skip
    assert "a,c,0.5,inf,nan,3,nan" in to_csv(report.tables[0])


def test_page_is_whole_and_needs_nothing_else() -> None:
    page = read(to_html(example(NASTY)))
    assert page.links and all(link.startswith(("data:image/webp;base64,", "#")) for link in page.links)
    assert not re.search(r"url\(|@import|https?://", to_html(example(NASTY)))
    assert "default-src 'none'" in to_html(example())


def test_names_are_escaped() -> None:
    page = to_html(example(NASTY))
    assert page.count("<script>") == 1 and "<script>alert" not in page
    assert NASTY in read(page).text
    assert read(to_html(Report(NASTY))).open == []


def test_page_shows_marks() -> None:
    page = to_html(example())
    assert re.search(r'class="best"[^>]*><span class="figure">7.00</span><sup>\*</sup><small>\[6.75, 7.25\]', page)
    assert re.search(r'class="second"[^>]*><span class="figure">6.50<', page)
    assert '<td data-value=""><span class="figure">–</span></td>' in page  # noqa: RUF001
    assert "p = 0.01 against mean" in page and page.count("<sup>") == 1


def split(line: str) -> list[str]:
    return [cell.strip() for cell in re.split(r"(?<!\\)\|", line)[1:-1]]


@pytest.mark.parametrize("name", ["ours", NASTY])
def test_markdown_tables_are_aligned(name: str) -> None:
    text = to_markdown(example(name))
    tables = re.findall(r"(?:^\|.*\|$\n?)+", text, re.MULTILINE)
    assert len(tables) == 2  # figures and pictures
    for table in tables:
        lines = table.splitlines()
        bars = [[m.start() for m in re.finditer(r"(?<!\\)\|", line)] for line in lines]
        assert all(places == bars[0] for places in bars)
    mean, ours, largest = (split(line) for line in tables[0].splitlines()[2:])
    assert ours == [escape(f"{name} (closed)"), r"**7.00**\* [6.75, 7.25]", "–", "9.0"]  # noqa: RUF001
    assert mean[1:3] == ["<u>6.50</u> [6.25, 6.75]", "<u>500.0</u>"]
    assert largest[1:] == ["5.00 [4.50, 5.50]", "**400.0**", "–"]  # noqa: RUF001


def test_files(tmp_path: Path) -> None:
    (tmp_path / "pictures").mkdir()
    for kept in ("own.txt", "pictures/own.png"):
        (tmp_path / kept).write_text("mine")
    write_report(example(NASTY), tmp_path)
    names = set(re.findall(r"\]\((pictures/[^)]+)\)", (tmp_path / "report.md").read_text()))
    assert len(names) == 6  # 2 panels, 2 crops, 2 charts
    for name in names:
        if name.endswith(".webp"):
            assert cv2.imread(str(tmp_path / name)) is not None
        else:
            fromstring((tmp_path / name).read_bytes())

    path = write_report(Report("Empty"), tmp_path)
    assert path == tmp_path / "report.html" and "Empty" in path.read_text()
    left = {str(file.relative_to(tmp_path)) for file in tmp_path.rglob("*") if file.is_file()}
    assert left == {"own.txt", "pictures/own.png", "report.html", "report.md", "report.json"}


def test_nothing_outside_the_folder_is_removed(tmp_path: Path) -> None:
    (tmp_path / "secret").write_text("mine")
    folder = tmp_path / "report"
    folder.mkdir()
    (folder / "report.json").write_text(json.dumps({"files": ["../secret", str(tmp_path / "secret"), "pictures/.."]}))
    write_report(Report("R"), folder)
    assert (tmp_path / "secret").read_text() == "mine"


def test_pictures() -> None:
    big = scene(3, (300, 2 * PAGE_WIDTH))
    assert at_most(big, PAGE_WIDTH).shape == (150, PAGE_WIDTH, 3)
    crop = enlarged(big, (1000, 10, 90, 30))
    assert np.array_equal(crop[::4, ::4], big[10:40, 1000:1090])
    assert (difference(big, big) == 128).all()
    assert difference(np.full_like(big, 9), np.zeros_like(big))[0, 0, 0] == 128 + 36


def test_boxes_are_drawn_in_the_color_of_their_label() -> None:
    black = np.zeros((200, 300, 3), np.uint8)
    comparison = Comparison("c", (Panel("p", black),), (), {"p": (Box(50, 60, 250, 150, "car", 0.5),)})
    colors = label_colors([comparison])
    picture = drawn(comparison, comparison.panels[0], colors)
    assert tuple(picture[100, 50]) == tuple(bytes.fromhex(colors["car"][1:])) == tuple(picture[150, 200])
    assert not picture[65:145, 60:240].any() and not black.any()


@given(st.floats(-1e9, 1e9), st.floats(0, 1e9))
def test_ticks_are_round_and_cover(low: float, length: float) -> None:
    ticks = round_ticks(low, low + length)
    step = (ticks[-1] - ticks[0]) / (len(ticks) - 1)
    assert 2 <= len(ticks) <= 8
    assert ticks[0] <= low + 1e-4 * step and ticks[-1] >= low + length - 1e-4 * step
    mantissa = step / 10 ** math.floor(math.log10(step) + 1e-4)
    assert min(abs(mantissa - round_one) for round_one in (1, 2, 2.5, 5)) < 1e-3


def test_bars_are_as_high_as_their_values() -> None:
    root = fromstring(svg(Histogram("H", ("a", "b", "c"), {"s": (1.0, 2.0, math.nan)}), standalone=True))
    bars = [node for node in root if node.tag.endswith("rect") and len(node)]
    heights = [float(bar.attrib["height"]) for bar in bars]
    assert len(heights) == 2 and heights[1] == pytest.approx(2 * heights[0], abs=0.1)


def test_a_gap_interrupts_the_line() -> None:
    line = [(0.0, 0.0), (1.0, 1.0), (2.0, math.nan), (3.0, 1.0), (4.0, 2.0)]
    path = re.search(r' d="([^"]*)"', svg(Curve("C", "x", "y", {"s": line})))
    assert path and re.sub(r"[\d. ]", "", path[1]) == "MLML"


@pytest.mark.parametrize(
    ("make", "text"),
    [
        (lambda: Table("../x", "T", (), ()), "names a file"),
        (lambda: Table("t", "T", (), (Row("a", {}), Row("a", {}))), "row 'a' is there twice"),
        (lambda: Table("t", "T", (), (Row("a", {"x": Value(1)}),)), "without a column: x"),
        (lambda: Table("t", "T", (), (), reference="a"), "no row is called 'a'"),
        (lambda: Comparison("c", (Panel("a", scene(0)), Panel("b", scene(0, (9, 9))))), "panel 'b'"),
        (lambda: Comparison("c", (Panel("a", scene(0)),), ((60, 0, 16, 16),)), "not inside the 64x48"),
        (lambda: Comparison("c", (Panel("a", scene(0)),), (), {"b": ()}), "not there: b"),
        (lambda: Histogram("h", ("a",), {"s": (1, 2)}), "'s' has 2 of 1"),
    ],
)
def test_mistakes_are_named(make, text: str) -> None:  # type: ignore[no-untyped-def]
    with pytest.raises(ValueError, match=re.escape(text)):
        make()
