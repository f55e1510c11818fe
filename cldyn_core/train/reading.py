"""What the trainings read: labelled pairs of several folders, from memory while they fit into it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal, overload

from cldyn_core.data.labelled import LabelledFolder, open_labelled
from cldyn_core.data.splits import Half
from cldyn_core.train.start import RunOptions
from cldyn_core.types import LabelledPair, Task

Split = Literal["share", "parts"]

_MEMORY = 6 << 30  # bytes of pixels that are kept


@dataclass(frozen=True)
class PairData:
    """Folders of pairs, and which of them are held out: judged, not trained on."""

    folders: list[str] = field(default_factory=list)
    """Folders of pairs; `cldyn data check` tells if one is fit."""
    split: Split = "share"
    """share: the last `hold_out` of every folder is held out. parts: train on the train part, judge with the val part
    (folders of that name; M3FD's released scene-wise split; else runs of names) and leave the test part alone."""
    hold_out: float = 0.2
    """Share of every folder, with split share."""
    scene_gap: int = 0
    """With split share: names whose numbers differ by at most so much are one scene, and whole scenes, evenly spread,
    are held out. 0: the last pairs of the folder."""
    half: Half = "both"
    """Of what is not held out, with split share: both halves, or the first or second alone, scenes in turn."""
    more: list[str] = field(default_factory=list)
    """Folders to train on whole, nothing of them held out: rendered pairs, say."""

    def __post_init__(self) -> None:
        if not 0 < self.hold_out < 1:
            raise ValueError(f"hold_out must be above 0 and below 1, not {self.hold_out}")
        if self.scene_gap < 0:
            raise ValueError(f"scene_gap must not be negative, not {self.scene_gap}")
        if self.half != "both" and self.split == "parts":
            raise ValueError("half is for split share, not for parts. Remedy: leave one of them out")


@dataclass(frozen=True, kw_only=True)
class PairsRun(RunOptions):
    """What a training on one set of pairs can be told."""

    folders: list[str]
    """Folders of pairs; `cldyn data check` tells if one is fit."""
    split: Split = "share"
    """How pairs are held out: share (the last `hold_out` of every folder) or parts (the val part)."""
    hold_out: float = 0.2
    """Share of every folder, with split share."""
    scene_gap: int = 0
    """With split share: names whose numbers differ by at most so much are one scene, and whole scenes, evenly spread,
    are held out. 0: the last pairs of the folder."""
    half: Half = "both"
    """Of what is not held out, with split share: both halves, or the first or second alone, scenes in turn."""
    more: list[str] = field(default_factory=list)
    """Folders to train on whole, nothing of them held out: rendered pairs, say."""

    def data(self) -> PairData:
        """The folders as `read_pairs` takes them. Raises ValueError for an impossible share."""
        return PairData(self.folders, self.split, self.hold_out, self.scene_gap, self.half, self.more)


class Reader(Sequence[LabelledPair]):
    """Pairs of some folders, read when asked for and kept while all fit into memory. Raises PairError at a bad file.

    Those that fit are read at once, so that a bad file of a small data set is found before the training begins.
    """

    def __init__(self, items: Sequence[tuple[LabelledFolder, int]], memory: int = _MEMORY) -> None:
        self._items, self._kept = list(items), []
        for folder, index in self._items:
            pair = folder.load(index)
            memory -= pair.visible.nbytes + pair.infrared.nbytes
            if memory < 0:
                break
            self._kept.append(pair)

    def __len__(self) -> int:
        return len(self._items)

    @overload
    def __getitem__(self, index: int) -> LabelledPair: ...
    @overload
    def __getitem__(self, index: slice) -> list[LabelledPair]: ...
    def __getitem__(self, index: int | slice) -> LabelledPair | list[LabelledPair]:
        if isinstance(index, slice):
            return [self[i] for i in range(*index.indices(len(self)))]
        if not -len(self) <= index < len(self):
            raise IndexError(index)
        position = index % len(self)
        if position < len(self._kept):
            return self._kept[position]
        folder, number = self._items[position]
        return folder.load(number)


def read_pairs(
    data: PairData, task: Task = Task.NONE, names: Sequence[str] = (), background: Sequence[str] = ()
) -> tuple[Sequence[LabelledPair], Sequence[LabelledPair]]:
    """Pairs to train on, pairs held out. names: classes of the targets; background: see `open_labelled`.

    Raises PairError, naming the folder or the file and the remedy.
    """
    parts: tuple[list[tuple[LabelledFolder, int]], list[tuple[LabelledFolder, int]]] = ([], [])
    for root in data.folders:
        for part, found in zip(parts, _split(Path(root), data, task, names, background), strict=True):
            part += found
    for root in data.more:
        folder = open_labelled(Path(root), task, names=names or None, background=background)
        parts[0].extend((folder, index) for index in range(len(folder)))
    return Reader(parts[0]), Reader(parts[1])


def _split(
    root: Path, data: PairData, task: Task, names: Sequence[str], background: Sequence[str]
) -> tuple[list[tuple[LabelledFolder, int]], list[tuple[LabelledFolder, int]]]:
    if data.split == "parts":
        train, val = (
            open_labelled(root, task, names=names or None, split=part, background=background)
            for part in ("train", "val")
        )
        return [(train, i) for i in range(len(train))], [(val, i) for i in range(len(val))]
    whole = open_labelled(root, task, names=names or None, background=background)
    taught = whole.taught(data.hold_out, data.scene_gap, data.half)
    judged = whole.held_out(data.hold_out, data.scene_gap)
    return [(whole, i) for i in taught], [(whole, i) for i in judged]
