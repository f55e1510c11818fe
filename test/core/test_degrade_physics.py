"""What physics says of each degradation."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from cldyn_core.data.degrade import Fog, Glare, LowLight, Rain, ThermalNoise
from cldyn_core.data.degrade.air import street_depth
from cldyn_core.data.degrade.base import to_linear, to_srgb
from cldyn_core.data.degrade.rain import Streaks, drawn
from cldyn_core.types import LabelledPair


def flat(visible: int, infrared: Any, size: tuple[int, int] = (200, 250), name: str = "set/1") -> LabelledPair:
    return LabelledPair(np.full((*size, 3), visible, np.uint8), np.full(size, infrared), None, name)


def test_light_and_tones_are_inverse() -> None:
    tones = np.arange(256, dtype=np.uint8)
    np.testing.assert_array_equal(to_srgb(to_linear(tones)), tones)
    assert to_linear(np.array([188], np.uint8))[0] == pytest.approx(0.5, abs=0.005)  # sRGB's half


@pytest.mark.parametrize("stops", [0.0, 3.0, 7.0])
def test_low_light_has_poisson_electrons(stops: float) -> None:
    model = LowLight(stops=stops, full_well=8000, read_noise=5)
    read = model.electrons(np.full((300, 300), 0.5, np.float32), np.random.default_rng(1))
    expected = 0.5 * 8000 * 2**-stops
    assert read.mean() == pytest.approx(expected, rel=0.01)
    assert read.var() == pytest.approx(expected + 25, rel=0.02)


def test_low_light_is_as_dark_as_stops_and_gain_say() -> None:
    out = LowLight(stops=5, gain=2, full_well=100_000)(flat(188, np.uint8(9)))
    assert to_linear(out.visible).mean() == pytest.approx(0.5 * 2**-3, rel=0.02)
    np.testing.assert_array_equal(out.infrared, 9)


def wall(visibility: float, depth: float) -> tuple[float, float]:
    """Contrast left of a checkered wall, visible and infrared."""
    board = (np.indices((64, 64)).sum(0) // 8 % 2).astype(np.uint8)
    pair = LabelledPair(np.repeat(board[..., None] * 200 + 40, 3, axis=2), board * 200 + 20)
    fog = Fog(visibility=visibility, patchiness=0, thermal_share=0.3, depth=np.full((64, 64), depth, np.float32))
    out = fog(pair)
    visible = np.ptp(to_linear(out.visible)) / np.ptp(to_linear(pair.visible))
    return float(visible), float(np.ptp(out.infrared)) / float(np.ptp(pair.infrared))


@settings(max_examples=30, deadline=None)
@given(visibility=st.floats(30, 2000), part=st.floats(0, 1.2))
def test_fog_takes_contrast_by_koschmieders_law(visibility: float, part: float) -> None:
    visible, infrared = wall(visibility, part * visibility)
    assert visible == pytest.approx(0.05**part, abs=0.01)
    assert infrared == pytest.approx(0.05 ** (0.3 * part), abs=0.01)


def test_fog_ends_in_the_light_of_the_sky() -> None:
    pair = flat(90, np.uint8(77), (48, 64))
    pair.visible[:24] = (150, 160, 170)
    pair.infrared[:20] = 200
    out = Fog(visibility=5, patchiness=0, thermal_share=1, depth=np.full((48, 64), 1000, np.float32))(pair)
    assert np.ptp(out.visible.reshape(-1, 3), axis=0).max() == 0
    assert np.abs(out.visible[0, 0].astype(int) - (155, 160, 165)).max() <= 2
    np.testing.assert_array_equal(out.infrared, 77)


def test_fog_is_patchy_about_its_mean() -> None:
    pair, depth = flat(0, np.uint8(0)), np.full((200, 250), 30, np.float32)
    pair.visible[:100] = 255
    seen = [
        1 - to_linear(Fog(patchiness=patchiness, depth=depth)(pair, seed).visible[100:, :, 1])
        for patchiness, seed in ((0.0, 1), (0.3, 1), (0.3, 2))
    ]
    assert np.ptp(seen[0]) == 0
    thickness = -np.log(np.concatenate(seen[1:]))
    assert 0.15 < thickness.std() / thickness.mean() < 0.4
    assert np.log(seen[0]).mean() == pytest.approx(-thickness.mean(), rel=0.2)


def test_the_street_is_near_below_and_aside_and_nowhere_endless() -> None:
    depth = street_depth(480, 640, 45.0)
    assert 2 < depth[-1, 320] < 5  # a flat road seen from 1.5 m, at the lower edge
    assert (np.diff(depth[200:, 320]) <= 0).all()
    assert (np.diff(depth[100, 320:]) < 0).all()
    np.testing.assert_allclose(depth, depth[:, ::-1])
    assert depth.max() == pytest.approx(100, rel=0.05)


def test_more_rain_has_more_drops_and_less_sight() -> None:
    rates = (1.0, 5.0, 20.0, 60.0, 150.0)
    counts = [len(Rain(rate=rate).streaks(240, 320, np.random.default_rng(0)).width) for rate in rates]
    assert (np.diff(counts) > 0).all()
    for rate in rates:  # Atlas (1953) measured a visibility (2 % contrast) of 11.6 km * rate ** -0.63
        assert -math.log(0.02) / Rain(rate=rate).extinction == pytest.approx(11_600 * rate**-0.63, rel=0.35)
    pair = flat(40, np.uint8(40))
    pair.visible[:100], pair.infrared[:60] = 220, 220
    outs = [Rain(rate=rate)(pair) for rate in rates]
    assert (np.diff([out.visible[100:].mean() for out in outs]) > 0).all()
    change = [(np.abs(out.visible[..., 1] - 40.0)[100:].mean(), (220.0 - out.infrared[:60]).mean()) for out in outs]
    assert all(visible > infrared for visible, infrared in change[2:])


def test_streaks_are_as_long_as_shutter_and_speed_say() -> None:
    short, long = (Rain(shutter=ms, wind=0).streaks(240, 320, np.random.default_rng(2)) for ms in (2.0, 8.0))
    np.testing.assert_allclose(long.way, 4 * short.way)
    assert (long.opacity < short.opacity).all()
    ratio = short.way[:, 1] / short.width  # whatever the distance
    assert ratio.max() == pytest.approx(3.27 * 0.002 / 0.0008, rel=0.02)  # Gunn and Kinzer: 0.8 mm falls at 3.27 m/s
    leaning = Rain(wind=3).streaks(240, 320, np.random.default_rng(2)).way
    assert (leaning > 0).all()


@settings(max_examples=40, deadline=None)
@given(x=st.floats(30, 70), y=st.floats(30, 70), dx=st.floats(-20, 20), dy=st.floats(0, 30), width=st.floats(0.05, 6))
def test_a_streak_is_drawn_where_it_is_and_nothing_is_lost(
    x: float, y: float, dx: float, dy: float, width: float
) -> None:
    streak = Streaks(np.array([[x, y]]), np.array([[dx, dy]]), np.array([width]), np.array([0.3]))
    image = drawn(streak, 101, 104).astype(float)
    assert image.sum() == pytest.approx(0.3 * width * (math.hypot(dx, dy) + width), rel=0.03)
    v, u = np.indices(image.shape)
    assert (u * image).sum() / image.sum() == pytest.approx(x, abs=0.2)
    assert (v * image).sum() / image.sum() == pytest.approx(y, abs=0.2)


NOISY = [(np.uint8(120), 255 / 20_000), (np.uint16(30_000), 1 / 10), (np.float32(293.0), 1 / 1000)]


@pytest.mark.parametrize(("level", "per_millikelvin"), NOISY)
def test_thermal_noise_is_as_strong_as_netd_says(level: Any, per_millikelvin: float) -> None:
    noise = ThermalNoise(netd=400, rows=0, columns=0, span=20, resolution=10)(flat(7, level))
    rounding = 0 if noise.infrared.dtype.kind == "f" else 1 / 12
    expected = math.sqrt((400 * per_millikelvin) ** 2 + rounding)
    assert noise.infrared.std(dtype=np.float64) == pytest.approx(expected, rel=0.02)
    assert noise.infrared.mean(dtype=np.float64) == pytest.approx(float(level), abs=4 * expected / 200)
    np.testing.assert_array_equal(noise.visible, 7)


def test_the_pattern_stays_with_the_camera() -> None:
    def pattern(name: str, seed: int) -> NDArray[np.float64]:
        out = ThermalNoise(netd=0, rows=300, columns=200)(flat(7, np.float32(300), name=name), seed)
        return out.infrared.astype(np.float64)

    first = pattern("set/1", 1)
    np.testing.assert_array_equal(first, pattern("set/2", 1))
    assert (first != pattern("set/1", 2)).any()
    assert first.mean(axis=1).std() == pytest.approx(0.3, rel=0.2)
    assert first.mean(axis=0).std() == pytest.approx(0.2, rel=0.2)
    assert np.abs(first - first.mean(axis=1, keepdims=True) - first.mean(axis=0) + first.mean()).max() < 1e-3


def test_thermal_noise_stops_at_black_and_white() -> None:
    for level in (np.uint8(0), np.uint8(255)):
        out = ThermalNoise(netd=2000)(flat(7, level)).infrared
        assert np.abs(out.astype(int) - int(level)).max() < 200  # no wrap to the other end


def test_glare_falls_with_the_square_of_the_distance() -> None:
    out = Glare(x=0.5, y=0.5, radius=0.02, strength=20)(flat(0, np.uint8(3), (401, 401)))
    light = to_linear(out.visible)[..., 0]
    assert light[200, 200] == 1
    for near in (50, 80, 95):
        assert light[200, 200 + near] / light[200, 200 + 2 * near] == pytest.approx(4, rel=0.05)
    assert light[200, 300] == pytest.approx(20 * (0.02 * 401 / 100) ** 2, rel=0.02)
    np.testing.assert_array_equal(out.infrared, 3)
