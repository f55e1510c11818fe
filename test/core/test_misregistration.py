"""The shift between registered images: found where both show a scene, not invented where they do not."""

from __future__ import annotations

from typing import Any

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cldyn_core.data.synthetic import SceneConfig, render_frame
from cldyn_core.registration.misregistration import SEARCH, Misregistration, Shift
from cldyn_core.registration.registration import register

WIDTH, HEIGHT = 320, 240
ENOUGH = 5
Pair = tuple[np.ndarray, np.ndarray]


@pytest.fixture(scope="module")
def streets() -> dict[str, Pair]:
    frames = {name: render_frame(SceneConfig(name, WIDTH, HEIGHT, seed=1), 0) for name in ("day", "night", "fog")}
    return {name: (frame.visible, np.maximum(frame.infrared, 1)) for name, frame in frames.items()}


def moved(infrared: np.ndarray, dx: float, dy: float) -> np.ndarray:
    size = infrared.shape[::-1]
    return cv2.warpAffine(infrared, np.array([[1, 0, dx], [0, 1, dy]], np.float64), size).astype(np.uint8)


def said(visible: np.ndarray, infrared: np.ndarray, looks: int = ENOUGH, watch: Misregistration | None = None) -> Any:
    watch = watch or Misregistration()
    for _ in range(looks):
        watch.look(visible, infrared)
    return watch.shift


def assert_near(shift: Shift | None, dx: float, dy: float, within: float = 0.5) -> None:
    assert shift is not None
    assert (shift.dx, shift.dy) == pytest.approx((dx, dy), abs=within)
    assert shift.length == pytest.approx(np.hypot(dx, dy), abs=2 * within)
    assert 0.0 < shift.confidence <= 1.0


@given(
    name=st.sampled_from(["day", "night", "fog"]),
    dx=st.floats(-18, 18),
    dy=st.floats(-18, 18),
    inverted=st.booleans(),
)
@settings(deadline=None, max_examples=30)
def test_the_shift_of_a_street_is_found(
    streets: dict[str, Pair], name: str, dx: float, dy: float, inverted: bool
) -> None:
    visible, infrared = streets[name]
    assert_near(said(visible, moved(np.maximum(255 - infrared, 1) if inverted else infrared, dx, dy)), dx, dy)


def test_it_is_in_pixels_of_the_visible_image(streets: dict[str, Pair]) -> None:
    visible, infrared = (cv2.resize(image, (4 * WIDTH, 4 * HEIGHT)) for image in streets["day"])
    assert_near(said(visible, moved(infrared, 30, -21)), 30, -21, within=1.5)


def test_the_edge_of_the_infrared_image_is_no_edge_of_the_scene(streets: dict[str, Pair]) -> None:
    """As a homography leaves it: registered well, with nothing around it."""
    visible, infrared = streets["day"]
    part = infrared[40:200, 60:280]
    there = register(part, (HEIGHT, WIDTH), (1, 0, 60, 0, 1, 40, 0, 0, 1))
    assert_near(said(visible, there), 0, 0)


def test_nothing_is_said_where_there_is_nothing_in_common(streets: dict[str, Pair]) -> None:
    visible, infrared = streets["day"]
    noise = np.random.default_rng(0).integers(1, 7, visible.shape, dtype=np.uint8)
    wall = np.full_like(visible, 90)
    columns = np.tile(np.repeat(np.array([60, 190], np.uint8), 8), WIDTH // 16)
    fence = np.broadcast_to(columns, (HEIGHT, WIDTH))
    assert said(visible, infrared) is not None
    for nothing in (np.zeros_like(visible), noise, wall):
        assert said(nothing, infrared) is None
        assert said(visible, nothing[..., 0]) is None
    assert said(visible, np.ascontiguousarray(infrared[::-1])) is None
    assert said(np.repeat(fence[..., None], 3, axis=2), fence.copy()) is None, "a fence fits in many places"


def test_a_shift_beyond_the_search_is_not_known(streets: dict[str, Pair]) -> None:
    visible, infrared = streets["day"]
    assert said(visible, moved(infrared, 2 * SEARCH * WIDTH, 0)) is None


def test_one_pair_is_not_enough_and_a_camera_that_moves_is_seen(streets: dict[str, Pair]) -> None:
    visible, infrared = streets["night"]
    watch = Misregistration()
    assert said(visible, infrared, ENOUGH - 1, watch) is None
    assert_near(said(visible, infrared, 30, watch), 0, 0)
    assert_near(said(visible, moved(infrared, 12, 3), 12, watch), 12, 3)
    assert said(visible[:200], infrared[:200], 1, watch) is None, "another size starts anew"


@pytest.mark.parametrize("size", [(3, 3), (30, 320), (240, 12)])
def test_images_too_small_to_tell(streets: dict[str, Pair], size: tuple[int, int]) -> None:
    visible, infrared = streets["day"]
    assert said(visible[: size[0], : size[1]], infrared[: size[0], : size[1]]) is None
