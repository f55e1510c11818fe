"""Matching the files of two folders by name; pure, it never looks at the disk."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

_MARKS = {  # how file names say which side they are
    "infrared": "infrared|thermal|lwir|ir|t|previewdata",
    "visible": "visible|vis|rgb|vi|v",
}


@dataclass(frozen=True)
class Matching:
    """Which files of two folders belong together."""

    pairs: tuple[tuple[str, Path, Path], ...]
    """(name, infrared, visible) in natural order of the names."""
    only_infrared: tuple[Path, ...]
    only_visible: tuple[Path, ...]
    duplicates: tuple[tuple[Path, ...], ...]
    """Files of one side that differ by extension alone; none of them is matched."""


def match_names(infrared: Iterable[Path], visible: Iterable[Path]) -> Matching:
    """Match by stem; what is left, where unique, by the stem without the mark of its side and regardless of case."""
    left, left_twice = _by_stem(infrared)
    right, right_twice = _by_stem(visible)
    pairs = [(stem, left.pop(stem), right.pop(stem)) for stem in list(left) if stem in right]
    left_marked, right_marked = _unmarked(left, "infrared"), _unmarked(right, "visible")
    for name, stem in left_marked.items():
        if name in right_marked:
            pairs.append((name, left.pop(stem), right.pop(right_marked[name])))
    pairs.sort(key=lambda pair: natural_key(pair[0]))
    return Matching(
        tuple(pairs), natural_order(left.values()), natural_order(right.values()), (*left_twice, *right_twice)
    )


def natural_key(name: str) -> tuple[list[tuple[int, int, str]], str]:
    """Sort key that puts frame2 before frame10."""
    parts = [(0, int(p), "") if p.isdecimal() else (1, 0, p.casefold()) for p in re.split(r"(\d+)", name) if p]
    return parts, name


def natural_order(paths: Iterable[Path]) -> tuple[Path, ...]:
    """Paths by name, frame2 before frame10."""
    return tuple(sorted(paths, key=lambda path: natural_key(path.name)))


def _by_stem(paths: Iterable[Path]) -> tuple[dict[str, Path], list[tuple[Path, ...]]]:
    groups: defaultdict[str, list[Path]] = defaultdict(list)
    for path in paths:
        groups[path.stem].append(path)
    single = {stem: group[0] for stem, group in groups.items() if len(group) == 1}
    return single, [tuple(group) for group in groups.values() if len(group) > 1]


def _unmarked(stems: Iterable[str], side: str) -> dict[str, str]:
    """Unmarked name -> stem, for the names that only one stem has."""
    groups: defaultdict[str, list[str]] = defaultdict(list)
    marks = _MARKS[side]
    pattern = re.compile(rf"[-_. ](?:{marks})$|(?<=\d)(?:{marks})$|^(?:{marks})[-_. ]|^(?:{marks})(?=\d)")
    for stem in stems:
        name = pattern.sub("", stem.casefold(), count=1)
        groups[name or stem.casefold()].append(stem)
    return {name: found[0] for name, found in groups.items() if len(found) == 1}
