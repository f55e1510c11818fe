"""Where fused images go: a folder of images, a video. Nothing unfinished ever has a finished name."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import cv2
from numpy.typing import NDArray

from cldyn_core.checkpoint import write_whole
from cldyn_core.data.images import clip_length
from cldyn_core.fuse.sources import Frame, FrameSequence
from cldyn_core.types import Detections, LabelMap, SaliencyMap, StepResult, TaskOutput

VIDEO_CODECS = {".mp4": "mp4v", ".avi": "MJPG", ".mkv": "FFV1"}
"""MPEG-4 (small), Motion JPEG (with a quality), FFV1 (lossless)."""
DEFAULT_RATE = 10.0
"""Frames per second of a video whose source does not say."""


class Sink(Protocol):
    """An open output."""

    def write(self, frame: Frame, result: StepResult) -> None:
        """Put one result away: of an output that is `whole` in order, else in several threads.

        Raises ValueError for a frame that does not fit, OSError when nothing more will.
        """

    def close(self) -> None:
        """Complete the output: only now it has its name."""

    def abort(self) -> None:
        """Leave nothing unfinished behind."""


class Output(Protocol):
    """Where and how results are kept; opened by the process that writes. Can be pickled."""

    @property
    def path(self) -> Path:
        """What the user named."""

    @property
    def record(self) -> Path:
        """The JSON beside it."""

    @property
    def whole(self) -> bool:
        """True for one file made of one sequence, all or nothing; False for a file each frame."""

    def options(self) -> Mapping[str, Any]:
        """What decides the content, beside settings and source; plain JSON."""

    def has(self, name: str) -> bool:
        """Whether this frame is finished. Always False where the output is one file."""

    def open(self, sequence: FrameSequence) -> Sink:
        """Begin. Raises OSError or ValueError."""


@dataclass(frozen=True)
class ImageOutput:
    """`<path>/<name>.png` (or .jpg, with a quality) and beside it the task's answer."""

    path: Path
    quality: int | None = None
    """JPEG quality in 1..100; None: PNG."""
    whole = False

    @property
    def record(self) -> Path:
        """In the folder."""
        return self.path / "fuse.json"

    def options(self) -> Mapping[str, Any]:
        """The quality."""
        return {"quality": self.quality}

    def has(self, name: str) -> bool:
        """Whether the image is there; it is written after the answer."""
        return self._image(name).is_file()

    def open(self, sequence: FrameSequence) -> Sink:
        """Every frame is a file of its own."""
        return _ImageSink(self)

    def save(self, name: str, result: StepResult) -> None:
        """Write answer and image."""
        path = self._image(name)
        path.parent.mkdir(parents=True, exist_ok=True)
        save_answer(result.output, path.parent, path.stem)
        quality = [] if self.quality is None else [cv2.IMWRITE_JPEG_QUALITY, self.quality]
        write_whole(path, _encoded(cv2.cvtColor(result.fused, cv2.COLOR_RGB2BGR), path.suffix, quality))

    def _image(self, name: str) -> Path:
        return self.path / f"{name}{'.png' if self.quality is None else '.jpg'}"


class _ImageSink:
    def __init__(self, output: ImageOutput) -> None:
        self._output = output

    def write(self, frame: Frame, result: StepResult) -> None:
        self._output.save(frame.name, result)

    def close(self) -> None:
        pass

    def abort(self) -> None:
        pass


@dataclass(frozen=True)
class VideoOutput:
    """One video of one sequence; the task's answers in a folder `<stem>.answers/` beside it."""

    path: Path
    """Ends in one of VIDEO_CODECS."""
    fps: float | None = None
    """None: that of the source, else DEFAULT_RATE."""
    quality: int | None = None
    """1..100, of the pictures of an .avi."""
    whole = True

    @property
    def record(self) -> Path:
        """`fused.mp4.json`."""
        return self.path.with_name(self.path.name + ".json")

    def options(self) -> Mapping[str, Any]:
        """Rate and quality."""
        return {"fps": self.fps, "quality": self.quality}

    def has(self, name: str) -> bool:
        """A video is finished as a whole."""
        return False

    def open(self, sequence: FrameSequence) -> Sink:
        """The file is begun with the first frame, which decides the size."""
        return _VideoSink(self, self.fps or sequence.rate or DEFAULT_RATE)


class _VideoSink:
    def __init__(self, output: VideoOutput, fps: float) -> None:
        self._output, self._fps = output, fps
        self._partial = output.path.with_name(f".{output.path.stem}.part{output.path.suffix}")
        self._writer: cv2.VideoWriter | None = None
        self._size, self._count = (0, 0), 0

    def write(self, frame: Frame, result: StepResult) -> None:
        size = (result.fused.shape[1], result.fused.shape[0])
        if self._writer is None:
            self._writer, self._size = self._begin(size), size
        if size != self._size:
            raise ValueError("is {}x{}, the video is {}x{}. Remedy: fuse into a folder".format(*size, *self._size))
        folder = self._output.path.with_suffix(".answers")
        save_answer(result.output, folder, frame.name.replace("/", "_"))
        self._writer.write(cv2.cvtColor(result.fused, cv2.COLOR_RGB2BGR))
        self._count += 1

    def close(self) -> None:
        if self._writer is None:
            raise ValueError(f"{self._output.path}: no frame to write")
        self._writer.release()
        if (count := clip_length(self._partial)) != self._count:  # OpenCV does not say that the disk is full
            raise OSError(
                f"{self._output.path}: only {count} of {self._count} frames were written. Remedy: free the disk"
            )
        self._partial.replace(self._output.path)

    def abort(self) -> None:
        if self._writer is not None:
            self._writer.release()
        self._partial.unlink(missing_ok=True)

    def _begin(self, size: tuple[int, int]) -> cv2.VideoWriter:
        path, quality = self._output.path, self._output.quality
        path.parent.mkdir(parents=True, exist_ok=True)
        code = cv2.VideoWriter.fourcc(*VIDEO_CODECS[path.suffix.lower()])
        writer = cv2.VideoWriter(str(self._partial), code, self._fps, size)
        if not writer.isOpened():
            raise OSError(f"{path}: OpenCV cannot write this video here. Remedy: .avi, or a folder of images")
        if quality is not None:
            writer.set(cv2.VIDEOWRITER_PROP_QUALITY, quality)
        return writer


def save_answer(answer: TaskOutput, folder: Path, name: str) -> None:
    """`name.txt` (`class score x1 y1 x2 y2` a line), `name.segmentation.png` or `name.saliency.png`; None: nothing."""
    if answer is None:
        return
    folder.mkdir(parents=True, exist_ok=True)
    if isinstance(answer, Detections):
        write_whole(folder / f"{name}.txt", boxes_as_text(answer).encode())
    elif isinstance(answer, LabelMap):
        write_whole(folder / f"{name}.segmentation.png", _encoded(answer.classes, ".png"))
    elif isinstance(answer, SaliencyMap):
        write_whole(folder / f"{name}.saliency.png", _encoded(answer.values, ".png"))


def boxes_as_text(found: Detections) -> str:
    """One line a box: class name, score, x1 y1 x2 y2 in pixels."""
    rows = zip(found.labels, found.scores, found.boxes, strict=True)
    return "".join(f"{found.names[c]} {s:.3f} {' '.join(f'{v:.1f}' for v in box)}\n" for c, s, box in rows)


def _encoded(image: NDArray[Any], suffix: str, options: list[int] | None = None) -> bytes:
    done, data = cv2.imencode(suffix, image, options or [])
    if not done:
        raise ValueError(f"OpenCV cannot encode an image of {image.shape} as {suffix}")
    return data.tobytes()
