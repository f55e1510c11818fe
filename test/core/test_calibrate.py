"""Calibration from recorded pairs: known maps are found again, and what cannot be known is not claimed."""

from __future__ import annotations

import argparse
import math
from pathlib import Path

import cv2
import numpy as np
import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from cldyn_core.calibrate import by_edges, by_target, command
from cldyn_core.calibrate.found import Found, NotFoundError, Residuals
from cldyn_core.calibrate.models import MODELS, Model, fit
from cldyn_core.calibrate.recorded import Cameras, GrayPair, judges, read_cameras
from cldyn_core.cli import main
from cldyn_core.data.synthetic import SceneConfig, render_frame
from cldyn_core.registration.calibration import CalibrationError, read_calibration
from cldyn_core.registration.cameras import Array, transform

WIDTH, HEIGHT = 320, 240
CAMERAS = read_cameras((HEIGHT, WIDTH), (HEIGHT, WIDTH), None, None)
TURNED: dict[str, Array] = {
    "similarity": np.array([[1.19, -0.03, -40.0], [0.03, 1.19, -11.0], [0, 0, 1]]),
    "affine": np.array([[0.84, 0.02, 20.0], [-0.01, 0.9, 17.0], [0, 0, 1]]),
    "homography": np.array([[1.02, 0.01, -9.0], [0.02, 0.99, 4.0], [1.2e-4, -6e-5, 1]]),
}
"""Infrared to visible pixels."""


@pytest.fixture(scope="module")
def streets() -> list[GrayPair]:
    """Registered pairs; of an 8-bit camera, hot is bright."""
    frames = [render_frame(SceneConfig("day", WIDTH, HEIGHT, seed=seed), 0) for seed in range(9)]
    return [GrayPair(_gray(frame.visible), np.maximum(frame.infrared, 1)) for frame in frames]


def _gray(image: np.ndarray) -> np.ndarray:
    return np.asarray(cv2.cvtColor(image, cv2.COLOR_RGB2GRAY), np.uint8)


def seen_by_another(pair: GrayPair, homography: Array) -> GrayPair:
    """The same scene, of which the infrared camera sees what `homography` takes to where it is now."""
    size = pair.infrared.shape[::-1]
    infrared = cv2.warpPerspective(pair.infrared, np.linalg.inv(homography), size, flags=cv2.INTER_LINEAR)
    return GrayPair(pair.visible, np.asarray(infrared, np.uint8))


def farthest(found: Array, true: Array) -> float:
    """Between two maps, over the infrared image: pixels of the visible one, of places that it shows."""
    grid = np.stack(np.meshgrid(np.linspace(20, WIDTH - 20, 7), np.linspace(20, HEIGHT - 20, 6)), -1).reshape(-1, 2)
    a, b = (transform(matrix, grid)[:, :2] for matrix in (found, true))
    inside = ((b > 0) & (b < [WIDTH, HEIGHT])).all(1)
    return float(np.hypot(*(a - b)[inside].T).max())


@pytest.mark.parametrize("model", MODELS)
def test_a_known_map_is_found_in_streets(streets: list[GrayPair], model: Model) -> None:
    pairs = [seen_by_another(pair, TURNED[model]) for pair in streets]
    found = by_edges.find(pairs[:6], pairs[6:], CAMERAS, [model])
    assert farthest(found.homography, TURNED[model]) < 1.0
    assert found.held_out.median < 0.5 and len(found.held_out.at) >= 8


def test_the_residuals_are_those_of_the_map(streets: list[GrayPair]) -> None:
    """A map that is 3 px off is measured as 3 px off."""
    pairs = [by_edges.EdgePair.of(pair) for pair in streets]
    moved = np.array([[1, 0, 2.4], [0, 1, -1.8], [0, 0, 1]])
    left = by_edges.residuals(pairs, CAMERAS.calibration(moved))
    assert left.median == pytest.approx(3.0, abs=0.3)
    assert np.median(left.offsets, 0) == pytest.approx((2.4, -1.8), abs=0.3)


def test_images_without_common_edges_are_refused(streets: list[GrayPair]) -> None:
    rng = np.random.default_rng(0)
    strange = [GrayPair(pair.visible, rng.integers(1, 255, (HEIGHT, WIDTH), np.uint8)) for pair in streets]
    with pytest.raises(NotFoundError, match=r"too few edges in common|edges agree in \d+ parts"):
        by_edges.find(strange[:6], strange[6:], CAMERAS, MODELS)
    others = [*streets[1:], streets[0]]
    shuffled = [
        GrayPair(pair.visible, np.ascontiguousarray(other.infrared[::-1]))
        for pair, other in zip(streets, others, strict=True)
    ]
    with pytest.raises(NotFoundError):
        by_edges.find(shuffled[:6], shuffled[6:], CAMERAS, MODELS)


POINTS = st.lists(
    st.tuples(st.floats(0, 640), st.floats(0, 480)),
    min_size=12,
    max_size=12,
    unique_by=lambda p: (p[0] // 90, p[1] // 90),
)


@given(POINTS, st.sampled_from(MODELS))
@settings(deadline=None, max_examples=60)
def test_a_fit_is_exact_where_points_are_and_survives_wrong_ones(
    points: list[tuple[float, float]], model: Model
) -> None:
    source = np.array([*points, (0, 0), (640, 0), (0, 480), (640, 480), (320, 240), (160, 240), (320, 120)])
    target = transform(TURNED[model], source)[:, :2]
    assert np.abs(transform(fit(model, source, target), source)[:, :2] - target).max() < 1e-6
    wrong = target.copy()
    wrong[3] += (60, -80)
    assert np.abs(transform(fit(model, source, wrong), source)[:, :2] - target).max() < 2.0


def test_points_that_determine_nothing_are_refused() -> None:
    line = np.array([[k, 2.0 * k] for k in range(9)])
    with pytest.raises(ValueError, match="determine no homography"):
        fit("homography", line, line)
    with pytest.raises(ValueError, match="needs 4 points, not 2"):
        fit("homography", line[:2], line[:2])


def test_a_third_in_runs_of_neighbors_judges() -> None:
    for count in (6, 7, 12, 40, 60):
        judging = judges(count)
        assert len(judging) == count and count / 5 < sum(judging) < count / 2
    assert judges(12) == [False, False, True, True, False, False, False, False, True, True, False, False]


# Targets: a board in a plane, seen by two pinholes.


def board(target: str, homography: Array, inverted: bool, size: tuple[int, int] = (480, 640)) -> np.ndarray:
    """(H, W) image of a 7x5 pattern at 40 px, drawn large and warped."""
    plane = np.full((400, 480), 215, np.uint8)
    if target == "chessboard":
        for row in range(6):
            for column in range(8):
                if (row + column) % 2:
                    plane[80 + 40 * row : 120 + 40 * row, 80 + 40 * column : 120 + 40 * column] = 30
    else:
        for row in range(5):
            for column in range(7):
                cv2.circle(plane, (120 + 40 * column, 120 + 40 * row), 11, 30, -1, cv2.LINE_AA)
    image = cv2.warpPerspective(plane, homography, size[::-1], flags=cv2.INTER_AREA, borderValue=190)
    image = cv2.GaussianBlur(image, (0, 0), 0.8)
    return np.asarray(255 - image if inverted else image, np.uint8)


def poses(count: int) -> list[Array]:
    rng = np.random.default_rng(3)
    found = []
    for _ in range(count):
        turn, scale = rng.uniform(-0.3, 0.3), rng.uniform(0.75, 1.0)
        c, s = scale * math.cos(turn), scale * math.sin(turn)
        x, y = rng.uniform(60, 180), rng.uniform(20, 100)
        found.append(np.array([[c, -s, x], [s, c, y], [rng.uniform(-2e-4, 2e-4), rng.uniform(-2e-4, 2e-4), 1]]))
    return found


@pytest.mark.parametrize("target", ["chessboard", "circles"])
@pytest.mark.parametrize("inverted", [False, True])
def test_a_target_gives_the_map(target: by_target.Target, inverted: bool) -> None:
    true = np.array([[1.6, 0.02, 30.0], [-0.03, 1.55, 12.0], [4e-5, -2e-5, 1]])  # infrared 384x288 to visible 640x480
    cameras = read_cameras((288, 384), (480, 640), None, None)
    views = []
    for pose in poses(6):
        pair = GrayPair(board(target, pose, False), board(target, np.linalg.inv(true) @ pose, inverted, (288, 384)))
        if view := by_target.look(pair, target, (7, 5)):
            views.append(view)
    assert len(views) >= 5
    found = by_target.find(views[:-2], views[-2:], cameras, MODELS)
    assert found.model == "homography" and found.held_out.median < 0.3 and found.held_out.spread < 0.5
    centers = np.concatenate([view.infrared for view in views])
    assert np.abs(transform(found.homography, centers)[:, :2] - transform(true, centers)[:, :2]).max() < 1.5


def test_a_target_that_one_camera_does_not_see_is_no_view() -> None:
    (pose,) = poses(1)
    shown, blank = board("chessboard", pose, False), np.full((480, 640), 90, np.uint8)
    assert by_target.look(GrayPair(shown, blank), "chessboard", (7, 5)) is None
    assert by_target.look(GrayPair(blank, shown), "chessboard", (7, 5)) is None
    with pytest.raises(NotFoundError, match=r"0 pairs, 4 are the least.*--pattern"):
        by_target.find([], [], CAMERAS, MODELS)


# The command.


@pytest.fixture(scope="module")
def recording(streets: list[GrayPair], tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("recording")
    for side in ("infrared", "visible"):
        (folder / side).mkdir()
    for number, pair in enumerate(streets):
        moved = seen_by_another(pair, TURNED["similarity"])
        raw = cv2.resize(moved.infrared, (160, 120), interpolation=cv2.INTER_AREA).astype(np.uint16) * 40 + 20_000
        cv2.imwrite(str(folder / "infrared" / f"{number:03d}.png"), raw)
        cv2.imwrite(str(folder / "visible" / f"{number:03d}.png"), moved.visible)
    return folder


def run(*words: object) -> int:
    return main(["data", "calibrate", *map(str, words)])


def test_from_a_recording_to_a_file_that_is_measured_again(
    recording: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out, picture = tmp_path / "new" / "calibration.yaml", tmp_path / "overlay.png"
    assert run(recording, "-o", out, "--overlay", picture) == 0
    said = capsys.readouterr().out
    assert (
        "note: " not in said
        and "pairs held out: " in said
        and "px in the median of" in said
        and "registration.homography" in said
    )
    calibration = read_calibration(out)
    assert (calibration.infrared.width, calibration.visible.width) == (160, WIDTH)
    half = np.array([[2, 0, 0.5], [0, 2, 0.5], [0, 0, 1]])
    true = TURNED["similarity"] @ half
    matrix = np.array(yaml.safe_load(out.read_text())["homography"]).reshape(3, 3)
    assert farthest(matrix @ np.linalg.inv(half), true @ np.linalg.inv(half)) < 1.5
    assert cv2.imread(str(picture)).shape == (2 * HEIGHT, 2 * WIDTH, 3)
    assert run(recording, "--check", out) == 0
    median = float(capsys.readouterr().out.split("calibration.yaml: ")[1].split(" px")[0])
    assert median < 0.5
    wrong = out.with_name("wrong.yaml")
    tree = yaml.safe_load(out.read_text())
    tree["homography"][2] += 6.0
    wrong.write_text(yaml.safe_dump(tree))
    assert run(recording, "--check", wrong, "--worst-px", 3) == 1
    assert float(capsys.readouterr().out.split("wrong.yaml: ")[1].split(" px")[0]) == pytest.approx(6.0, abs=0.6)


def test_cameras_that_stood_still_are_told_what_the_error_is_worth(
    streets: list[GrayPair], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    rng = np.random.default_rng(1)
    for side, image in (("infrared", streets[0].infrared), ("visible", streets[0].visible)):
        (tmp_path / side).mkdir()
        for number in range(9):
            noisy = np.clip(image + rng.normal(0, 3, image.shape), 0, 255).astype(np.uint8)
            cv2.imwrite(str(tmp_path / side / f"{number}.png"), noisy)
    assert run(tmp_path, "-o", tmp_path / "still.yaml") == 0
    assert "note: the pairs show 1 different pictures" in capsys.readouterr().out


def test_the_command_names_what_is_wrong(recording: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    info = tmp_path / "info.yaml"
    info.write_text("image_width: 640\nimage_height: 480\ncamera_matrix: [500, 0, 320, 0, 500, 240, 0, 0, 1]\n")
    out, whole = tmp_path / "calibration.yaml", tmp_path / "whole.yaml"
    sizes = "infrared: {image_width: 160, image_height: 120}\nvisible: {image_width: 320, image_height: 240}\n"
    whole.write_text(sizes + "homography: [2, 0, 0, 0, 2, 0, 0, 0, 1]\n")
    for words, text in (
        ((recording,), "name either the file to write"),
        ((recording, "-o", out, "--check", out), "name either the file to write"),
        ((recording, "-o", out, "--target", "circles"), "needs --pattern WxH"),
        ((recording, "-o", out, "--pattern", "7x5"), "--pattern needs --target"),
        ((recording, "-o", out, "--most", 3), "3 pairs are too few"),
        ((recording, "-o", out, "--target", "chessboard", "--pattern", "7x5"), "found in both images of 0 pairs"),
        (
            (recording, "-o", out, "--visible-info", info),
            "is of 640x480, but the visible images are 320x240",
        ),
        ((recording, "-o", out, "--infrared-info", tmp_path / "no.yaml"), "no.yaml: no such file"),
        ((recording, "--check", whole, "--target", "circles", "--pattern", "7x5"), "nothing in these pairs can be"),
        ((recording, "--check", tmp_path / "no.yaml"), "no.yaml"),
        ((recording / "infrared", "-o", out), "infrared"),
        ((recording, "-o", out, "--worst-px", 0.001), "px remain, --worst-px is 0.001: nothing is written"),
    ):
        assert run(*words) == 1, words
        error = capsys.readouterr().err
        assert error.startswith("cldyn: ") and text in error and error.count("\n") == 1, error
    assert not out.exists()
    assert command.main([str(recording)]) == 1 and capsys.readouterr().err.startswith("calibrate: name either")


def test_intrinsics_come_into_the_file_and_are_undone(streets: list[GrayPair]) -> None:
    """A distorted infrared camera: the map holds between undistorted pixels."""
    k, distortion = np.array([[260.0, 0, 160], [0, 260, 120], [0, 0, 1]]), np.array([-0.25, 0.06, 0, 0])
    entry = {
        "image_width": WIDTH, "image_height": HEIGHT, "camera_matrix": k.ravel().tolist(),
        "distortion_model": "plumb_bob", "distortion_coefficients": distortion.tolist(),
    }  # fmt: skip
    cameras = Cameras(entry, CAMERAS.visible)
    ideal = cameras.calibration(np.eye(3))
    y, x = np.mgrid[0:HEIGHT, 0:WIDTH].reshape(2, -1).astype(np.float64)
    rays = ideal.infrared.rays(np.column_stack([x, y]))
    pixels = transform(k, rays)[:, :2].reshape(HEIGHT, WIDTH, 2).astype(np.float32)
    bent = [
        GrayPair(p.visible, np.asarray(cv2.remap(p.infrared, pixels, None, cv2.INTER_LINEAR), np.uint8))
        for p in streets
    ]
    with_k = by_edges.find(bent[:6], bent[6:], cameras, ["similarity"])
    without = by_edges.find(bent[:6], bent[6:], CAMERAS, ["similarity"])
    assert farthest(with_k.homography, np.eye(3)) < 1.0
    assert with_k.held_out.largest < 0.6 * without.held_out.largest


def test_more_freedom_only_where_it_helps() -> None:
    def found(model: Model, *lengths: float) -> Found:
        offsets = np.array([[length, 0.0] for length in lengths])
        return Found(model, np.eye(3), Residuals(offsets, offsets, np.ones(len(lengths))))

    stiff, free = found("similarity", 1.0, 1.0), found("homography", 0.95, 0.95)
    assert by_edges.simplest([stiff, free]) is stiff
    assert by_edges.simplest([stiff, better := found("homography", 0.5, 0.5)]) is better


def test_recordings_of_two_cameras_are_not_mixed(recording: Path, tmp_path: Path) -> None:
    for number in range(8):
        for side, size in (("infrared", (24, 32)), ("visible", (48, 64 + 2 * (number > 5)))):
            path = tmp_path / side / f"{number}.png"
            path.parent.mkdir(exist_ok=True)
            cv2.imwrite(str(path), np.full(size, 90, np.uint8))
    with pytest.raises(ValueError, match=r"the images are 66x48.*those before 64x48.*calibrate each camera pair"):
        command.run_calibrate(_args(tmp_path))


def _args(folder: Path):

    parser = argparse.ArgumentParser()
    command._add_options(parser)
    return parser.parse_args([str(folder), "-o", str(folder / "x.yaml")])


def test_intrinsics_without_a_matrix_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "info.yaml"
    path.write_text("image_width: 320\nimage_height: 240\n")
    with pytest.raises(CalibrationError, match="has no camera_matrix"):
        read_cameras((HEIGHT, WIDTH), (HEIGHT, WIDTH), path, None)
    path.write_text(
        "infrared: {image_width: 320, image_height: 240, camera_matrix: [300, 0, 160, 0, 300, 120, 0, 0, 1]}"
    )
    cameras = read_cameras((HEIGHT, WIDTH), (HEIGHT, WIDTH), path, None)
    assert cameras.camera("infrared").matrix is not None and cameras.camera("visible").matrix is None
