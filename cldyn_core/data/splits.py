"""Which pairs are for training, validation and test: the same on every machine, and no scene in two parts."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterable, Sequence
from functools import lru_cache
from importlib.resources import files
from typing import Literal

from cldyn_core.data.images import PairError
from cldyn_core.data.matching import natural_key

Part = Literal["train", "val", "test"]
Half = Literal["both", "first", "second"]
SHARES: dict[Part, float] = {"train": 0.8, "val": 0.1, "test": 0.1}
"""The parts and how much of the images each gets, nearly."""

_REACH = 0.05  # of all names: so far a cut moves to where the numbering jumps


def split_names(names: Iterable[str]) -> dict[str, Part]:
    """Part by name, from the names alone: three runs of their natural order, since neighbors are often one scene.

    Each cut lies at the widest jump of the numbering nearby, where a scene probably ends.
    """
    ordered = sorted(set(names), key=natural_key)
    first = _cut(ordered, SHARES["train"], 0)
    second = _cut(ordered, SHARES["train"] + SHARES["val"], first)
    train: dict[str, Part] = dict.fromkeys(ordered[:first], "train")
    return train | dict.fromkeys(ordered[first:second], "val") | dict.fromkeys(ordered[second:], "test")


def held_out(names: Sequence[str], share: float, scene_gap: int = 0) -> list[int]:
    """Indices of the pairs that a training with split share holds out.

    scene_gap: 0: the last ones in the given order, one run of names, since neighbors look alike. Above: names whose
    last numbers differ by at most so much are one scene, and whole scenes are held out, evenly spread, so that every
    part of a recording (day and night, say) is judged; none when all is one scene.
    """
    if not scene_gap:
        return list(range(len(names) - max(1, round(len(names) * share)), len(names)))
    scenes = _scenes(names, scene_gap)
    held: list[int] = []
    seen = 0
    for scene in scenes:
        seen += len(scene)
        if len(held) + len(scene) / 2 <= share * seen:
            held += scene
    return sorted(held or (scenes[-1] if len(scenes) > 1 else []))


def half_of(names: Sequence[str], half: Half, scene_gap: int = 0) -> list[int]:
    """Indices of a half: scenes, as `held_out` tells them, belong to either in turn; without a gap, a run of names."""
    if half == "both":
        return list(range(len(names)))
    middle = len(names) // 2
    scenes = _scenes(names, scene_gap) if scene_gap else [range(middle), range(middle, len(names))]
    return sorted(index for scene in scenes[half == "second" :: 2] for index in scene)


def _scenes(names: Sequence[str], gap: int) -> list[list[int]]:
    """Indices of the names of each scene, in natural order."""
    ordered = sorted(range(len(names)), key=lambda i: natural_key(names[i]))
    scenes: list[list[int]] = []
    for before, index in zip([None, *ordered], ordered, strict=False):
        if before is not None and _jump(names[before], names[index]) <= gap:
            scenes[-1].append(index)
        else:
            scenes.append([index])
    return scenes


def m3fd_parts(names: Iterable[str]) -> dict[str, Part] | None:
    """Part by name in the released scene-wise split of M3FD; None if no name is a number of M3FD.

    Raises PairError at a name that is none beside others that are.
    """
    table, found = _m3fd_table(), list(names)
    if not any(name in table for name in found):
        return None
    if strange := [name for name in found if name not in table]:
        raise PairError(f"{strange[0]}: is no image of M3FD, whose split is asked for. Remedy: move it elsewhere")
    return {name: table[name] for name in found}


@lru_cache(maxsize=1)
def _m3fd_table() -> dict[str, Part]:
    runs = json.loads(files("cldyn_core.data").joinpath("splits").joinpath("m3fd.json").read_text(encoding="utf-8"))
    return {f"{number:05d}": part for first, last, part in runs for number in range(first, last + 1)}


def _cut(ordered: Sequence[str], share: float, least: int) -> int:
    """How many names come before the cut, at least `least`."""
    ideal, reach = round(share * len(ordered)), int(_REACH * len(ordered))
    low, high = max(ideal - reach, least, 1), min(ideal + reach, len(ordered) - 1)
    candidates = range(low, high + 1)
    if not candidates:
        return max(ideal, least)
    return max(candidates, key=lambda i: (_jump(ordered[i - 1], ordered[i]), -abs(i - ideal), -i))


def _jump(before: str, after: str) -> float:
    """How far two names are apart: the difference of their last numbers, infinite where the rest differs."""
    (rest_a, a), (rest_b, b) = _numbered(before), _numbered(after)
    return abs(b - a) if rest_a == rest_b else math.inf


def _numbered(name: str) -> tuple[str, int]:
    """The name without its last number, and that number (-1: none)."""
    found = re.search(r"\d+(?=\D*$)", name)
    return (name[: found.start()] + "#" + name[found.end() :], int(found.group())) if found else (name, -1)
