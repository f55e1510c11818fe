"""Boxes in YOLO's text layout: by name, in pixels, with exact complaints."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cldyn_core.data.images import PairError
from cldyn_core.data.labels import class_index, read_label_map, read_saliency, read_voc, read_yolo
from cldyn_core.types import IGNORED, M3FD_CLASSES


@pytest.mark.parametrize(
    ("name", "index"),
    [("People", 0), ("person", 0), ("CAR", 1), ("traffic light", 3), ("motorbike", 4), ("bicycle", None), ("", None)],
)
def test_classes_go_by_name(name: str, index: int | None) -> None:
    assert class_index(name) == index


def test_boxes_are_in_pixels_and_other_classes_are_left_out(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    path.write_text("1 0.5 0.5 0.5 0.25\n\n0 0.1 0.2 0.2 0.4\n2 0.9 0.9 0.2 0.2\n")
    boxes, labels = read_yolo(path, (100, 200), ("bicycle", "person", "car"))
    assert labels.tolist() == [0, 1]
    assert (boxes.dtype, labels.dtype) == (np.float32, np.int64)
    np.testing.assert_allclose(boxes, [[50, 37.5, 150, 62.5], [160, 80, 200, 100]], atol=1e-4)


def test_a_file_without_objects_has_none(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("")
    boxes, labels = read_yolo(tmp_path / "a.txt", (10, 10), ("car",))
    assert boxes.shape == (0, 4) and labels.shape == (0,)


@pytest.mark.parametrize(
    ("line", "complaint"),
    [
        ("7 0.5 0.5 0.1 0.1", "class 7, expected 0..1"),
        ("-1 0.5 0.5 0.1 0.1", "class -1"),
        ("0 0.5 0.5 0.1", "4 values"),
        ("0 0.5 x 0.1 0.1", "not a number"),
        ("0 1.5 0.5 0.1 0.1", "outside 0..1"),
        ("0 nan 0.5 0.1 0.1", "outside 0..1"),
    ],
)
def test_a_bad_line_is_named(tmp_path: Path, line: str, complaint: str) -> None:
    path = tmp_path / "a.txt"
    path.write_text(f"0 0.5 0.5 0.1 0.1\n{line}\n")
    with pytest.raises(PairError, match=rf"a\.txt:2: .*{complaint}"):
        read_yolo(path, (10, 10), ("person", "car"))


@settings(max_examples=50, deadline=None)
@given(
    rows=st.lists(
        st.tuples(st.integers(0, 5), *[st.floats(0, 1, allow_subnormal=False)] * 2, *[st.floats(0.01, 1)] * 2),
        max_size=5,
    )
)
def test_what_was_written_comes_back(tmp_path_factory: pytest.TempPathFactory, rows: list[tuple]) -> None:
    path = tmp_path_factory.mktemp("labels") / "a.txt"
    path.write_text("".join(" ".join(map(str, row)) + "\n" for row in rows))
    boxes, labels = read_yolo(path, (1, 1), M3FD_CLASSES)
    assert labels.tolist() == [row[0] for row in rows]
    for box, (_, x, y, w, h) in zip(boxes, rows, strict=True):
        np.testing.assert_allclose(box, [x - w / 2, y - h / 2, x + w / 2, y + h / 2], atol=1e-5)


def voc(*objects: tuple[str, object, object, object, object]) -> str:
    sides = ("xmin", "ymin", "xmax", "ymax")
    body = ""
    for name, *box in objects:
        corners = "".join(f"<{side}>{value}</{side}>" for side, value in zip(sides, box, strict=True))
        body += f"<object><name>{name}</name><bndbox>{corners}</bndbox></object>"
    return f"<annotation>{body}</annotation>"


@settings(max_examples=50, deadline=None)
@given(
    st.lists(
        st.tuples(
            st.sampled_from([*M3FD_CLASSES, "bicycle"]),
            *[st.integers(-1, 98)] * 2,
            *[st.integers(1, 100)] * 2,
        ),
        max_size=5,
    )
)
def test_voc_boxes_come_back_clipped(tmp_path_factory: pytest.TempPathFactory, rows: list[tuple]) -> None:
    path = tmp_path_factory.mktemp("voc") / "a.xml"
    whole = [(name, x, y, min(max(x, 0) + w, 101), min(max(y, 0) + h, 101)) for name, x, y, w, h in rows]
    path.write_text(voc(*whole))
    boxes, labels = read_voc(path, (100, 100))
    kept = [row for row in whole if row[0] != "bicycle"]
    assert [M3FD_CLASSES[label] for label in labels] == [row[0] for row in kept]
    np.testing.assert_array_equal(boxes, np.clip(np.array([row[1:] for row in kept]).reshape(-1, 4), 0, 100))


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        (voc(("Car", 0, 0, 5, 5), ("Car", 0, 0, 22, 5)), r"object 2 \(Car\) has a box outside the image of 20x10"),
        (voc(("Car", 5, 0, 5, 5)), "object 1 .* without extent"),
        (voc(("Car", "x", 0, 5, 5)), "without four numbers"),
        (voc(("Car", "nan", 0, 5, 5)), "not finite"),
        (voc(("", 0, 0, 5, 5)), "has no name"),
        ("<annotation>", "is not XML"),
        ("<html/>", "expected <annotation>"),
        ('<!DOCTYPE a [<!ENTITY b "c">]><annotation/>', "document type"),
    ],
)
def test_a_bad_voc_file_is_named(tmp_path: Path, text: str, complaint: str) -> None:
    (tmp_path / "a.xml").write_text(text)
    with pytest.raises(PairError, match=rf"a\.xml: {complaint}|a\.xml: .*{complaint}"):
        read_voc(tmp_path / "a.xml", (10, 20))


def test_background_that_may_hide_wanted_classes_says_nothing(tmp_path: Path) -> None:
    path = tmp_path / "a.png"
    cv2.imwrite(str(path), np.array([[0, 1, 2, 255]], np.uint8))
    own = ("background", "person", "car")
    assert read_label_map(path, (1, 4), own, ("background", "person")).tolist() == [[0, 1, IGNORED, IGNORED]]
    assert read_label_map(path, (1, 4), own, ("background", "car", "road")).tolist() == [[IGNORED, IGNORED, 1, IGNORED]]
    with pytest.raises(PairError, match=r"a\.png: holds the value 2, which has no name"):
        read_label_map(path, (1, 4), own[:2], own)


def test_saliency_is_0_or_255(tmp_path: Path) -> None:
    path = tmp_path / "a.png"
    for mask in (np.array([[0, 1]]), np.array([[100, 200]]), np.array([[[0, 9, 0], [0, 0, 255]]])):
        cv2.imwrite(str(path), mask.astype(np.uint8))
        assert read_saliency(path, (1, 2)).tolist() == [[0, 255]]
