"""Calibration of a camera pair: geometry against points projected one by one, and every way a file can be wrong."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from cldyn_core.registration.calibration import CalibrationError, parse_calibration, read_calibration
from cldyn_core.registration.registration import Registration, register

ROTATION = cv2.Rodrigues(np.array([0.01, -0.02, 0.03]))[0]
TRANSLATION = np.array([0.08, 0.01, -0.02])
IR_K = np.array([[300.0, 0, 165], [0, 302, 118], [0, 0, 1]])
VI_K = np.array([[600.0, 0, 310], [0, 598, 250], [0, 0, 1]])
MODELS: dict[str, tuple[list[float], list[float]]] = {
    "plumb_bob": ([-0.28, 0.07, 0.001, -0.002, 0.0], [-0.12, 0.05, 0.0, 0.001, -0.01]),
    "rational_polynomial": ([0.1, -0.05, 0.001, 0.0, 0.01, 0.3, 0.02, 0.0], [0.2, 0.0, 0.0, 0.0, 0.0, 0.4, 0.0, 0.0]),
    "equidistant": ([-0.03, 0.01, -0.002, 0.0], [0.02, -0.01, 0.0, 0.0]),
}


def matrix(values: Any, rows: int = 3) -> dict[str, Any]:
    data = np.asarray(values, float).ravel().tolist()
    return {"rows": rows, "cols": len(data) // rows, "data": data}


def camera(size: tuple[int, int], k: np.ndarray, model: str, distortion: list[float]) -> dict[str, Any]:
    """As camera_calibration writes it, with entries that are of no interest here."""
    return {
        "image_width": size[0], "image_height": size[1], "camera_name": "cam", "camera_matrix": matrix(k),
        "distortion_model": model, "distortion_coefficients": matrix(distortion, 1),
        "rectification_matrix": matrix(np.eye(3)),
    }  # fmt: skip


def tree(model: str = "plumb_bob", distance: float = 4.0) -> dict[str, Any]:
    infrared, visible = MODELS[model]
    return {
        "infrared": camera((320, 240), IR_K, model, infrared),
        "visible": camera((640, 480), VI_K, model, visible),
        "extrinsics": {"rotation": matrix(ROTATION), "translation": TRANSLATION.tolist()},
        "scene": {"distance": distance},
    }


def project(points: np.ndarray, k: np.ndarray, model: str, distortion: list[float]) -> np.ndarray:
    zero = np.zeros(3)
    if model == "equidistant":
        return cv2.fisheye.projectPoints(points[:, None], zero, zero, k, np.array(distortion))[0][:, 0]
    return cv2.projectPoints(points, zero, zero, k, np.array(distortion))[0][:, 0]


@pytest.mark.parametrize("model", MODELS)
@pytest.mark.parametrize("shrunk", [1, 2])
def test_points_of_the_scene_meet(model: str, shrunk: int) -> None:
    """Points on the plane: each one's infrared pixel, projected by OpenCV, is where the table says for its visible
    one; also for images half as large as the calibrated ones.
    """
    infrared, visible = MODELS[model]
    spread = np.random.default_rng(0).uniform([-1.4, -1.0], [1.2, 1.0], (300, 2))
    in_infrared = (np.column_stack([spread, np.full(300, 4.0)]) - TRANSLATION) @ ROTATION
    wanted = project(in_infrared, IR_K, model, infrared)
    pixels = project(np.column_stack([spread, np.full(300, 4.0)]), VI_K, model, visible)
    wanted, pixels = (wanted + 0.5) / shrunk - 0.5, (pixels + 0.5) / shrunk - 0.5
    table = parse_calibration(tree(model)).table((240 // shrunk, 320 // shrunk), (480 // shrunk, 640 // shrunk))
    found = cv2.remap(table, pixels[:, None].astype(np.float32), None, cv2.INTER_LINEAR)[:, 0]  # type: ignore[call-overload]
    inside = (pixels > 1).all(1) & (pixels < np.array([640, 480]) / shrunk - 2).all(1) & (found > -1e5).all(1)
    assert inside.sum() > 200
    assert np.abs(found - wanted)[inside].max() < 0.05  # remap interpolates to 1/32 pixel


def test_another_plane_and_far_away() -> None:
    floor = tree()
    floor["scene"] = {"distance": 1.5, "normal": [0.0, 1.0, 0.0]}
    point = np.array([[0.3, 1.5, 6.0]])
    calibration = parse_calibration(floor)
    ray = calibration.visible.rays(project(point, VI_K, "plumb_bob", MODELS["plumb_bob"][1]))[0]
    moved = calibration.to_infrared @ [*ray, 1.0]
    np.testing.assert_allclose(moved[:2] / moved[2], (lambda p: p[:2] / p[2])((point[0] - TRANSLATION) @ ROTATION))
    far = parse_calibration(tree(distance=float("inf")))
    np.testing.assert_allclose(far.to_infrared, ROTATION.T)


def test_rays_that_the_lens_would_fold_back_are_outside() -> None:
    """Barrel distortion: a ray far outside gets a pixel inside by the polynomial alone."""
    wide = tree()
    wide["visible"]["camera_matrix"] = matrix([[150.0, 0, 320], [0, 150, 240], [0, 0, 1]])
    wide["visible"]["distortion_coefficients"] = matrix([0.0] * 5, 1)
    wide["infrared"]["distortion_coefficients"] = matrix([-0.3, 0, 0, 0], 1)
    table = parse_calibration(wide).table((240, 320), (480, 640))
    assert table[0, 0].max() < -1e5 and table[240, 320].min() > 0
    seen = (table > 0).all(-1) & (table < [319, 239]).all(-1)
    assert seen[190:290, 260:380].all()
    seen[150:340, 200:440] = False
    assert not seen.any()


def test_a_homography_alone_is_the_parameter() -> None:
    values = (2.1, 0.05, -8.0, -0.03, 1.95, 6.0, 1e-5, -2e-5, 1.0)
    plain = {
        "infrared": {"image_width": 320, "image_height": 240},
        "visible": {"image_width": 640, "image_height": 480},
        "homography": matrix(values),
    }
    image = cv2.GaussianBlur(np.random.default_rng(1).random((240, 320), np.float32), (0, 0), 3)
    by_file = cv2.remap(image, parse_calibration(plain).table((240, 320), (480, 640)), None, cv2.INTER_LINEAR)  # type: ignore[call-overload]
    assert np.abs(by_file - register(image, (480, 640), values)).max() < 0.01
    plain["homography"] = matrix(-np.array(values))  # the same homography
    again = parse_calibration(plain).table((240, 320), (480, 640))
    np.testing.assert_allclose(again, parse_calibration(plain).table((240, 320), (480, 640)), atol=1e-3)
    assert np.abs(cv2.remap(image, again, None, cv2.INTER_LINEAR) - by_file).max() < 1e-5  # type: ignore[call-overload]


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.float32])
def test_registration_by_a_file(tmp_path: Path, dtype: type) -> None:
    path = tmp_path / "pair.yaml"
    path.write_text(yaml.safe_dump(tree()))
    registration = Registration(calibration=str(path))
    infrared = np.full((240, 320), 200, dtype)
    out = registration(infrared, (480, 640))
    assert out.shape == (480, 640) and out.dtype == dtype and out[240, 320] == 200
    maps = registration._table[1]
    registration(infrared, (480, 640))
    assert registration._table[1] is maps, "made once"
    assert registration(infrared[:120, :160], (240, 320)).shape == (240, 320)
    with pytest.raises(CalibrationError, match="infrared image is 320x200, but the calibration is of 320x240"):
        registration(infrared[:200], (480, 640))
    with pytest.raises(ValueError, match="both given"):
        Registration((1.0, 0, 0, 0, 1, 0, 0, 0, 1), str(path))


def changed(path: str, value: object) -> dict[str, Any]:
    """`tree` with one entry replaced, or without it where value is None."""
    whole = copy.deepcopy(tree())
    entry = whole
    *parents, last = path.split(".")
    for key in parents:
        entry = entry[key]
    entry[last] = value
    if value is None:
        del entry[last]
    return whole


@pytest.mark.parametrize(
    ("path", "value", "text"),
    [
        ("visible", None, "visible is missing"),
        ("infrared", [1], "infrared is no mapping"),
        ("infrared.image_width", "320", "infrared.image_width and image_height are numbers of pixels"),
        ("infrared.camera_matrix", None, "infrared.distortion_coefficients need infrared.camera_matrix"),
        ("infrared.camera_matrix", [1.0] * 8, "infrared.camera_matrix is a list of 9 numbers"),
        ("visible.camera_matrix", [-1.0, 0, 0, 0, 1, 0, 0, 0, 1], "positive focal lengths"),
        ("visible.camera_matrix.data", [float("nan")] * 9, "list of 9 numbers"),
        ("visible.distortion_model", "fisheye9", "one of plumb_bob, rational_polynomial, equidistant, not 'fisheye9'"),
        ("visible.distortion_coefficients.data", [0.1] * 3, "plumb_bob has 4 or 5, not 3"),
        ("extrinsics", None, "either homography or extrinsics"),
        ("homography", [1.0] * 9, "either homography or extrinsics"),
        ("extrinsics.rotation.data", [2.0] * 9, "extrinsics.rotation is no rotation matrix"),
        ("extrinsics.translation", [0.1, "a", 0], "extrinsics.translation is a list of 3 numbers"),
        ("extrinsics.translation", [-100.0, 0, 0], "covers 0% of the visible one.*in meters|covers 0%"),
        ("scene", None, "scene is missing"),
        ("scene.distance", 0, "scene.distance is a number of meters above 0"),
        ("scene.distance", True, "scene.distance is a number"),
        ("scene.normal", [0, 0, 0], "scene.normal has no direction"),
        ("scenes", {}, "unknown entry 'scenes'; known: extrinsics, homography"),
    ],
)
def test_bad_files_are_refused_with_the_entry(path: str, value: object, text: str, tmp_path: Path) -> None:
    file = tmp_path / "bad.yaml"
    file.write_text(yaml.safe_dump(changed(path, value)))
    with pytest.raises(CalibrationError, match=text) as caught:
        read_calibration(file)
    assert str(file) in str(caught.value)


@pytest.mark.parametrize("content", [None, b"", b"[1, 2]", b"{", b"\xff\xfe\x00", b"a: !!python/object:os.system {}"])
def test_what_is_no_calibration_at_all(content: bytes | None, tmp_path: Path) -> None:
    if content is not None:
        (tmp_path / "x.yaml").write_bytes(content)
    with pytest.raises(CalibrationError, match=r"calibration .*x\.yaml"):
        read_calibration(tmp_path / "x.yaml")


leaf = st.one_of(st.none(), st.booleans(), st.integers(-9, 9), st.floats(), st.text(max_size=3), st.lists(st.floats()))
entries = ["infrared", "visible", "extrinsics", "scene", "infrared.image_width", "visible.camera_matrix.data",
           "infrared.distortion_coefficients", "extrinsics.translation", "scene.distance", "scene.normal"]  # fmt: skip


@given(st.sampled_from(entries), st.one_of(leaf, st.dictionaries(st.sampled_from(["data", "rows"]), leaf)))
@settings(deadline=None, max_examples=150)
def test_any_value_is_taken_or_refused(path: str, value: object) -> None:
    try:
        calibration = parse_calibration(changed(path, value))
    except CalibrationError:
        return
    assert np.isfinite(calibration.table((24, 32), (48, 64))).all()
