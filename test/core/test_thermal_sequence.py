"""The thermal range over sequences of frames: what may not show, what must, and what holds for any frame.

The camera has 50 mK of noise and 0.01 K a count. Changes are in gray levels of 255.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from cldyn_core.engine.thermal import ThermalRange

COUNTS_PER_KELVIN, NOISE_K = 100.0, 0.05
STILL = 0.25  # gray levels from one frame to the next that a still scene may change
FOLLOWED = 60  # frames until a range four times as wide or as narrow is followed
SHUTTER = slice(60, 75)

Image = NDArray[Any]


def street(low_c: float = 10.0, high_c: float = 25.0) -> Image:
    """Temperatures in kelvin, (120, 160): a ramp."""
    return 273.15 + np.broadcast_to(np.linspace(low_c, high_c, 160), (120, 160))


def seen(kelvin: Image, seed: int) -> NDArray[np.uint16]:
    noisy = kelvin + np.random.default_rng(seed).normal(0, NOISE_K, kelvin.shape)
    return np.rint(noisy * COUNTS_PER_KELVIN).astype(np.uint16)


def still_street(frames: int = 120) -> Iterator[NDArray[np.uint16]]:
    """With a hot pixel that blinks and wanders in the upper half, and a shutter that closes once."""
    for k in range(frames):
        image = seen(np.full((120, 160), 291.0) if SHUTTER.start <= k < SHUTTER.stop else street(), k)
        image[k % 60, (7 * k) % 160] = 65_000 if k % 2 else 30_000
        yield image


def changes(shown: Iterable[Image]) -> NDArray[np.float64]:
    """Largest change of a mean of 60x20 pixels of the lower half from frame to frame, in gray levels; the shutter is
    left out.
    """
    blocks = np.array([255 * image[60:].reshape(60, 8, 20).mean(axis=(0, 2), dtype=float) for image in shown])
    return np.abs(np.diff(np.delete(blocks, SHUTTER, axis=0), axis=0)).max(axis=1)


def test_neither_noise_nor_a_hot_pixel_nor_a_shutter_makes_a_still_scene_flicker() -> None:
    thermal = ThermalRange()
    assert changes(map(thermal.normalize, still_street())).max() < STILL
    stretched = ((image - image.min()) / np.ptp(image) for image in still_street())
    assert changes(stretched).max() > 100, "minimum and maximum of each frame do flicker here"


@pytest.mark.parametrize("other_c", [(-12.5, 47.5), (15.0, 18.75)], ids=["wider", "narrower"])
def test_a_change_that_overlaps_is_followed_smoothly_within_60_frames(other_c: tuple[float, float]) -> None:
    thermal = ThermalRange()
    shown = [thermal.normalize(seen(street(), k)) for k in range(3)]
    shown += [thermal.normalize(seen(street(*other_c), k)) for k in range(FOLLOWED)]
    wanted = ThermalRange().normalize(seen(street(*other_c), 0))
    assert np.abs(shown[-1].mean() - wanted.mean()) < 0.1
    assert shown[-1].std() == pytest.approx(wanted.std(), rel=0.1)
    assert np.abs(shown[3].std() - wanted.std()) > 0.1 * wanted.std(), "it was another range before"
    assert changes(shown[3:]).max() < 0.04 * 255


@pytest.mark.parametrize("first", [street(40.0, 60.0), np.full((120, 160), 291.0)], ids=["elsewhere", "a wall"])
def test_another_scene_is_followed_at_once(first: Image) -> None:
    thermal = ThermalRange()
    for k in range(40):
        thermal.normalize(seen(first, k))
    np.testing.assert_allclose(thermal.normalize(seen(street(), 0)), ThermalRange().normalize(seen(street(), 0)))


@pytest.mark.parametrize("celsius", [20.0, 45.0], ids=["within the range", "beyond it"])
def test_a_wall_is_followed_when_it_has_lasted_longer_than_a_shutter(celsius: float) -> None:
    thermal = ThermalRange()
    thermal.normalize(seen(street(), 0))
    wall = np.full((120, 160), 273.15 + celsius)
    for k in range(130):
        shown = thermal.normalize(seen(wall, k))
    assert shown.mean() == pytest.approx(0.5, abs=0.05)


@pytest.mark.parametrize("kind", ["counts", "kelvin", "celsius", "set"])
def test_noise_of_a_wall_stays_small_and_a_hand_on_it_shows(kind: str) -> None:
    wall = seen(np.full((120, 160), 293.15), 0)
    wall[40:60, 40:60] += 600
    images = {"kelvin": wall.astype(np.float32) / 100, "celsius": wall.astype(np.float32) / 100 - 273.15}
    blank, hand = images.get(kind, wall).copy(), images.get(kind, wall)
    blank[40:60, 40:60] = blank[80:100, 40:60]
    spans = {"counts": 1.0, "kelvin": 2.0, "celsius": 2.0, "set": 3.0}
    thermal = ThermalRange(min_span=300.0 if kind == "set" else 0.0)
    assert thermal.normalize(blank).std() == pytest.approx(NOISE_K / spans[kind], rel=0.1)
    shown = thermal.normalize(hand)
    assert shown[45:55, 45:55].mean() - shown[80:100].mean() > 0.8


@pytest.mark.parametrize(
    ("dtype", "mark"),
    [(np.uint16, 0), (np.uint16, 65_535), (np.float32, np.nan), (np.float32, np.inf), (np.float32, -np.inf),
     (np.float32, np.finfo(np.float32).max), (np.float32, np.finfo(np.float32).min)],
)  # fmt: skip
def test_pixels_without_a_value_have_no_say(dtype: type[np.generic], mark: float) -> None:
    image = seen(street(), 0).astype(dtype)
    holes = image.copy()
    holes[:60] = mark
    shown, whole = ThermalRange().normalize(holes), ThermalRange().normalize(image)
    assert np.abs(shown[60:] - whole[60:]).max() < 0.01
    assert (shown[:60] == (mark == 65_535)).all()
    alone = np.full((4, 5), mark, dtype)
    if dtype is np.uint16:
        assert (ThermalRange().normalize(alone) == (mark == 65_535)).all()


FRAMES = st.one_of(
    st.lists(st.lists(st.integers(0, 65_535), min_size=9, max_size=9), min_size=1, max_size=4),
    st.lists(st.lists(st.floats(width=32), min_size=9, max_size=9), min_size=1, max_size=4),
)


@settings(max_examples=300, deadline=None)
@given(frames=FRAMES, fixed=st.none() | st.just((20.0, 300.0)), min_span=st.sampled_from([0.0, 0.5, 1000.0]))
def test_hotter_is_never_darker_and_all_is_in_range(
    frames: list[list[float]], fixed: tuple[float, float] | None, min_span: float
) -> None:
    whole = all(isinstance(value, int) for frame in frames for value in frame)
    thermal = ThermalRange(fixed, min_span)
    for frame in frames:
        image = np.array(frame, np.uint16 if whole else np.float32).reshape(3, 3)
        if not (np.abs(image.astype(np.float32)) < 1e9).any():
            with pytest.raises(ValueError, match="no finite value"):
                thermal.normalize(image)
            continue
        shown = thermal.normalize(image)
        assert shown.dtype == np.float32 and shown.min() >= 0.0 and shown.max() <= 1.0
        usable = np.abs(image.astype(np.float32)) < 1e9
        assert (np.diff(shown[usable][np.argsort(image[usable], kind="stable")]) >= 0.0).all()
        assert (shown[~usable] == 0.0).all()
        if fixed:
            assert (shown[usable & (image >= 300)] == 1.0).all() and (shown[usable & (image <= 20)] == 0.0).all()


def test_a_float_image_in_0_to_1_is_no_temperature() -> None:
    image = np.linspace(0.2, 0.8, 64 * 64, dtype=np.float32).reshape(64, 64)
    shown = ThermalRange().normalize(image)
    assert shown.min() == 0.0 and shown.max() == 1.0
    assert np.ptp(ThermalRange().normalize(image + 290)) < 0.5  # 0.6 K of temperatures are nearly one gray
