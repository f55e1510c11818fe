"""Image and clip files to arrays, with the reason when a file cannot be read."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from cldyn_core import text_files

_MAX_BYTES = 1 << 30


class PairError(ValueError):
    """A folder or file of pairs that cannot be used. The text says which, why, and what to do."""


def read_visible(path: Path) -> NDArray[np.uint8]:
    """(H, W, 3) uint8 RGB; 16-bit files keep their upper byte, gray becomes RGB. Raises PairError."""
    image = _decode(path, cv2.IMREAD_COLOR | cv2.IMREAD_IGNORE_ORIENTATION)
    return to_rgb(image)


def read_infrared(path: Path) -> NDArray[Any]:
    """(h, w) uint8, uint16 or float32 as stored; color and pseudo-color become gray. Raises PairError."""
    image = read_raw(path)
    if image.dtype not in (np.uint8, np.uint16, np.float32):
        raise PairError(f"{path}: holds {image.dtype} pixels. Remedy: store 8-bit, 16-bit or float32")
    return to_gray(image) if image.ndim == 3 else image


def read_raw(path: Path) -> NDArray[Any]:
    """Array as stored: (h, w) or (h, w, C) in OpenCV's order BGR(A), any depth. Raises PairError."""
    return _decode(path, cv2.IMREAD_UNCHANGED)


def to_rgb(bgr: NDArray[Any]) -> NDArray[np.uint8]:
    """(H, W, 3) uint8 BGR to RGB."""
    return cv2.cvtColor(bgr, cv2.COLOR_BGR2RGB).astype(np.uint8, copy=False)


def to_gray(image: NDArray[Any]) -> NDArray[Any]:
    """(h, w, 3) BGR or (h, w, 4) BGRA to (h, w), of the same depth."""
    return cv2.cvtColor(image, cv2.COLOR_BGRA2GRAY if image.shape[2] == 4 else cv2.COLOR_BGR2GRAY)


def clip_frames(path: Path) -> Iterator[NDArray[np.uint8]]:
    """(H, W, 3) uint8 BGR frames of a video in order. Raises PairError if it cannot be opened or has no frame."""
    capture = _open_clip(path)
    try:
        done, frame = capture.read()
        if not done:
            raise PairError(f"{path}: no frame can be decoded. Remedy: encode the clip again, e.g. as H.264 mp4")
        while done:
            yield frame.astype(np.uint8, copy=False)
            done, frame = capture.read()
    finally:
        capture.release()


def clip_length(path: Path) -> int:
    """Number of frames the container states. Raises PairError if the clip cannot be opened or states none."""
    count = int(_stated(path, cv2.CAP_PROP_FRAME_COUNT))
    if count < 1:
        raise PairError(f"{path}: states no frames. Remedy: encode the clip again, e.g. as H.264 mp4")
    return count


def clip_rate(path: Path) -> float | None:
    """Frames per second the container states, None if it does not."""
    rate = _stated(path, cv2.CAP_PROP_FPS)
    return rate if rate > 0 else None


def _stated(path: Path, quantity: int) -> float:
    capture = _open_clip(path)
    try:
        return float(capture.get(quantity))
    finally:
        capture.release()


def _open_clip(path: Path) -> cv2.VideoCapture:
    if path.stat().st_size == 0:
        raise PairError(f"{path}: empty file. Remedy: copy it again")
    capture = cv2.VideoCapture(str(path))
    if not capture.isOpened():
        raise PairError(f"{path}: not a readable video. Remedy: copy it again, or encode it as H.264 mp4")
    return capture


def read_text(path: Path, encoding: str = "utf-8") -> str:
    """Text beside the images: labels, names of classes. Raises PairError."""
    try:
        return text_files.read_text(path, encoding=encoding)
    except (OSError, ValueError) as error:
        raise PairError(f"{path}: {error}. Remedy: save it as UTF-8 text") from error


def _decode(path: Path, flags: int) -> NDArray[Any]:
    if not path.is_file():
        raise PairError(f"{path}: no such file. Remedy: check the name")
    if path.stat().st_size > _MAX_BYTES:
        raise PairError(f"{path}: larger than {_MAX_BYTES} bytes. Remedy: convert it")
    data = path.read_bytes()
    if not data:
        raise PairError(f"{path}: empty file. Remedy: copy it again")
    if not _complete(data):  # OpenCV would fill the missing part with gray and say nothing
        raise PairError(f"{path}: truncated after {len(data)} bytes. Remedy: copy it again")
    try:
        image = cv2.imdecode(np.frombuffer(data, np.uint8), flags)
    except cv2.error as error:
        raise PairError(f"{path}: cannot be decoded ({error.err}). Remedy: convert it") from error
    if image is None:
        raise PairError(f"{path}: not a readable image ({len(data)} bytes). Remedy: copy it again or convert it")
    return image


def _complete(data: bytes) -> bool:
    """False if a JPEG or PNG file lacks its end; other formats are left to the decoder."""
    if data.startswith(b"\xff\xd8"):
        scan = data.rfind(b"\xff\xda")
        return scan >= 0 and data.find(b"\xff\xd9", scan) >= 0
    if data.startswith(b"\x89PNG\r\n\x1a\n"):
        return b"IEND\xaeB`\x82" in data
    return True
