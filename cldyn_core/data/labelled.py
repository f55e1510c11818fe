"""Pairs with their ground truth for one task: boxes, label maps or saliency masks, classes by name."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from cldyn_core.data.images import PairError
from cldyn_core.data.labels import (
    BACKGROUND,
    class_index,
    read_label_map,
    read_saliency,
    read_voc,
    read_yolo,
    voc_objects,
)
from cldyn_core.data.pairs import (
    IMAGE_SUFFIXES,
    PairFolder,
    PairSource,
    class_names,
    find_pairs,
    label_files,
    label_of,
    locate,
)
from cldyn_core.data.splits import SHARES, Half, half_of, held_out, m3fd_parts, split_names
from cldyn_core.data.synthetic.config import SEMANTIC_CLASSES
from cldyn_core.engine.prepare import infrared_8bit
from cldyn_core.engine.thermal import ThermalRange
from cldyn_core.text_files import read_json
from cldyn_core.types import (
    M3FD_CLASSES,
    Detections,
    FramePair,
    LabelledPair,
    LabelMap,
    SaliencyMap,
    Task,
    TaskOutput,
    TaskTarget,
)

MSRS_CLASSES = ("background", "car", "person", "bike", "curve", "car_stop", "guardrail", "color_cone", "bump")
"""Names of the values in MSRS's Segmentation_labels."""

_FOLDERS = {  # where the labels of a task may lie, best first
    Task.DETECTION: ("labels", "label", "annotation", "annotations"),
    Task.SEGMENTATION: ("semantic", "segmentation_labels", "label", "masks"),
    Task.SALIENCY: ("saliency", "gt", "masks"),
}
_SUFFIXES = {
    Task.DETECTION: frozenset({".txt", ".xml"}),
    Task.SEGMENTATION: IMAGE_SUFFIXES,
    Task.SALIENCY: IMAGE_SUFFIXES,
}
_DEFAULT_NAMES = {Task.DETECTION: M3FD_CLASSES, Task.SEGMENTATION: SEMANTIC_CLASSES}
_BOX_CLASSES = {"m3fd": M3FD_CLASSES, "llvip": ("person",)}  # by layout
_MASK_CLASSES = {"segmentation_labels": MSRS_CLASSES, "label": SEMANTIC_CLASSES}  # by folder; FMB has Label


class NoLabelsError(PairError):
    """A folder of pairs without labels of the task."""


@dataclass(frozen=True)
class _Labels:
    """The label files of one source."""

    files: dict[str, Path]
    """By stem."""
    own: tuple[str, ...]
    """Names of the classes, in the order of the data set; empty for saliency."""


@dataclass(frozen=True)
class _Item:
    """One pair of a LabelledFolder."""

    index: int
    """Into the PairFolder."""
    label: Path | None
    own: tuple[str, ...]


@dataclass(frozen=True)
class LabelledFolder:
    """The pairs of a folder that have labels of one task; `len(folder)`, `folder.load(i)`."""

    task: Task
    names: tuple[str, ...]
    """Classes of the targets, by index; empty for saliency and without a task."""
    pairs: PairFolder
    items: tuple[_Item, ...]

    def __len__(self) -> int:
        return len(self.items)

    def held_out(self, share: float, scene_gap: int = 0) -> list[int]:
        """Indices of the pairs that a training holds out, see `splits.held_out`.

        Scenes are found and held out among all pairs of the folder, labelled or not, so that no scene that one task
        holds out teaches another.
        """
        if not scene_gap:
            return held_out([self.pairs.entries[item.index].name for item in self.items], share)
        judged = set(held_out([entry.name for entry in self.pairs.entries], share, scene_gap))
        return [index for index, item in enumerate(self.items) if item.index in judged]

    def taught(self, share: float, scene_gap: int = 0, half: Half = "both") -> list[int]:
        """Indices of the pairs that a training does not hold out, or of a half of them, see `splits.half_of`.

        With a gap the halves, too, are those of all pairs of the folder: no scene teaches both.
        """
        judged = set(self.held_out(share, scene_gap))
        rest = [index for index in range(len(self)) if index not in judged]
        if not scene_gap:
            return [rest[i] for i in half_of([""] * len(rest), half)]
        names = [entry.name for entry in self.pairs.entries]
        others = sorted(set(range(len(names))) - set(held_out(names, share, scene_gap)))
        chosen = {others[i] for i in half_of([names[i] for i in others], half, scene_gap)}
        return [index for index in rest if self.items[index].index in chosen]

    def load(self, index: int) -> LabelledPair:
        """Read one pair with its target; equal files give equal pixels. Raises PairError naming the bad file."""
        item = self.items[index]
        pair = self.pairs.load(item.index)
        entry = self.pairs.entries[item.index]
        size = (pair.visible.shape[0], pair.visible.shape[1])
        target = None if item.label is None else self._target(item.label, item.own, size)
        name = f"{self.pairs.folder.name}/{entry.name}"
        return LabelledPair(pair.visible, _infrared(pair, entry.infrared), target, name)

    def _target(self, label: Path, own: tuple[str, ...], size: tuple[int, int]) -> TaskOutput:
        target: TaskTarget
        if self.task is Task.DETECTION:
            is_xml = label.suffix.lower() == ".xml"
            boxes, labels = read_voc(label, size, self.names) if is_xml else read_yolo(label, size, own, self.names)
            annotated = tuple(sorted(_indices(own, self.names)))
            target = Detections(boxes, np.ones(len(labels), np.float32), labels, self.names, annotated)
        elif self.task is Task.SEGMENTATION:
            target = LabelMap(read_label_map(label, size, own, self.names), self.names)
        else:
            target = SaliencyMap(read_saliency(label, size))
        return target


def open_labelled(
    root: Path,
    task: Task,
    *,
    names: Sequence[str] | None = None,
    layout: str = "auto",
    split: str | None = None,
    background: Sequence[str] = (),
) -> LabelledFolder:
    """Find the pairs of a folder that have labels of a task; all pairs, without a target, when the task is none.

    Args:
        root: as `find_pairs` takes it. Boxes are YOLO text or VOC XML, label maps images of class indices in semantic/,
            Segmentation_labels/, Label/ or masks/, saliency masks images in saliency/, GT/ or masks/.
        task: what the labels are for.
        names: classes of the targets; None: M3FD's for boxes, FMB's for label maps. Others are left out (boxes) or
            ignored (pixels).
        layout: as of `find_pairs`.
        split: "train", "val" or "test": the folder of that name, val else a part of train; M3FD's released scene-wise
            split; else the rule of `split_names`. None: all.
        background: classes of label maps that count as background.

    Raises PairError, with the remedy, when there are no pairs, no labels of the task, or no class names.
    """
    if split is not None and split not in SHARES:
        raise PairError(f"unknown split {split!r}. Remedy: choose one of {', '.join(SHARES)}")
    pairs, sources = find_pairs(root, layout), locate(root, layout)
    wanted = () if task in (Task.NONE, Task.SALIENCY) else tuple(names or _DEFAULT_NAMES[task])
    chosen = _chosen(pairs, sources, split)
    if task is Task.NONE:
        items = [_Item(i, None, ()) for i in chosen]
    else:
        items = _labelled(pairs, chosen, {source.visible: _labels(source, task) for source in sources})
        if not items:
            places = " or ".join(f"{name}/" for name in _FOLDERS[task])
            raise NoLabelsError(f"{root}: no labels for {task.value}. Remedy: put them into {places} beside the images")
        _check_names(root, items, wanted)
    if not items:
        raise PairError(f"{root}: its {split} part is empty. Remedy: use more images, or split=None")
    return LabelledFolder(task, wanted, pairs, tuple(_merged(item, background) for item in items))


def _merged(item: _Item, background: Sequence[str]) -> _Item:
    """The item with some of its classes called background."""
    return replace(item, own=tuple(BACKGROUND if name in background else name for name in item.own))


def _labelled(pairs: PairFolder, chosen: list[int], labels: dict[Path, _Labels]) -> list[_Item]:
    items = []
    for index in chosen:
        entry = pairs.entries[index]
        found = labels[entry.visible if pairs.layout == "clip" else entry.visible.parent]
        name = entry.name.rpartition("/")[2]
        if label := label_of(found.files, name, entry.infrared, entry.visible):
            items.append(_Item(index, label, found.own))
    return items


def _labels(source: PairSource, task: Task) -> _Labels:
    below = {path.name.casefold(): path for path in source.root.iterdir() if path.is_dir()}
    for name in _FOLDERS[task]:
        files = label_files(below.get(name))
        files = {stem: path for stem, path in files.items() if path.suffix.lower() in _SUFFIXES[task]}
        if files and not (task is Task.SALIENCY and (below[name] / "classes.txt").exists()):
            return _Labels(files, () if task is Task.SALIENCY else _own_names(source, below[name], task, files))
    return _Labels({}, ())


def _own_names(source: PairSource, folder: Path, task: Task, files: dict[str, Path]) -> tuple[str, ...]:
    """Classes of a label folder. Raises PairError when nothing says them; of `masks/`, which may be saliency's,
    NoLabelsError.
    """
    kind = folder.name.casefold()
    if kind == "semantic" and (stated := _stated_classes(source.root)):
        return stated
    if names := class_names(source):
        return names
    if task is Task.SEGMENTATION and kind in _MASK_CLASSES:
        return _MASK_CLASSES[kind]
    if task is Task.DETECTION and source.layout in _BOX_CLASSES:
        return _BOX_CLASSES[source.layout]
    if all(path.suffix.lower() == ".xml" for path in files.values()):
        return tuple(sorted({item.name for path in files.values() for item in voc_objects(path)}))
    # Masks without names are those of saliency: a table of several tasks goes on without this one.
    fault = NoLabelsError if kind == "masks" else PairError
    raise fault(f"{source.root}: no classes.txt. Remedy: write one class name a line, in the order of the indices")


def _check_names(root: Path, items: list[_Item], wanted: tuple[str, ...]) -> None:
    own = {name for item in items for name in item.own}
    if wanted and own and not _indices(tuple(own), wanted):
        some = ", ".join(sorted(own)[:5])
        raise PairError(f"{root}: none of its classes ({some}) is wanted. Remedy: name one of them, or rename it")


def _indices(own: Sequence[str], names: Sequence[str]) -> set[int]:
    return {index for name in own if (index := class_index(name, names)) is not None}


def _chosen(pairs: PairFolder, sources: list[PairSource], split: str | None) -> list[int]:
    """Indices of the pairs of a split."""
    entries = pairs.entries
    if split is None:
        return list(range(len(entries)))
    folders = {source.visible: source.split for source in sources if source.split}
    if not folders:
        names = [entry.name for entry in entries]
        parts = (m3fd_parts(names) if pairs.layout == "m3fd" else None) or split_names(names)
        return [i for i, name in enumerate(names) if parts[name] == split]
    inside = [folders[entry.visible.parent] for entry in entries]
    if "val" not in inside:
        train = split_names(entry.name for entry, part in zip(entries, inside, strict=True) if part == "train")
        inside = ["val" if train.get(e.name) == "val" else part for e, part in zip(entries, inside, strict=True)]
    return [i for i, part in enumerate(inside) if part == split]


def _infrared(pair: FramePair, path: Path) -> NDArray[np.uint8]:
    """(H, W) on the visible image's pixels; 16-bit and float ones by this image's own percentiles."""
    try:
        return infrared_8bit(pair, ThermalRange())
    except ValueError as error:
        raise PairError(f"{path}: {error}. Remedy: leave it out") from error


def _stated_classes(folder: Path) -> tuple[str, ...] | None:
    """`semantic_classes` of the meta.json that the renderer writes."""
    try:
        names = read_json(folder / "meta.json")["semantic_classes"]
    except (OSError, ValueError, KeyError, TypeError):
        return None
    return tuple(names) if isinstance(names, list) and all(isinstance(name, str) for name in names) else None
