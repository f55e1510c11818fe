"""Where the pairs of `cldyn fuse` come from: folders of images, clips, two files. Plug-ins have their own sequences."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any, Protocol

from cldyn_core.data.images import PairError, clip_length, clip_rate
from cldyn_core.data.matching import natural_order
from cldyn_core.data.pairs import CLIP_SUFFIXES, PairEntry, PairFolder, find_pairs, locate
from cldyn_core.types import FramePair

PIECE = 32
"""Independent pairs that a worker takes at a time."""


@dataclass(frozen=True)
class Frame:
    """One pair as it was read, or why it could not be."""

    name: str
    """Unique in its run; names the outputs, so it may hold folders (`train/00012`)."""
    pair: FramePair | None
    error: str = ""
    """Why there is no pair; names the file and a remedy."""
    context: Any = None
    """For the sink of the same package: what belongs to the frame and is no pixel (a message header, say)."""


Load = Callable[[], "Frame | None"]
"""Reads one frame; None after the last one. Raises nothing that one bad file can cause."""


class FrameSequence(Protocol):
    """Pairs that one worker fuses in order. Can be pickled, and is read once."""

    @property
    def name(self) -> str:
        """For people; "" where there is only one."""

    @property
    def independent(self) -> bool:
        """True if the pairs have nothing to do with each other, so that no state may pass from one to the next."""

    @property
    def parallel(self) -> bool:
        """Whether the loads may run side by side; otherwise one after the other, in another thread than the caller."""

    @property
    def names(self) -> tuple[str, ...] | None:
        """Names of the frames where they are known beforehand."""

    @property
    def rate(self) -> float | None:
        """Frames per second; None where the source does not say."""

    def options(self) -> Mapping[str, Any]:
        """What decides which images are a pair, beside the files; plain JSON."""

    def __len__(self) -> int:
        """Number of pairs, or the largest it can be."""

    def loads(self) -> Iterator[Load]:
        """One after the other."""

    def left_out(self) -> Mapping[str, int]:
        """Images that are in no pair, by reason; complete once everything was read."""


@dataclass(frozen=True)
class PairSequence:
    """A folder of pairs, a clip, or part of a folder."""

    folder: PairFolder
    name: str = ""
    independent: bool = False

    @property
    def parallel(self) -> bool:
        """Image files; a clip is decoded from its start."""
        return self.folder.layout != "clip"

    @property
    def names(self) -> tuple[str, ...]:
        """`<sequence>/<pair>`, or the pairs' names where there is one sequence."""
        return tuple(self._full(entry) for entry in self.folder.entries)

    @property
    def rate(self) -> float | None:
        """Of the clip, or of the meta.json beside the images."""
        return self.folder.rate

    def options(self) -> Mapping[str, Any]:
        """None: files pair by their names."""
        return {}

    def __len__(self) -> int:
        return len(self.folder)

    def loads(self) -> Iterator[Load]:
        """Independent reads of image files; a clip's frames in order."""
        entries = self.folder.entries
        if self.parallel:
            return (partial(self._load, index) for index in range(len(entries)))
        frames = self.folder.iterate()
        return (partial(self._next, entry, frames) for entry in entries)

    def left_out(self) -> Mapping[str, int]:
        """Files, or frames of a clip, without a partner."""
        folder = self.folder
        if not self.parallel:
            clip = folder.entries[0]
            more = clip_length(clip.visible) - clip_length(clip.infrared)
            side = "visible" if more > 0 else "infrared"
            return {f"{side} frames after the end of the other clip": abs(more)}
        return {
            "infrared images without a partner": len(folder.only_infrared),
            "visible images without a partner": len(folder.only_visible),
        }

    def only(self, wanted: Callable[[str], bool]) -> PairSequence:
        """The pairs with these names. Only for independent pairs."""
        entries = tuple(entry for entry in self.folder.entries if wanted(self._full(entry)))
        return replace(self, folder=replace(self.folder, entries=entries))

    def first(self, count: int) -> PairSequence:
        """The first `count` pairs."""
        return replace(self, folder=replace(self.folder, entries=self.folder.entries[:count]))

    def pieces(self) -> list[PairSequence]:
        """What may be done by different workers: itself, or PIECE independent pairs each."""
        if not self.independent:
            return [self]
        parts = [self.folder.entries[i : i + PIECE] for i in range(0, len(self), PIECE)]
        rest = replace(self.folder, only_infrared=(), only_visible=())
        return [
            replace(self, folder=replace(rest if number else self.folder, entries=part))
            for number, part in enumerate(parts)
        ]

    def _full(self, entry: PairEntry) -> str:
        return f"{self.name}/{entry.name}" if self.name else entry.name

    def _load(self, index: int) -> Frame:
        name = self._full(self.folder.entries[index])
        try:
            return Frame(name, self.folder.load(index))
        except (PairError, OSError) as error:
            return Frame(name, None, str(error))

    def _next(self, entry: PairEntry, frames: Iterator[tuple[str, FramePair]]) -> Frame:
        try:
            return Frame(self._full(entry), next(frames)[1])
        except StopIteration:
            reason = f"{entry.visible}: a clip ends before this frame. Remedy: encode it again"
        except (PairError, OSError) as error:
            reason = str(error)
        return Frame(self._full(entry), None, reason)


def find_sequences(paths: Sequence[Path], *, stream: bool, limit: int | None = None) -> list[PairSequence]:
    """The sequences that were named: a folder of pairs, its splits, its subfolders, or VISIBLE INFRARED (two files).

    stream: the images of a folder follow each other in time. limit: the first so many pairs of each sequence.
    Raises PairError.
    """
    if len(paths) == 1:
        parts = _parts(paths[0], "")
    elif len(paths) == 2:
        parts = [("", _two_files(*paths))]
    else:
        raise PairError("name one folder of pairs, or two files: VISIBLE INFRARED (images or videos)")
    found = [PairSequence(folder, name, not stream and folder.layout != "clip") for name, folder in parts]
    return [sequence if limit is None else sequence.first(limit) for sequence in found]


def _parts(folder: Path, prefix: str) -> list[tuple[str, PairFolder]]:
    try:
        sources = locate(folder)
    except PairError:
        below = _parts_below(folder, prefix)
        if not below:
            raise
        return below
    splits = sorted({source.split for source in sources if source.split})
    if not splits:
        return [(prefix, find_pairs(folder))]
    return [(f"{prefix}/{split}".lstrip("/"), find_pairs(folder, split=split)) for split in splits]


def _parts_below(folder: Path, prefix: str) -> list[tuple[str, PairFolder]]:
    """A folder of sequences: those of its subfolders that are folders of pairs."""
    found: list[tuple[str, PairFolder]] = []
    if prefix or not folder.is_dir():
        return found
    for path in natural_order(path for path in folder.iterdir() if path.is_dir()):
        try:
            found += _parts(path, path.name)
        except PairError:
            continue  # something else lies there
    return found


def _two_files(visible: Path, infrared: Path) -> PairFolder:
    for path in (visible, infrared):
        if not path.is_file():
            raise PairError(f"{path}: no such file. Remedy: check the name")
    clips = [path.suffix.lower() in CLIP_SUFFIXES for path in (visible, infrared)]
    if clips[0] != clips[1]:
        raise PairError(f"{visible} and {infrared}: one is a video. Remedy: name two images or two videos")
    if not clips[0]:
        return PairFolder(visible.parent, "files", (PairEntry(visible.stem, infrared, visible),))
    count = min(clip_length(visible), clip_length(infrared))
    entries = tuple(PairEntry(f"{i:06d}", infrared, visible) for i in range(count))
    return PairFolder(visible.parent, "clip", entries, rate=clip_rate(visible))
