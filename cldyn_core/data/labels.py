"""Labels of data sets: boxes as YOLO text and VOC XML, masks; classes go by name, never by index."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import numpy as np
from numpy.typing import NDArray

from cldyn_core.data.images import PairError, read_raw, read_text
from cldyn_core.types import IGNORED, M3FD_CLASSES

BACKGROUND = "background"
"""Class of a mask for what is none of the other classes."""

SAME: dict[str, str] = {
    "person": "People",
    "pedestrian": "People",
    "motorbike": "Motorcycle",
    "traffic light": "Lamp",
    "bike": "bicycle",
}
"""Names that data sets use for one class; letter case does not matter. M3FD's Lamp is a traffic light."""


def class_index(name: str, known: Sequence[str] = M3FD_CLASSES) -> int | None:
    """Index into `known` of a class that a data set calls `name`; None if it has no such class."""
    wanted = _canonical(name)
    return next((index for index, own in enumerate(known) if _canonical(own) == wanted), None)


def _canonical(name: str) -> str:
    return SAME.get(name.casefold(), name).casefold()


def read_yolo(
    path: Path, size: tuple[int, int], names: Sequence[str], known: Sequence[str] = M3FD_CLASSES
) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    """Boxes (N, 4) x1 y1 x2 y2 in pixels of an image of `size` (H, W), and labels (N,), indices into `known`.

    Each line of the file is a class (index into `names`), center and size as fractions of the image; classes that
    are not in `known` are left out. Raises PairError naming the file and the line.
    """
    boxes: list[NDArray[np.float64]] = []
    labels: list[int] = []
    for number, line in enumerate(read_text(path).splitlines(), start=1):
        words = line.split()
        if not words:
            continue
        if fault := box_fault(words, len(names)):
            raise PairError(f"{path}:{number}: {fault}. Remedy: `cldyn data check` lists all such lines")
        label = class_index(names[int(float(words[0]))], known)
        if label is not None:
            center, extent = np.array(words[1:], np.float64).reshape(2, 2) * (size[1], size[0])
            boxes.append(np.concatenate((center - extent / 2, center + extent / 2)))
            labels.append(label)
    return np.array(boxes, np.float32).reshape(-1, 4), np.array(labels, np.int64)


def box_fault(words: list[str], classes: int | None) -> str:
    """What is wrong with the words of one line: `class cx cy w h`, the class zero-based, the box in 0..1; "" if
    nothing.
    """
    if len(words) != 5:
        return f"has {len(words)} values, expected 5: class cx cy w h"
    try:
        values = [float(word) for word in words]
    except ValueError:
        return "holds something that is not a number"
    index, box = values[0], values[1:]
    if not index.is_integer() or index < 0 or (classes is not None and index >= classes):
        limit = f"0..{classes - 1} of classes.txt" if classes is not None else "a whole number from 0"
        return f"has class {words[0]}, expected {limit}"
    if not all(0.0 <= value <= 1.0 for value in box):
        return f"has a box outside 0..1: {' '.join(words[1:])}"
    return "has a box without extent" if min(box[2:]) == 0.0 else ""


@dataclass(frozen=True)
class VocObject:
    """One object of a VOC file."""

    number: int
    """Its place in the file, from 1."""
    name: str
    box: tuple[float, float, float, float]
    """x1 y1 x2 y2 in pixels, clipped to the image; zeros where there is a fault."""
    fault: str
    """What is wrong with it; "" if nothing."""


def read_voc(
    path: Path, size: tuple[int, int], known: Sequence[str] = M3FD_CLASSES
) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    """Boxes (N, 4) and labels (N,) of a VOC XML file, as `read_yolo` gives them; `size` is the image's (H, W).

    A box that leaves the image by one pixel or less is clipped. Raises PairError naming the file and the object.
    """
    found: list[tuple[tuple[float, float, float, float], int]] = []
    for item in voc_objects(path, size):
        if item.fault:
            raise PairError(
                f"{path}: object {item.number} {item.fault}. Remedy: `cldyn data check` lists all such objects"
            )
        label = class_index(item.name, known)
        if label is not None:
            found.append((item.box, label))
    boxes = np.array([box for box, _ in found], np.float32).reshape(-1, 4)
    return boxes, np.array([label for _, label in found], np.int64)


def voc_objects(path: Path, size: tuple[int, int] | None = None) -> list[VocObject]:
    """All objects of a VOC XML file, those with faults too; `size`: (H, W) of the image, None: any.

    Raises PairError when the file is no VOC XML.
    """
    try:
        text = read_text(path, encoding="utf-8-sig")
        if "<!DOCTYPE" in text or "<!ENTITY" in text:  # a few entities can expand to gigabytes
            raise PairError(f"{path}: holds a document type. Remedy: remove it, annotations need none")
        root = ElementTree.fromstring(text)  # nosec B314: no entities, see above
    except PairError:
        raise
    except (ElementTree.ParseError, ValueError) as error:
        raise PairError(f"{path}: is not XML ({error}). Remedy: copy it again") from error
    if root.tag != "annotation":
        raise PairError(f"{path}: begins with <{root.tag}>, expected <annotation>. Remedy: write VOC XML")
    return [_voc_object(number, item, size) for number, item in enumerate(root.iter("object"), start=1)]


def _voc_object(number: int, item: ElementTree.Element, size: tuple[int, int] | None) -> VocObject:
    name = (item.findtext("name") or "").strip()
    words = [(item.findtext(f"bndbox/{side}") or "").strip() for side in ("xmin", "ymin", "xmax", "ymax")]
    nothing = (0.0, 0.0, 0.0, 0.0)
    if not name:
        return VocObject(number, "", nothing, "has no name")
    try:
        x1, y1, x2, y2 = (float(word) for word in words)
    except ValueError:
        return VocObject(number, name, nothing, f"({name}) has a bndbox without four numbers: {' '.join(words)}")
    if fault := _corner_fault((x1, y1, x2, y2), size):
        return VocObject(number, name, nothing, f"({name}) {fault}: {' '.join(words)}")
    if size is None:
        return VocObject(number, name, (x1, y1, x2, y2), "")
    height, width = size
    return VocObject(number, name, (max(x1, 0.0), max(y1, 0.0), min(x2, float(width)), min(y2, float(height))), "")


def _corner_fault(box: tuple[float, float, float, float], size: tuple[int, int] | None) -> str:
    x1, y1, x2, y2 = box
    if not all(math.isfinite(value) for value in box):
        return "has a box that is not finite"
    if size is not None:
        height, width = size
        if min(x1, y1) < -1.0 or x2 > width + 1.0 or y2 > height + 1.0:
            return f"has a box outside the image of {width}x{height}"
        x1, y1, x2, y2 = max(x1, 0.0), max(y1, 0.0), min(x2, float(width)), min(y2, float(height))
    return "has a box without extent" if x2 <= x1 or y2 <= y1 else ""


def read_label_map(path: Path, size: tuple[int, int], own: Sequence[str], known: Sequence[str]) -> NDArray[np.uint8]:
    """(H, W) class indices into `known` of a mask that holds indices into `own`; `size` is the image's (H, W).

    Classes go by name: one that is not in `known` becomes IGNORED, and so does a background that may hide classes of
    `known` which `own` lacks. IGNORED stays. Raises PairError naming the file, and a value without a name.
    """
    mask = _read_mask(path, size)
    if mask.ndim == 3:
        if np.ptp(mask[..., :3], axis=2).any():
            raise PairError(f"{path}: is colored, expected class indices. Remedy: store one gray channel")
        mask = mask[..., 0]
    values = np.unique(mask)
    unnamed = values[(values >= len(own)) & (values != IGNORED)]
    if len(unnamed):
        raise PairError(
            f"{path}: holds the value {unnamed[0]}, which has no name (0..{len(own) - 1} have). "
            "Remedy: correct the mask, or name all classes"
        )
    return _class_table(own, known)[mask]


def read_saliency(path: Path, size: tuple[int, int]) -> NDArray[np.uint8]:
    """(H, W), 255 where a gray or color mask is bright (of a mask of 0 and 1: where it is 1), else 0.

    Raises PairError naming the file.
    """
    mask = _read_mask(path, size)
    brightest = mask[..., :3].max(axis=2) if mask.ndim == 3 else mask
    top = int(np.iinfo(mask.dtype).max)
    limit = 0 if int(brightest.max()) <= 1 else top // 2
    return np.where(brightest > limit, 255, 0).astype(np.uint8)


def _read_mask(path: Path, size: tuple[int, int]) -> NDArray[Any]:
    mask = read_raw(path)
    if mask.dtype.kind != "u":
        raise PairError(f"{path}: holds {mask.dtype} values. Remedy: store an 8-bit mask")
    if mask.shape[:2] != size:
        raise PairError(
            f"{path}: is {mask.shape[1]}x{mask.shape[0]}, its visible image {size[1]}x{size[0]}. "
            "Remedy: bring both to one size, masks without interpolation"
        )
    return mask


def _class_table(own: Sequence[str], known: Sequence[str]) -> NDArray[np.uint8]:
    """Value of a mask -> index into `known` or IGNORED."""
    indices = [class_index(name, known) for name in own]
    background = class_index(BACKGROUND, known)
    if set(range(len(known))) - {background} - set(indices):  # e.g. MSRS has no road: it is part of its background
        indices = [None if index == background else index for index in indices]
    table = np.full(IGNORED + 1, IGNORED, np.uint8)
    table[: len(own)] = [IGNORED if index is None else index for index in indices]
    return table
