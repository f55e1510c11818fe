"""Calibration of a camera pair: the YAML file, its checks, and the table of pixels that follows from it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cldyn_core.registration.cameras import DISTORTION_MODELS, Array, Camera, transform
from cldyn_core.text_files import read_yaml

_SAME_SHAPE = 0.01  # relative difference of aspect ratios up to which an image is the calibrated one in another size
_LEAST_COVERED = 0.05  # of the visible image; less is a mistake in the file
_KEYS = {"infrared", "visible", "homography", "extrinsics", "scene"}


class CalibrationError(ValueError):
    """A calibration that cannot be used. The text names file and entry."""


@dataclass(frozen=True, eq=False)
class Calibration:
    """Two cameras, and what takes one's rays to the other's."""

    infrared: Camera
    visible: Camera
    to_infrared: Array
    """(3, 3) from visible to infrared rays (`Camera.rays`); third coordinate above 0 in front of the camera."""

    def table(self, infrared: tuple[int, int], visible: tuple[int, int]) -> NDArray[np.float32]:
        """(H, W, 2) infrared pixel x, y of each visible pixel, -1e6 where there is none, for images of these (h, w)
        and (H, W). Raises CalibrationError for a shape that is not the calibrated one.
        """
        _check_shape("infrared", self.infrared, infrared)
        _check_shape("visible", self.visible, visible)
        y, x = np.mgrid[0 : visible[0], 0 : visible[1]].reshape(2, -1).astype(np.float64)
        pixels = _resized(np.column_stack([x, y]), visible, (self.visible.height, self.visible.width))
        found = transform(self.to_infrared, self.visible.rays(pixels))
        found[found[:, 2] <= 0] = np.nan  # behind the infrared camera
        pixels = _resized(self.infrared.pixels(found[:, :2]), (self.infrared.height, self.infrared.width), infrared)
        return np.nan_to_num(pixels, nan=-1e6).clip(-1e6, 1e6).reshape(*visible, 2).astype(np.float32)

    def covered(self) -> float:
        """Share of the visible image that the infrared camera sees, in 0..1."""
        x, y = np.meshgrid(np.linspace(0, self.visible.width - 1, 40), np.linspace(0, self.visible.height - 1, 30))
        found = transform(self.to_infrared, self.visible.rays(np.column_stack([x.ravel(), y.ravel()])))
        pixels = self.infrared.pixels(found[:, :2])
        size = [self.infrared.width - 1, self.infrared.height - 1]
        inside = (found[:, 2] > 0) & (pixels >= 0).all(1) & (pixels <= size).all(1)
        return float(inside.mean())


def read_calibration(path: Path) -> Calibration:
    """Read a file as doc/calibration.md describes it. Raises CalibrationError that says what is wrong with it."""
    try:
        return parse_calibration(read_yaml(path))
    except CalibrationError as error:
        raise CalibrationError(f"calibration {path}: {error}") from error
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or error
        raise CalibrationError(f"calibration {path}: cannot be read: {reason}") from error


def parse_calibration(tree: object) -> Calibration:
    """What the YAML of a file says. Raises CalibrationError."""
    if not isinstance(tree, Mapping):
        raise CalibrationError("is no mapping with infrared, visible and homography or extrinsics")
    if unknown := sorted(set(map(str, tree)) - _KEYS):
        raise CalibrationError(f"unknown entry {unknown[0]!r}; known: {', '.join(sorted(_KEYS))}")
    infrared, visible = parse_camera(tree, "infrared"), parse_camera(tree, "visible")
    if ("homography" in tree) == ("extrinsics" in tree):
        raise CalibrationError("takes either homography or extrinsics (with scene)")
    if "homography" in tree:
        matrix = _from_homography(_numbers(tree, "homography", 9).reshape(3, 3), infrared, visible)
    else:
        matrix = _from_extrinsics(tree, infrared, visible)
    calibration = Calibration(infrared, visible, matrix)
    if calibration.covered() < _LEAST_COVERED:
        raise CalibrationError(
            f"the infrared image covers {calibration.covered():.0%} of the visible one: homography and extrinsics lead "
            "from infrared to visible, extrinsics in optical frames (x right, y down, z forward) and meters"
        )
    return calibration


def _from_homography(matrix: Array, infrared: Camera, visible: Camera) -> Array:
    if abs(np.linalg.det(matrix)) < 1e-12:
        raise CalibrationError("homography cannot be inverted")
    found = np.linalg.inv(infrared.k) @ np.linalg.inv(matrix) @ visible.k
    center = visible.rays(np.array([[visible.width / 2, visible.height / 2]]))
    return found * np.sign(transform(found, center)[0, 2])


def _from_extrinsics(tree: Mapping[str, Any], infrared: Camera, visible: Camera) -> Array:
    """The homography that the scene's plane induces: with n X = d on it, X_infrared ~ R' (I - t n / d) ray."""
    for name, camera in (("infrared", infrared), ("visible", visible)):
        if camera.matrix is None:
            raise CalibrationError(f"extrinsics need {name}.camera_matrix")
    extrinsics, scene = _mapping(tree, "extrinsics"), _mapping(tree, "scene")
    rotation = _numbers(extrinsics, "rotation", 9, "extrinsics.").reshape(3, 3)
    if not np.allclose(rotation @ rotation.T, np.eye(3), atol=1e-3) or np.linalg.det(rotation) < 0:
        raise CalibrationError("extrinsics.rotation is no rotation matrix (row-major 3x3)")
    translation = _numbers(extrinsics, "translation", 3, "extrinsics.")
    normal = _numbers(scene, "normal", 3, "scene.") if "normal" in scene else np.array([0.0, 0.0, 1.0])
    distance = scene.get("distance")
    if isinstance(distance, bool) or not isinstance(distance, (int, float)) or not distance > 0:
        raise CalibrationError(f"scene.distance is a number of meters above 0 (.inf: far away), not {distance!r}")
    if np.linalg.norm(normal) < 1e-6:
        raise CalibrationError("scene.normal has no direction")
    normal = normal / np.linalg.norm(normal)
    return rotation.T @ (np.eye(3) - np.outer(translation, normal) / float(distance))


def parse_camera(tree: Mapping[str, Any], name: str) -> Camera:
    """The camera at an entry of a file. Raises CalibrationError that names what is wrong with it."""
    entry = _mapping(tree, name)
    sizes = [entry.get(key) for key in ("image_width", "image_height")]
    if not all(type(size) is int and 3 <= size < 1 << 15 for size in sizes):
        raise CalibrationError(f"{name}.image_width and image_height are numbers of pixels, not {sizes[0]}x{sizes[1]}")
    width, height = int(str(sizes[0])), int(str(sizes[1]))
    if "camera_matrix" not in entry:
        if "distortion_coefficients" in entry:
            raise CalibrationError(f"{name}.distortion_coefficients need {name}.camera_matrix")
        return Camera(width, height)
    matrix = _numbers(entry, "camera_matrix", 9, f"{name}.").reshape(3, 3)
    if matrix[0, 0] <= 0 or matrix[1, 1] <= 0 or not np.allclose(matrix[[1, 2, 2, 2], [0, 0, 1, 2]], [0, 0, 0, 1]):
        raise CalibrationError(f"{name}.camera_matrix is [fx 0 cx; 0 fy cy; 0 0 1] with positive focal lengths")
    model = entry.get("distortion_model", "plumb_bob")
    if not isinstance(model, str) or model not in DISTORTION_MODELS:
        raise CalibrationError(f"{name}.distortion_model is one of {', '.join(DISTORTION_MODELS)}, not {model!r}")
    counts = DISTORTION_MODELS[model]
    given = "distortion_coefficients" in entry
    coefficients = _numbers(entry, "distortion_coefficients", None, f"{name}.") if given else np.zeros(0)
    if len(coefficients) not in counts:
        wanted = " or ".join(str(count) for count in counts[1:])
        raise CalibrationError(f"{name}.distortion_coefficients: {model} has {wanted}, not {len(coefficients)}")
    return Camera(width, height, matrix, model, tuple(coefficients.tolist()) or (0.0,) * counts[1])


def _mapping(tree: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    entry = tree.get(name)
    if not isinstance(entry, Mapping):
        raise CalibrationError(f"{name} is missing" if entry is None else f"{name} is no mapping")
    return entry


def _numbers(tree: Mapping[str, Any], name: str, count: int | None, prefix: str = "") -> Array:
    """A list of numbers, or the {rows, cols, data} of ROS. `count` None: any number of them."""
    entry = tree.get(name)
    values = entry.get("data") if isinstance(entry, Mapping) else entry
    known = isinstance(values, list) and all(type(v) in (int, float) for v in values)
    numbers = np.array(values if known else [np.nan], np.float64)
    if not np.isfinite(numbers).all() or (count is not None and len(numbers) != count):
        raise CalibrationError(f"{prefix}{name} is a list of {'finite' if count is None else count} numbers")
    return numbers


def _check_shape(name: str, camera: Camera, shape: tuple[int, int]) -> None:
    ratio = (shape[1] * camera.height) / (shape[0] * camera.width)
    if abs(ratio - 1) > _SAME_SHAPE:
        raise CalibrationError(
            f"the {name} image is {shape[1]}x{shape[0]}, but the calibration is of {camera.width}x{camera.height}: "
            "calibrate at the size that the node gets"
        )


def _resized(pixels: Array, old: tuple[int, int], new: tuple[int, int]) -> Array:
    """Pixels of an image (h, w) in the same image resized; centers of pixels are whole numbers."""
    return (pixels + 0.5) * [new[1] / old[1], new[0] / old[0]] - 0.5
