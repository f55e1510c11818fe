"""Folders of infrared-visible pairs: found by layout, matched by name, read one pair at a time."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from cldyn_core.data.images import (
    PairError,
    clip_frames,
    clip_length,
    clip_rate,
    read_infrared,
    read_text,
    read_visible,
    to_gray,
    to_rgb,
)
from cldyn_core.data.matching import match_names, natural_order
from cldyn_core.text_files import read_json
from cldyn_core.types import FramePair

IMAGE_SUFFIXES = frozenset({".png", ".jpg", ".jpeg", ".bmp", ".tif", ".tiff", ".webp"})
LABEL_SUFFIXES = frozenset({".txt", ".xml", ".json"})
CLIP_SUFFIXES = frozenset({".mp4", ".avi", ".mkv", ".mov"})
LABEL_FOLDERS = ("labels", "label", "annotation", "annotations", "masks", "gt", "segmentation_labels", "detection")
"""Where labels may lie beside the images, best first; letter case does not matter."""


@dataclass(frozen=True)
class Layout:
    """Folder names of one kind of data set; letter case does not matter."""

    names: tuple[str, ...]
    """First the name it goes by, last the data set that has it below split folders (train, test)."""
    infrared: str
    visible: str


LAYOUTS = (
    Layout(("m3fd",), "ir", "vis"),
    Layout(("vt5000",), "t", "rgb"),
    Layout(("plain", "fmb"), "infrared", "visible"),
    Layout(("plain", "msrs"), "ir", "vi"),
    Layout(("roadscene",), "cropinfrared", "crop_lr_visible"),
)
SIDES_FIRST = Layout(("llvip",), "infrared", "visible")
"""The one that has its split folders inside the sides, and all labels together."""
LAYOUT_NAMES = ("auto", "plain", "m3fd", "fmb", "vt5000", "msrs", "llvip", "roadscene", "clip")


@dataclass(frozen=True)
class PairEntry:
    """The files of one pair. For a clip both are the clip itself."""

    name: str
    infrared: Path
    visible: Path
    label: Path | None = None


@dataclass(frozen=True)
class PairSource:
    """One infrared and one visible folder (or clip) that belong together."""

    layout: str
    split: str
    """Empty where the data set has no splits."""
    infrared: Path
    visible: Path
    labels: Path | None = None

    @property
    def root(self) -> Path:
        """The folder that holds the sides, and the labels beside them."""
        return self.visible.parent.parent if self.layout in SIDES_FIRST.names else self.visible.parent

    @property
    def is_clip(self) -> bool:
        """True for a pair of videos."""
        return self.infrared.is_file()


@dataclass(frozen=True)
class PairFolder:
    """Pairs of a folder in natural order of their names. `len(folder)`, `folder.load(i)`, `folder.iterate()`."""

    folder: Path
    layout: str
    entries: tuple[PairEntry, ...]
    only_infrared: tuple[Path, ...] = ()
    """Infrared files without a visible one: left out."""
    only_visible: tuple[Path, ...] = ()
    rate: float | None = None
    """Frames per second where the clip, or `fps` in a meta.json beside the images, says it."""

    def __len__(self) -> int:
        return len(self.entries)

    def load(self, index: int) -> FramePair:
        """Read pair `index`. A clip is decoded from its start: `iterate` is the way through a clip.

        Raises IndexError and PairError (an unreadable file, named).
        """
        entry = self.entries[index]
        if self.layout != "clip":
            return FramePair(visible=read_visible(entry.visible), infrared=read_infrared(entry.infrared))
        wanted = range(len(self.entries))[index]
        for i, (_, pair) in enumerate(self.iterate()):
            if i == wanted:
                return pair
        raise PairError(f"{entry.visible}: ends before frame {wanted}. Remedy: encode the clip again")

    def iterate(self) -> Iterator[tuple[str, FramePair]]:
        """(name, pair) in order, read when asked for. Raises PairError at the first unreadable file."""
        if self.layout != "clip":
            yield from ((entry.name, self.load(i)) for i, entry in enumerate(self.entries))
            return
        first = self.entries[0]
        frames = zip(clip_frames(first.infrared), clip_frames(first.visible), strict=False)
        for entry, (infrared, visible) in zip(self.entries, frames, strict=False):
            yield entry.name, FramePair(visible=to_rgb(visible), infrared=to_gray(infrared))


def find_pairs(folder: Path, layout: str = "auto", split: str | None = None) -> PairFolder:
    """Find the pairs of a folder.

    Args:
        folder: `Ir/ Vis/` (M3FD), `{train,test}/{Infrared,Visible,Label}` (FMB), `{Train,Test}/{T,RGB,GT}` (VT5000),
            `{train,test}/{ir,vi}` (MSRS), `{infrared,visible}/{train,test}` (LLVIP), `cropinfrared/ crop_LR_visible/`
            (RoadScene), plain `infrared/ visible/` or `ir/ vi/`, or a clip `ir.mp4` + `vi.mp4`;
            labels or masks beside them are optional.
        layout: one of LAYOUT_NAMES.
        split: "train", "test", ... None: every split there is, names then start with `<split>/`.

    Files match by stem (`ir/7.jpg` with `vi/7.png`), also with the side marked in it (`7_ir.png` with `7_vis.png`).
    Raises PairError when there is nothing to pair, or when two files of a side share a stem.
    """
    sources = locate(folder, layout, split)
    if sources[0].is_clip:
        if len(sources) > 1:
            raise PairError(f"{folder}: holds {len(sources)} clips. Remedy: name the folder of one")
        return _clip(folder, sources[0])
    entries: list[PairEntry] = []
    only_infrared: list[Path] = []
    only_visible: list[Path] = []
    for source in sources:
        matching = match_names(images_in(source.infrared), images_in(source.visible))
        if matching.duplicates:
            names = " and ".join(path.name for path in matching.duplicates[0])
            raise PairError(f"{matching.duplicates[0][0].parent}: {names} share a name. Remedy: keep one of them")
        prefix = f"{source.split}/" if source.split and split is None else ""
        labels = label_files(source.labels)
        for name, infrared, visible in matching.pairs:
            entries.append(PairEntry(prefix + name, infrared, visible, label_of(labels, name, infrared, visible)))
        only_infrared += matching.only_infrared
        only_visible += matching.only_visible
    if not entries:
        sides = f"{sources[0].infrared.name}/ and {sources[0].visible.name}/"
        raise PairError(
            f"{folder}: expected images of the same name in {sides}, "
            f"found {_some(only_infrared)} infrared and {_some(only_visible)} visible ones. "
            "Remedy: name both images of a pair alike"
        )
    return PairFolder(
        folder, sources[0].layout, tuple(entries), tuple(only_infrared), tuple(only_visible), _stated_rate(folder)
    )


def locate(folder: Path, layout: str = "auto", split: str | None = None) -> list[PairSource]:
    """The infrared and visible folders (or the clip) below `folder`, at least one. Raises PairError."""
    if layout not in LAYOUT_NAMES:
        raise PairError(f"unknown layout {layout!r}; layouts: {', '.join(LAYOUT_NAMES)}")
    if not folder.is_dir():
        what = "not a folder" if folder.exists() else "does not exist"
        raise PairError(f"{folder}: {what}. Remedy: name a folder of pairs")
    if sides_first := _sides_first(folder, layout):
        if split is None:
            return sides_first
        if found := [source for source in sides_first if source.split == split.casefold()]:
            return found
        raise PairError(_nothing_found(folder, layout, split, [source.split for source in sides_first]))
    if split is None and (source := _source(folder, layout, "")):
        return [source]
    splits: dict[str, Path] = {}
    for path in _subfolders(folder).values():
        if name := _split_name(path.name):
            if name in splits:
                raise PairError(f"{folder}: {splits[name].name}/ and {path.name}/ are both {name!r}. Remedy: name one")
            splits[name] = path
    chosen = splits if split is None else {k: v for k, v in splits.items() if k == split.casefold()}
    sources = [source for name, path in chosen.items() if (source := _source(path, layout, name))]
    if sources:
        return sources
    raise PairError(_nothing_found(folder, layout, split, list(splits)))


def images_in(folder: Path) -> list[Path]:
    """Image files directly in a folder, hidden ones left out, in natural order."""
    return _files(folder, IMAGE_SUFFIXES)


def label_files(folder: Path | None) -> dict[str, Path]:
    """Label files of a folder by stem: text (first, where there are several), XML, JSON or mask images; `classes.txt`
    is no label.
    """
    if folder is None:
        return {}
    files = [path for path in _files(folder, IMAGE_SUFFIXES | LABEL_SUFFIXES) if path.name != "classes.txt"]
    return {path.stem: path for path in sorted(files, key=lambda path: path.suffix.lower() == ".txt")}


def label_of(labels: Mapping[str, Path], name: str, infrared: Path, visible: Path) -> Path | None:
    """The label of a pair: of the infrared file's stem, else the visible one's, else the pair's name."""
    return labels.get(infrared.stem) or labels.get(visible.stem) or labels.get(name)


def class_names(source: PairSource) -> tuple[str, ...] | None:
    """The lines of the classes.txt among the labels or beside the images; None without one. Raises PairError."""
    for folder in filter(None, (source.labels, source.root)):
        if (path := folder / "classes.txt").is_file():
            lines = read_text(path, encoding="utf-8-sig").splitlines()
            return tuple(line.strip() for line in lines if line.strip())
    return None


def _files(folder: Path, suffixes: frozenset[str]) -> list[Path]:
    found = (p for p in folder.iterdir() if p.suffix.lower() in suffixes and not p.name.startswith("."))
    return list(natural_order(found))


def _clip(folder: Path, source: PairSource) -> PairFolder:
    count = min(clip_length(source.infrared), clip_length(source.visible))
    entries = tuple(PairEntry(f"{i:06d}", source.infrared, source.visible) for i in range(count))
    return PairFolder(folder, "clip", entries, rate=clip_rate(source.visible))


def _source(root: Path, layout: str, split: str) -> PairSource | None:
    folders = _subfolders(root)
    for known in LAYOUTS:
        if layout in ("auto", *known.names) and known.infrared in folders and known.visible in folders:
            name = layout if layout != "auto" else known.names[-1 if split else 0]
            labels = next((folders[n] for n in LABEL_FOLDERS if n in folders), None)
            return PairSource(name, split, folders[known.infrared], folders[known.visible], labels)
    clips = {p.stem.casefold(): p for p in root.iterdir() if p.is_file() and p.suffix.lower() in CLIP_SUFFIXES}
    infrared = next((clips[n] for n in ("ir", "infrared", "thermal") if n in clips), None)
    visible = next((clips[n] for n in ("vi", "visible", "vis", "rgb") if n in clips), None)
    if layout in ("auto", "clip") and infrared and visible:
        return PairSource("clip", split, infrared, visible)
    return None


def _sides_first(root: Path, layout: str) -> list[PairSource]:
    folders = _subfolders(root)
    infrared, visible = folders.get(SIDES_FIRST.infrared), folders.get(SIDES_FIRST.visible)
    if layout not in ("auto", *SIDES_FIRST.names) or infrared is None or visible is None:
        return []
    left, right = ({_split_name(p.name): p for p in _subfolders(side).values()} for side in (infrared, visible))
    labels = next((folders[n] for n in LABEL_FOLDERS if n in folders), None)
    splits = sorted((left.keys() & right.keys()) - {""})
    return [PairSource(SIDES_FIRST.names[0], split, left[split], right[split], labels) for split in splits]


def _nothing_found(folder: Path, layout: str, split: str | None, splits: list[str]) -> str:
    known = [f"{x.infrared}/ + {x.visible}/" for x in (*LAYOUTS, SIDES_FIRST) if layout in ("auto", *x.names)]
    expected = " or ".join(known + (["ir.mp4 + vi.mp4"] if layout in ("auto", "clip") else []))
    if split is not None:
        expected += f" below a split folder {split!r} (splits found: {', '.join(splits) or 'none'})"
    found = ", ".join(sorted(p.name + ("/" if p.is_dir() else "") for p in folder.iterdir())[:8]) or "nothing"
    below = [path.name for path in natural_order(_subfolders(folder).values()) if _source(path, layout, "")]
    remedy = f"name the subfolder, e.g. {folder / below[0]}" if below else "arrange the images so"
    return f"{folder}: expected {expected}, found {found}. Remedy: {remedy}"


def _split_name(folder: str) -> str:
    found = re.search(r"(?:^|[-_])(train|test|val)$", folder.casefold())
    return found.group(1) if found else ""


def _subfolders(folder: Path) -> dict[str, Path]:
    return {p.name.casefold(): p for p in natural_order(p for p in folder.iterdir() if p.is_dir())}


def _stated_rate(folder: Path) -> float | None:
    try:
        rate = float(read_json(folder / "meta.json")["fps"])
    except (OSError, ValueError, TypeError, KeyError, OverflowError):
        return None  # optional: whoever wrote another meta.json meant something else
    return rate if rate > 0 else None


def _some(paths: list[Path]) -> str:
    return f"{len(paths)} ({paths[0].name}, ...)" if paths else "0"
