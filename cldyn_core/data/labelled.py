"""Pairs with their ground truth for one task: boxes, label maps or saliency masks, classes by name."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from cldyn_core.data.images import PairError, read_raw, to_gray
from cldyn_core.data.labels import class_index, read_yolo
from cldyn_core.data.pairs import PairEntry, PairFolder, class_names, find_pairs, label_files, locate
from cldyn_core.data.synthetic import SEMANTIC_CLASSES
from cldyn_core.engine.prepare import register
from cldyn_core.engine.thermal import ThermalRange
from cldyn_core.types import IGNORED, M3FD_CLASSES, Detections, LabelledPair, LabelMap, SaliencyMap, Task, TaskTarget

_FOLDERS = {
    Task.DETECTION: ("labels",),
    Task.SEGMENTATION: ("semantic", "label", "segmentation_labels", "masks"),
    Task.SALIENCY: ("saliency", "gt", "masks"),
}
_SALIENT_FROM = 128
_BY_LAYOUT = {
    "fmb": SEMANTIC_CLASSES,
    "msrs": ("background", "car", "person", "bike", "curve", "car_stop", "guardrail", "color_cone", "bump"),
}
"""Class names of the label images of data sets that bring no list of their own."""


@dataclass(frozen=True)
class LabelledFolder:
    """The labelled pairs of a folder; `len(folder)`, `folder.load(i)`."""

    task: Task
    names: tuple[str, ...]
    """Classes of the targets, by index; empty for saliency."""
    own_names: tuple[str, ...]
    """The folder's own classes, by the value that its files hold."""
    pairs: PairFolder
    labelled: tuple[tuple[int, Path], ...]
    """(index into pairs, label file)."""

    def __len__(self) -> int:
        return len(self.labelled)

    def load(self, index: int) -> LabelledPair:
        """Read one pair with its target. Raises PairError naming the file that cannot be used."""
        where, label = self.labelled[index]
        pair = self.pairs.load(where)
        size = (pair.visible.shape[0], pair.visible.shape[1])
        infrared = register(ThermalRange().normalize(pair.infrared), size, ())
        name = f"{self.pairs.folder.name}/{self.pairs.entries[where].name}"
        return LabelledPair(pair.visible, np.rint(infrared * 255).astype(np.uint8), self._target(label, size), name)

    def _target(self, label: Path, size: tuple[int, int]) -> TaskTarget:
        if self.task is Task.DETECTION:
            boxes, labels = read_yolo(label, size, self.own_names, self.names)
            found = (class_index(name, self.names) for name in self.own_names)
            annotated = tuple(sorted({index for index in found if index is not None}))
            return Detections(boxes, np.ones(len(labels), np.float32), labels, self.names, annotated)
        mask = _read_mask(label, size)
        if self.task is Task.SALIENCY:
            return SaliencyMap(np.where(mask >= _SALIENT_FROM, 255, 0).astype(np.uint8))
        return LabelMap(_renamed(mask, label, self.own_names, self.names), self.names)


def open_labelled(
    root: Path, task: Task, *, names: Sequence[str] | None = None, layout: str = "auto", split: str | None = None
) -> LabelledFolder:
    """Find the pairs of a folder that have labels of a task.

    Args:
        root: as `find_pairs` takes it. Boxes are YOLO text in labels/ with a classes.txt; label maps are images of
            class values in semantic/, Label/, Segmentation_labels/ or masks/; saliency masks are images in saliency/,
            GT/ or masks/.
        task: not none.
        names: classes of the targets; None: M3FD's for boxes, FMB's for label maps. Others are left out (boxes) or
            ignored (pixels).
        layout: as of `find_pairs`.
        split: as of `find_pairs`.

    Raises PairError, with the remedy, when there are no pairs, no labels of the task, or no class names.
    """
    wanted = tuple(names or {Task.DETECTION: M3FD_CLASSES, Task.SEGMENTATION: SEMANTIC_CLASSES}.get(task, ()))
    if not root.is_dir():
        raise PairError(f"{root}: no such folder. Remedy: check the path")
    pairs = find_pairs(root, layout, split)
    files: dict[str, Path] = {}
    own: tuple[str, ...] | None = None
    for source in locate(root, layout, split):
        below = {p.name.casefold(): p for p in source.visible.parent.iterdir() if p.is_dir()}
        folder = next((below[name] for name in _FOLDERS[task] if name in below), None)
        prefix = f"{source.split}/" if source.split and split is None else ""
        files |= {prefix + stem: path for stem, path in label_files(folder).items()}
        own = own or class_names(source) or _stated_classes(source.visible.parent) or _BY_LAYOUT.get(source.layout)
        if task is Task.SEGMENTATION:
            own = _stated_classes(source.visible.parent) or own
    found = ((i, _label_of(entry, files)) for i, entry in enumerate(pairs.entries))
    labelled = tuple((i, path) for i, path in found if path is not None)
    if not labelled:
        raise PairError(f"{root}: no labels for {task.value}. Remedy: put them into {' or '.join(_FOLDERS[task])}/")
    if own is None and task is not Task.SALIENCY:
        raise PairError(f"{root}: no classes.txt. Remedy: write one class name a line, in the order of the indices")
    return LabelledFolder(task, wanted, tuple(own or ()), pairs, labelled)


def _label_of(entry: PairEntry, files: dict[str, Path]) -> Path | None:
    prefix = entry.name[: entry.name.rfind("/") + 1]
    stems = (entry.name, prefix + entry.infrared.stem, prefix + entry.visible.stem)
    return next((files[stem] for stem in stems if stem in files), None)


def _read_mask(path: Path, size: tuple[int, int]) -> NDArray[np.uint8]:
    mask = read_raw(path)
    mask = to_gray(mask) if mask.ndim == 3 else mask
    if mask.shape != size or mask.dtype != np.uint8:
        found = f"is {mask.shape} {mask.dtype}, its visible image {size}"
        raise PairError(f"{path}: {found}. Remedy: one 8-bit value for each pixel")
    return np.asarray(mask, np.uint8)


def _renamed(mask: NDArray[np.uint8], path: Path, own: Sequence[str], names: Sequence[str]) -> NDArray[np.uint8]:
    """Values of the folder's classes -> indices into `names`; classes that are not there are ignored."""
    table = np.full(256, IGNORED, np.uint8)
    for value, name in enumerate(own):
        index = class_index(name, names)
        table[value] = IGNORED if index is None else index
    unknown = sorted({int(value) for value in np.unique(mask) if value >= len(own) and value != IGNORED})
    if unknown:
        raise PairError(f"{path}: holds value {unknown[0]}, expected 0..{len(own) - 1} ({', '.join(own[:3])} ...)")
    return table[mask]


def _stated_classes(folder: Path) -> tuple[str, ...] | None:
    """`semantic_classes` of the meta.json that the renderer writes."""
    try:
        return tuple(json.loads((folder / "meta.json").read_text(encoding="utf-8"))["semantic_classes"])
    except (OSError, ValueError, KeyError, TypeError):
        return None
