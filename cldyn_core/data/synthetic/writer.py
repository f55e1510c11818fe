"""A rendered sequence as a folder of pairs."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from cldyn_core.data.synthetic.config import SEMANTIC_CLASSES, RenderedFrame, SceneConfig
from cldyn_core.data.synthetic.renderer import render_sequence
from cldyn_core.types import M3FD_CLASSES


def write_sequence(
    config: SceneConfig, folder: Path, progress: Callable[[int, int], None] | None = None, *, infrared16: bool = False
) -> None:
    """Writes visible/, infrared/, semantic/, saliency/ (PNG), labels/ (YOLO text), classes.txt and meta.json.

    `infrared16` adds infrared16/ with 16-bit PNGs. `progress` is called with (frames done, frames in all).
    Raises FileExistsError when the folder already holds a sequence or a part of one, OSError when it cannot be written.
    """
    folder = Path(folder)
    if (folder / "meta.json").exists() or any((folder / "visible").glob("*.png")):
        raise FileExistsError(f"{folder} already holds a sequence. Remedy: remove it or choose another folder")
    names = ["visible", "infrared", "semantic", "saliency", "labels"] + ["infrared16"] * infrared16
    for name in names:
        (folder / name).mkdir(parents=True, exist_ok=True)
    (folder / "classes.txt").write_text("\n".join(M3FD_CLASSES) + "\n", encoding="utf-8")
    for index, frame in enumerate(render_sequence(config)):
        _write_frame(folder, f"{index:06d}", frame, infrared16)
        if progress is not None:
            progress(index + 1, config.frames)
    about = {"fps": float(config.fps), "condition": config.condition, "semantic_classes": SEMANTIC_CLASSES}
    about |= {name: int(getattr(config, name)) for name in ("seed", "frames", "width", "height")}
    # Last: a folder with it is complete.
    (folder / "meta.json").write_text(json.dumps(about, indent=2) + "\n", encoding="utf-8")


def yolo_lines(frame: RenderedFrame) -> str:
    """One line for each box: class, center and size as fractions of the image."""
    height, width = frame.infrared.shape
    lines = []
    for label, (x1, y1, x2, y2) in zip(frame.labels.tolist(), frame.boxes.tolist(), strict=True):
        values = ((x1 + x2) / 2 / width, (y1 + y2) / 2 / height, (x2 - x1) / width, (y2 - y1) / height)
        lines.append(f"{label} " + " ".join(f"{value:.6f}" for value in values) + "\n")
    return "".join(lines)


def _write_frame(folder: Path, name: str, frame: RenderedFrame, infrared16: bool) -> None:
    pictures: dict[str, NDArray[np.generic]] = {
        "visible": frame.visible[..., ::-1],
        "infrared": frame.infrared,
        "semantic": frame.semantic,
        "saliency": frame.saliency,
    }
    if infrared16:
        pictures["infrared16"] = frame.infrared16
    for kind, picture in pictures.items():
        path = folder / kind / f"{name}.png"
        if not cv2.imwrite(str(path), np.ascontiguousarray(picture)):
            raise OSError(f"cannot write {path}")
    (folder / "labels" / f"{name}.txt").write_text(yolo_lines(frame), encoding="utf-8")
