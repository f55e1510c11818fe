"""The released split of M3FD, and the rule for data sets without one."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path
from random import Random

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from shared_data import SHARED

from cldyn_core import Task
from cldyn_core.data.images import PairError
from cldyn_core.data.labelled import open_labelled
from cldyn_core.data.splits import Half, held_out, m3fd_parts, split_names
from cldyn_core.data.splits_m3fd import build_split, find_scenes, read_boxes
from cldyn_core.evaluate.units import DataSpec
from cldyn_core.train.reading import PairData, read_pairs

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


def scenes_of(numbers: set[int], gap: int) -> list[list[int]]:
    """The runs of numbers whose neighbors differ by at most the gap."""
    scenes: list[list[int]] = []
    for number in sorted(numbers):
        if scenes and number - scenes[-1][-1] <= gap:
            scenes[-1].append(number)
        else:
            scenes.append([number])
    return scenes


@given(
    numbers=st.sets(st.integers(0, 600), min_size=1, max_size=120),
    gap=st.integers(1, 40),
    share=st.floats(0.05, 0.45),
    random=st.randoms(use_true_random=False),
)
def test_whole_scenes_are_held_out(numbers: set[int], gap: int, share: float, random: Random) -> None:
    names = [f"frame{number}" for number in sorted(numbers)]
    held = {names[index] for index in held_out(names, share, gap)}
    scenes = scenes_of(numbers, gap)
    for scene in scenes:
        assert len({f"frame{number}" in held for number in scene}) == 1
    assert bool(held) == (len(scenes) > 1)
    if held:
        assert abs(len(held) - share * len(names)) <= max(map(len, scenes))
    shuffled = random.sample(names, len(names))
    assert {shuffled[index] for index in held_out(shuffled, share, gap)} == held


@given(count=st.integers(1, 300), share=st.floats(0.01, 0.99))
def test_without_scenes_the_last_pairs_are_held_out(count: int, share: float) -> None:
    held = held_out([f"{i}" for i in range(count)], share)
    assert held == list(range(count - len(held), count)) and abs(len(held) - share * count) <= 1


def test_scenes_are_spread_over_the_recording() -> None:
    names = [f"{100 * scene + i:05d}" for scene in range(10) for i in range(5)]
    held = sorted({index // 5 for index in held_out(names, 0.3, 20)})
    assert len(held) == 3 and held[0] < 4 and held[-1] > 6
    of_day, of_night = ([f"{time}{i}" for i in range(5)] for time in ("day", "night"))
    assert held_out(of_day, 0.3, 20) == [] and len(held_out(of_day + of_night, 0.3, 20)) == 5


def test_an_evaluation_judges_what_the_training_held_out(tmp_path: Path) -> None:
    for side in ("infrared", "visible", "saliency"):
        (tmp_path / side).mkdir()
    names = [f"{100 * scene + i:05d}" for scene in range(6) for i in range(3)]
    for place, name in enumerate(names):
        for side in ("infrared", "visible", *(["saliency"] if place % 3 else [])):  # the first of a scene has no label
            cv2.imwrite(str(tmp_path / side / f"{name}.png"), np.full((8, 8), place, np.uint8))
    for task in (Task.NONE, Task.SALIENCY):
        train, judged = read_pairs(PairData([str(tmp_path)], hold_out=0.3, scene_gap=20), task)
        items = DataSpec((str(tmp_path),), task, hold_out=0.3, scene_gap=20).open()
        assert [folder.load(index).name for folder, index in items] == [pair.name for pair in judged]
        assert not {pair.name for pair in train} & {pair.name for pair in judged}
    every, labelled = (open_labelled(tmp_path, task) for task in (Task.NONE, Task.SALIENCY))
    held = {every.pairs.entries[every.items[i].index].name for i in every.held_out(0.3, 20)}
    of_task = {labelled.pairs.entries[labelled.items[i].index].name for i in labelled.held_out(0.3, 20)}
    assert of_task == {name for name in held if names.index(name) % 3}
    with pytest.raises(PairError, match="nothing is held out"):
        DataSpec((str(tmp_path),), hold_out=0.3, scene_gap=200).open()


def test_halves_of_what_is_not_held_out_share_no_scene(tmp_path: Path) -> None:
    for side in ("infrared", "visible", "saliency"):
        (tmp_path / side).mkdir()
    names = [f"{100 * scene + i:05d}" for scene in range(8) for i in range(3)]
    for place, name in enumerate(names):
        for side in ("infrared", "visible", *(["saliency"] if place != 1 else [])):
            cv2.imwrite(str(tmp_path / side / f"{name}.png"), np.full((8, 8), place, np.uint8))

    def learned(task: Task, gap: int, half: Half, more: tuple[str, ...] = ()) -> list[str]:
        data = PairData([str(tmp_path)], hold_out=0.25, scene_gap=gap, half=half, more=list(more))
        train, judged = read_pairs(data, task)
        assert len(judged) == 6
        return [pair.name.split("/")[1] for pair in train]

    for task in (Task.NONE, Task.SALIENCY):
        both, first, second = (learned(task, 20, half) for half in ("both", "first", "second"))
        assert sorted(first + second) == both and len(first) > 6 < len(second)
        assert not {name[:3] for name in first} & {name[:3] for name in second}
    assert set(first) < set(learned(Task.NONE, 20, "first"))  # a pair without a label moves no other
    assert learned(Task.NONE, 0, "second") == names[9:18]
    assert learned(Task.NONE, 20, "first", (str(tmp_path),))[-24:] == names
    with pytest.raises(ValueError, match="half is for split share"):
        PairData([str(tmp_path)], split="parts", half="first")
