"""Builds the scene-wise split of M3FD: frames of one scene, known by their boxes, never fall into two parts."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Mapping
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from cldyn_core.data.images import PairError
from cldyn_core.data.labels import voc_objects
from cldyn_core.data.splits import SHARES, Part

Box = tuple[str, tuple[float, float, float, float]]
"""Class and x1 y1 x2 y2 in pixels."""
Run = tuple[int, int, Part]
"""First number, last number, part."""

_NEIGHBORS = (0.5, 0.5)  # IoU of two boxes that are one object; share of the objects that two frames have in common
_ALIKE = (0.7, 0.8)  # the same for frames that are no neighbors: the same place, and it hardly changed
_GROUP = 0.01  # of all images: neighbors that share no box may still show one street
_FEWEST = 3  # boxes of frames that are alike by more than chance


def read_boxes(source: Path) -> dict[int, list[Box]]:
    """Boxes by image number, of a folder of VOC XML files or a JSON {"00001": [["Car", [x, y, w, h]], ...]}.

    Raises PairError when there are none, or a file cannot be used.
    """
    if source.is_dir():
        files = {int(path.stem): path for path in source.glob("*.xml") if path.stem.isdecimal()}
        found = {n: [(item.name, item.box) for item in voc_objects(path)] for n, path in files.items()}
    else:
        try:
            stored = json.loads(source.read_text(encoding="utf-8"))
            found = {int(n): [(c, (x, y, x + w, y + h)) for c, (x, y, w, h) in boxes] for n, boxes in stored.items()}
        except (OSError, ValueError, TypeError, AttributeError) as error:
            raise PairError(
                f"{source}: is no JSON of boxes ({error}). Remedy: name M3FD's Annotation folder"
            ) from error
    if not found:
        raise PairError(f"{source}: holds no annotation. Remedy: name M3FD's Annotation folder")
    return dict(sorted(found.items()))


def find_scenes(boxes: Mapping[int, list[Box]]) -> list[list[int]]:
    """Numbers by scene. One scene are neighbors that share most of their boxes, and any frames with nearly the same."""
    numbers = sorted(boxes)
    counts = np.array([len(boxes[n]) for n in numbers])
    near = _shared(boxes, numbers, _NEIGHBORS[0]) > _NEIGHBORS[1] * counts[:, None]
    adjacent = np.abs(np.subtract.outer(numbers, numbers)) == 1
    alike = _shared(boxes, numbers, _ALIKE[0]) >= np.maximum(_ALIKE[1] * counts, _FEWEST)[:, None]
    linked = (adjacent & (near | near.T)) | (alike & alike.T)
    parent = list(range(len(numbers)))
    for a, b in np.argwhere(np.triu(linked, 1)).tolist():
        parent[_root(parent, b)] = _root(parent, a)
    scenes: defaultdict[int, list[int]] = defaultdict(list)
    for index, number in enumerate(numbers):
        scenes[_root(parent, index)].append(number)
    return sorted(scenes.values())


def assign_parts(scenes: list[list[int]]) -> dict[int, Part]:
    """Part by number: scenes by first number, whole, some together, each to the part that lacks most of its share."""
    total = sum(map(len, scenes))
    missing = {part: share * total for part, share in SHARES.items()}
    parts: dict[int, Part] = {}
    group: list[int] = []
    for scene in sorted(scenes):
        group += scene
        if len(group) >= total * _GROUP or scene == max(scenes):
            # By share, not by count: so that val and test see the whole collection, not its end.
            part = max(missing, key=lambda part: missing[part] / SHARES[part])
            missing[part] -= len(group)
            parts |= dict.fromkeys(group, part)
            group = []
    return parts


def build_split(source: Path) -> list[Run]:
    """The split as runs of numbers. `source` as in `read_boxes`."""
    parts = assign_parts(find_scenes(read_boxes(source)))
    runs: list[Run] = []
    for number, part in sorted(parts.items()):
        if runs and runs[-1][1:] == (number - 1, part):
            runs[-1] = (runs[-1][0], number, part)
        else:
            runs.append((number, number, part))
    return runs


def write_split(source: Path, target: Path) -> None:
    """Build the split and write it as JSON, one run a line."""
    lines = ",\n".join(json.dumps(run) for run in build_split(source))
    target.write_text(f"[\n{lines}\n]\n", encoding="utf-8")


def _shared(boxes: Mapping[int, list[Box]], numbers: list[int], least: float) -> NDArray[np.int64]:
    """(N, N): how many boxes of frame i have one of the same class in frame j with an IoU above `least`."""
    shared = np.zeros((len(numbers), len(numbers)), np.int64)
    for name in sorted({name for n in numbers for name, _ in boxes[n]}):
        found = [(i, box) for i, n in enumerate(numbers) for own, box in boxes[n] if own == name]
        frames, corners = np.array([i for i, _ in found]), np.array([box for _, box in found], np.float32)
        areas = (corners[:, 2:] - corners[:, :2]).prod(1)
        for frame, box, area in zip(frames, corners, areas, strict=True):
            sides = np.minimum(box[2:], corners[:, 2:]) - np.maximum(box[:2], corners[:, :2])
            common = np.maximum(sides, 0.0).prod(1)
            shared[frame, np.unique(frames[common > least * (area + areas - common)])] += 1
    return shared


def _root(parent: list[int], index: int) -> int:
    while parent[index] != index:
        parent[index] = parent[parent[index]]
        index = parent[index]
    return index
