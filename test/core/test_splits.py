"""The released split of M3FD, and the rule for data sets without one."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from shared_data import SHARED

from cldyn_core.data.images import PairError
from cldyn_core.data.splits import m3fd_parts, split_names
from cldyn_core.data.splits_m3fd import build_split, find_scenes, read_boxes

M3FD = [f"{number:05d}" for number in range(4200)]


def test_the_released_split_covers_m3fd() -> None:
    parts = m3fd_parts(M3FD)
    assert parts is not None and set(parts) == set(M3FD)
    counts = Counter(parts.values())
    assert counts["train"] > 3000 and min(counts["val"], counts["test"]) > 300
    assert m3fd_parts(["00003", "00002"]) == {"00003": parts["00003"], "00002": parts["00002"]}
    assert m3fd_parts(["FLIR_00006"]) is None
    with pytest.raises(PairError, match="stranger"):
        m3fd_parts(["00001", "stranger"])


@pytest.mark.skipif(SHARED is None, reason="no M3FD annotations on this machine")
def test_frames_with_the_same_boxes_are_in_one_part() -> None:
    assert SHARED is not None
    boxes = json.loads((SHARED / "data/m3fd_annotations/boxes_4200.json").read_text())
    parts, seen = m3fd_parts(M3FD) or {}, {}
    for number, found in boxes.items():
        if len(found) >= 3:
            key = json.dumps(sorted(found))
            assert parts[seen.setdefault(key, number)] == parts[number]


@given(numbers=st.sets(st.integers(0, 3000), min_size=3, max_size=200))
def test_the_rule_cuts_three_runs_whatever_the_order(numbers: set[int]) -> None:
    names = [f"frame{number}" for number in numbers]
    parts = split_names(names)
    assert parts == split_names(sorted(names, reverse=True)) and set(parts) == set(names)
    order = ["train", "val", "test"]
    ranks = [order.index(parts[f"frame{number}"]) for number in sorted(numbers)]
    assert ranks == sorted(ranks) and ranks[0] == 0


@pytest.mark.skipif(SHARED is None, reason="no M3FD annotations on this machine")
def test_no_scene_of_the_first_frames_is_in_two_parts() -> None:
    assert SHARED is not None
    boxes = read_boxes(SHARED / "data/m3fd_annotations/boxes_4200.json")
    parts = m3fd_parts(M3FD) or {}
    for scene in find_scenes({number: found for number, found in boxes.items() if number < 600}):
        assert len({parts[f"{number:05d}"] for number in scene}) == 1


def test_scenes_are_found_by_boxes(tmp_path: Path) -> None:
    street = [["Car", [10 * i, 50, 40, 30]] for i in range(0, 20, 5)]
    moved = [[name, [x + 4, *rest]] for name, (x, *rest) in street]
    source = tmp_path / "boxes.json"
    source.write_text(
        json.dumps({"00000": street, "00001": moved, "00002": [["People", [500, 100, 20, 60]]], "00009": street})
    )
    assert find_scenes(read_boxes(source)) == [[0, 1, 9], [2]]
    assert [number for first, last, _ in build_split(source) for number in range(first, last + 1)] == [0, 1, 2, 9]
    (tmp_path / "empty").mkdir()
    with pytest.raises(PairError, match="holds no annotation"):
        read_boxes(tmp_path / "empty")
