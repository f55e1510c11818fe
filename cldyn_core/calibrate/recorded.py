"""The recorded pairs of a calibration: which are looked at, which judge, and both cameras as they are known."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from cldyn_core.engine.thermal import ThermalRange
from cldyn_core.fuse.sources import FrameSequence
from cldyn_core.registration.calibration import Calibration, CalibrationError, parse_calibration, parse_camera
from cldyn_core.registration.cameras import Array, Camera, transform
from cldyn_core.text_files import read_yaml
from cldyn_core.types import FramePair

Gray = NDArray[np.uint8]
_BLOCKS = 6  # runs of neighboring pairs; every third judges, so that no pair judges what its neighbor taught
LEAST_PAIRS = 6
_SMALL, _SAME = (32, 24), 2.5  # (width, height); mean difference of two pictures of one place, in gray levels


@dataclass(frozen=True)
class GrayPair:
    """(H, W) visible and (h, w) infrared image, 0 .. 255 and 1 .. 255, each in its camera's own pixels."""

    visible: Gray
    infrared: Gray


@dataclass(frozen=True)
class Cameras:
    """What is known of both before: sizes, perhaps intrinsics. `infrared` and `visible` are entries of the file."""

    infrared: Mapping[str, Any]
    visible: Mapping[str, Any]

    def camera(self, name: str) -> Camera:
        """The infrared or visible one. Raises CalibrationError."""
        return parse_camera({name: getattr(self, name)}, name)

    def file(self, homography: Array) -> dict[str, Any]:
        """The calibration file with a map of undistorted infrared to visible pixels, as plain values."""
        numbers = [float(f"{value:.10g}") for value in homography.ravel()]
        return {"infrared": dict(self.infrared), "visible": dict(self.visible), "homography": numbers}

    def calibration(self, homography: Array) -> Calibration:
        """With such a map. Raises CalibrationError for one that lays the images side by side."""
        return parse_calibration(self.file(homography))


def undistorted(camera: Camera, pixels: Array) -> Array:
    """(N, 2) pixels -> (N, 2) pixels of the camera without its distortion."""
    return transform(camera.k, camera.rays(pixels))[:, :2]


def draw(sequences: Sequence[FrameSequence], most: int) -> Iterator[FramePair]:
    """At most so many pairs, evenly spread over the sequences. Raises ValueError when one cannot be read, or sizes
    differ.
    """
    total = sum(len(sequence) for sequence in sequences)
    wanted = {int(k) for k in np.linspace(0, total - 1, min(most, total)).round()}
    number, sizes = 0, None
    for sequence in sequences:
        for load in sequence.loads():
            chosen = number in wanted
            number += 1
            if not chosen and sequence.parallel:
                continue
            if (frame := load()) is None:
                break
            if not chosen:
                continue
            if frame.pair is None:
                raise ValueError(frame.error)
            found = frame.pair.visible.shape[:2], frame.pair.infrared.shape
            if found != (sizes := sizes or found):
                raise ValueError(f"{frame.name}: the images are {_sizes(found)}, those before {_sizes(sizes)}. "
                                 "Remedy: calibrate each camera pair from its own recording")  # fmt: skip
            yield frame.pair


def gray(pair: FramePair) -> GrayPair:
    """Both images as 8-bit gray; of the infrared one each image has its own range."""
    visible = cv2.cvtColor(pair.visible, cv2.COLOR_RGB2GRAY).astype(np.uint8, copy=False)
    infrared = cv2.convertScaleAbs(ThermalRange().normalize(pair.infrared), alpha=254.0, beta=1.0)
    return GrayPair(visible, infrared.astype(np.uint8, copy=False))


def judges(count: int) -> list[bool]:
    """Which of so many pairs, in their order, judge and do not teach: a third, in runs of neighbors."""
    blocks = min(_BLOCKS, count // 2)
    return [k * blocks // count % 3 == 1 for k in range(count)]


def places(pairs: Sequence[GrayPair]) -> int:
    """How many different pictures the visible camera took, small changes aside."""
    kept: list[Array] = []
    for pair in pairs:
        small = cv2.resize(pair.visible, _SMALL, interpolation=cv2.INTER_AREA).astype(np.float64)
        if all(np.abs(small - other).mean() > _SAME for other in kept):
            kept.append(small)
    return len(kept)


def read_cameras(
    infrared: tuple[int, ...], visible: tuple[int, ...], infrared_info: Path | None, visible_info: Path | None
) -> Cameras:
    """Cameras of images of these sizes (h, w), with the intrinsics of files as camera_calibration writes them.

    Raises CalibrationError naming the file.
    """
    entries: dict[str, dict[str, Any]] = {}
    for name, (height, width), path in (("infrared", infrared, infrared_info), ("visible", visible, visible_info)):
        entries[name] = {"image_width": width, "image_height": height}
        if path is None:
            continue
        try:
            tree = read_yaml(path)
            given = parse_camera({name: tree.get(name, tree) if isinstance(tree, Mapping) else tree}, name)
        except (OSError, ValueError) as error:
            raise CalibrationError(f"{path}: {getattr(error, 'strerror', None) or error}") from error
        if given.matrix is None:
            raise CalibrationError(f"{path}: has no camera_matrix. Remedy: leave the file out, or calibrate the camera")
        if (given.height, given.width) != (height, width):
            raise CalibrationError(
                f"{path}: is of {given.width}x{given.height}, but the {name} images are {width}x{height}. "
                "Remedy: record at the size at which the camera was calibrated"
            )
        entries[name] |= {
            "camera_matrix": given.matrix.ravel().tolist(),
            "distortion_model": given.model,
            "distortion_coefficients": list(given.distortion),
        }
    return Cameras(entries["infrared"], entries["visible"])


def _sizes(found: tuple[tuple[int, ...], tuple[int, ...]]) -> str:
    (height, width), (h, w) = found
    return f"{width}x{height} (visible) and {w}x{h} (infrared)"
