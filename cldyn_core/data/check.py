"""Checks a folder of pairs and says exactly what is wrong with it."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from cldyn_core.data.images import PairError, clip_frames, read_raw, read_text
from cldyn_core.data.labels import box_fault, voc_objects
from cldyn_core.data.matching import match_names, natural_key
from cldyn_core.data.pairs import IMAGE_SUFFIXES, PairSource, class_names, images_in, label_files, locate

SHOWN = 3
"""So many files are named per fault, the rest are counted."""
COLORFUL = 8.0
"""Mean difference between the largest and smallest channel, in 8-bit gray levels, above which an image is colored."""


@dataclass
class CheckReport:
    """What `check_folder` found. Problems make a folder unfit, notes do not."""

    folder: Path
    pairs: int = 0
    layout: str = ""
    problems: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    @property
    def ok(self) -> bool:
        """True when nothing makes the folder unfit."""
        return not self.problems

    def lines(self) -> list[str]:
        """The report as text."""
        head = f"{self.folder}: {self.pairs} pairs, layout {self.layout or 'unknown'}"
        verdict = "ok" if self.ok else f"{len(self.problems)} problem{'s' if len(self.problems) > 1 else ''}"
        return [head, *(f"  PROBLEM {p}" for p in self.problems), *(f"  note    {n}" for n in self.notes), verdict]


@dataclass(frozen=True)
class _Look:
    """What one look at an image tells."""

    size: tuple[int, int]
    colored: bool
    depth: str


def check_folder(
    folder: Path, layout: str = "auto", split: str | None = None, progress: Callable[[int, int], None] | None = None
) -> CheckReport:
    """Read every image and label of a folder and report what is wrong; never raises for a fault of the data.

    progress: called with (pairs read, pairs in all) of each split.
    """
    report = CheckReport(folder)
    try:
        sources = locate(folder, layout, split)
    except PairError as error:
        report.problems.append(str(error))
        return report
    report.layout = sources[0].layout
    for source in sources:
        if source.is_clip:
            _check_clip(source, report)
        else:
            shared = [other for other in sources if other.labels == source.labels]
            _check_source(source, shared, report, progress)
    if not report.pairs and not report.problems:
        report.problems.append("no image at all")
    return report


def _check_source(
    source: PairSource,
    shared: list[PairSource],
    report: CheckReport,
    progress: Callable[[int, int], None] | None,
) -> None:
    """Check one pair of folders; `shared`: all that have the same label folder, this one too."""
    where = f"{source.split}/" if source.split else ""
    sides = {"infrared": source.infrared, "visible": source.visible}
    files = {side: images_in(path) for side, path in sides.items()}
    for side, path in sides.items():
        if not files[side]:
            report.problems.append(f"{where}{path.name}/ holds no image ({', '.join(sorted(IMAGE_SUFFIXES))})")
    matching = match_names(files["infrared"], files["visible"])
    report.pairs += len(matching.pairs)
    _list(report.problems, f"{where}infrared images without a visible one", (p.name for p in matching.only_infrared))
    _list(report.problems, f"{where}visible images without an infrared one", (p.name for p in matching.only_visible))
    twice = (" = ".join(_local(path) for path in group) for group in matching.duplicates)
    _list(report.problems, f"{where}names used twice on one side", twice)

    looks: list[tuple[_Look, _Look]] = []
    visible_sizes: dict[str, tuple[int, int]] = {}
    bad: list[str] = []
    sizes: list[str] = []
    for i, (name, infrared, visible) in enumerate(matching.pairs):
        pair = [look for path in (infrared, visible) if (look := _look(path, bad))]
        if len(pair) == 2:
            looks.append((pair[0], pair[1]))
            visible_sizes[visible.stem] = pair[1].size
            if pair[0].size != pair[1].size:
                sizes.append(f"{name} ({_by(pair[0].size)} infrared, {_by(pair[1].size)} visible)")
        if progress:
            progress(i + 1, len(matching.pairs))
    for path in (*matching.only_infrared, *matching.only_visible):
        _look(path, bad)
    _list(report.problems, f"{where}unreadable images", bad)
    _list(report.problems, f"{where}pairs of two sizes (resize or register them)", sizes)
    _judge_sides(looks, where, report)
    stems = {p.stem for group in files.values() for p in group} | {name for name, _, _ in matching.pairs}
    elsewhere = {p.stem for other in shared if other != source for p in images_in(other.visible)}
    _check_labels(source, stems, elsewhere, visible_sizes, report)


def _look(path: Path, bad: list[str]) -> _Look | None:
    try:
        image = read_raw(path)
    except (PairError, OSError) as error:
        bad.append(f"{_local(path)} ({str(error).removeprefix(f'{path}: ').split('. Remedy')[0]})")
        return None
    return _Look((image.shape[1], image.shape[0]), _colored(image), image.dtype.name)


def _judge_sides(looks: list[tuple[_Look, _Look]], where: str, report: CheckReport) -> None:
    """Swapped sides, colored infrared, gray visible, depth."""
    if not looks:
        return
    total = len(looks)
    colored = sum(infrared.colored for infrared, _ in looks)
    gray = sum(not visible.colored for _, visible in looks)
    if 2 * colored > total and 2 * gray > total:
        report.problems.append(
            f"{where}sides probably swapped: {colored} of {total} infrared images are colored, "
            f"{gray} of {total} visible ones gray"
        )
    else:
        if colored:
            report.notes.append(f"{where}{colored} of {total} infrared images are colored; they are read as gray")
        if gray:
            report.notes.append(f"{where}{gray} of {total} visible images are gray or nearly")
    depths = sorted({infrared.depth for infrared, _ in looks})
    if depths != ["uint8"]:
        report.notes.append(f"{where}infrared pixels are {', '.join(depths)}, kept as stored")


def _check_labels(
    source: PairSource, stems: set[str], elsewhere: set[str], sizes: dict[str, tuple[int, int]], report: CheckReport
) -> None:
    if source.labels is None:
        return
    labels = {stem: path for stem, path in label_files(source.labels).items() if stem not in elsewhere - stems}
    where = _local(source.labels)
    orphans = (path.name for stem, path in labels.items() if stem not in stems)
    _list(report.problems, f"labels without an image in {where}/", orphans)
    missing = sorted((p.stem for p in images_in(source.visible) if p.stem not in labels), key=natural_key)
    _list(report.notes, f"visible images without a file in {where}/", missing)
    try:
        count = None if (names := class_names(source)) is None else len(names)
    except PairError as error:
        report.problems.append(str(error))
        count = None
    bad: list[str] = []
    for path in labels.values():
        if path.suffix.lower() == ".txt":
            bad += [f"{path.name}:{line} {fault}" for line, fault in _box_faults(path, count)]
        elif path.suffix.lower() == ".xml":
            bad += _voc_faults(path, sizes.get(path.stem))
        elif path.suffix.lower() in IMAGE_SUFFIXES:
            mask, size = _look(path, bad), sizes.get(path.stem)
            if mask and size and mask.size != size:
                bad.append(f"{path.name} is {_by(mask.size)}, its visible image {_by(size)}")
    _list(report.problems, f"bad labels in {where}/", bad)


def _box_faults(path: Path, classes: int | None) -> list[tuple[int, str]]:
    """(line number, fault) of a YOLO text file: `class cx cy w h`, the class zero-based, the box in 0..1."""
    faults = []
    try:
        lines = read_text(path).splitlines()
    except PairError:
        return [(1, "is not text")]
    for number, line in enumerate(lines, start=1):
        if line.strip() and (fault := box_fault(line.split(), classes)):
            faults.append((number, fault))
    return faults


def _voc_faults(path: Path, size: tuple[int, int] | None) -> list[str]:
    """Faults of a VOC XML file; `size`: (W, H) of its image."""
    try:
        items = voc_objects(path, size and size[::-1])
    except PairError as error:
        return [str(error).removeprefix(f"{path.parent}/").split(". Remedy")[0]]
    return [f"{path.name} object {item.number} {item.fault}" for item in items if item.fault]


def _check_clip(source: PairSource, report: CheckReport) -> None:
    counts = {}
    for path in (source.infrared, source.visible):
        try:
            counts[path.name] = sum(1 for _ in clip_frames(path))
        except PairError as error:
            report.problems.append(str(error))
    report.pairs = min(counts.values(), default=0) if len(counts) == 2 else 0
    if len(set(counts.values())) > 1:
        report.problems.append("clips of two lengths: " + ", ".join(f"{n} has {c} frames" for n, c in counts.items()))


def _colored(image: NDArray[np.generic]) -> bool:
    if image.ndim == 2 or image.shape[2] < 3:
        return False
    sample = image[::4, ::4, :3].astype(np.float32) * (255.0 / (65535.0 if image.dtype == np.uint16 else 255.0))
    return float((sample.max(axis=2) - sample.min(axis=2)).mean()) > COLORFUL


def _list(target: list[str], what: str, names: Iterable[str]) -> None:
    """Add one line for a fault: how often, and the first few names."""
    found = list(names)
    if found:
        rest = f", and {len(found) - SHOWN} more" if len(found) > SHOWN else ""
        target.append(f"{len(found)} {what}: {', '.join(found[:SHOWN])}{rest}")


def _local(path: Path) -> str:
    return f"{path.parent.name}/{path.name}"


def _by(size: tuple[int, int]) -> str:
    return f"{size[0]}x{size[1]}"
