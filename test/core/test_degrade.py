"""Degradations are functions of pair, parameters and seed; dimming and misalignment are exact; names and errors."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from truth import boxes

from cldyn_core.data.degrade import (
    DEGRADATIONS,
    KINDS,
    DegradationError,
    Dim,
    Fog,
    Misalign,
    Rain,
    ThermalNoise,
    degradation,
)
from cldyn_core.types import FramePair, LabelledPair

CHANCY = ("low-light", "rain", "fog", "thermal-noise")
TOP = {np.dtype(np.uint8): 256, np.dtype(np.uint16): 65536, np.dtype(np.float32): 300}


def textured(size: tuple[int, int] = (48, 64), name: str = "set/1", dtype: Any = np.uint8) -> LabelledPair:
    rng = np.random.default_rng(5)
    visible = rng.integers(0, 256, (*size, 3), dtype=np.uint8)
    infrared = rng.integers(0, TOP[np.dtype(dtype)], size).astype(dtype)
    return LabelledPair(visible, infrared, boxes((1, 2, 9, 8, 1)), name)


def same(a: LabelledPair, b: LabelledPair) -> bool:
    return np.array_equal(a.visible, b.visible) and np.array_equal(a.infrared, b.infrared)


@pytest.mark.parametrize("kind", CHANCY)
def test_random_ones_follow_the_seed_and_the_name_alone(kind: str) -> None:
    degrade = KINDS[kind]
    a, b = textured(name="set/a"), textured(name="set/b")
    first = degrade(a, 3), degrade(b, 3)
    assert same(degrade(b, 3), first[1])
    assert same(degrade(a, 3), first[0])
    assert not same(*first)
    assert not same(degrade(a, 4), first[0])


@pytest.mark.parametrize("kind", sorted(set(KINDS) - set(CHANCY)))
def test_the_others_do_not_depend_on_the_seed(kind: str) -> None:
    assert same(KINDS[kind](textured(), 1), KINDS[kind](textured(name="set/2"), 2))
    assert not same(KINDS[kind](textured(), 1), textured())


def test_frames_differ_by_their_stamp() -> None:
    pair = textured()
    frames = [ThermalNoise()(FramePair(pair.visible, pair.infrared, stamp)) for stamp in (1, 1, 2)]
    np.testing.assert_array_equal(frames[0].infrared, frames[1].infrared)
    assert (frames[0].infrared != frames[2].infrared).any()


@settings(max_examples=60, deadline=None)
@given(
    name=st.sampled_from(sorted({**KINDS, **DEGRADATIONS})),
    size=st.tuples(st.integers(2, 40), st.integers(2, 40)),
    small=st.integers(1, 20),
    dtype=st.sampled_from(list(TOP)),
    seed=st.integers(0, 2**40),
)
def test_sizes_types_and_inputs_are_kept(
    name: str, size: tuple[int, int], small: int, dtype: np.dtype[Any], seed: int
) -> None:
    pair = textured(size, dtype=dtype)
    visible, infrared = pair.visible.copy(), pair.infrared.copy()
    out = degradation(name)(pair, seed)
    assert (out.visible.shape, out.visible.dtype) == (visible.shape, np.uint8)
    assert (out.infrared.shape, out.infrared.dtype) == (infrared.shape, dtype)
    assert out.target is pair.target
    assert out.name == pair.name
    np.testing.assert_array_equal(pair.visible, visible)
    np.testing.assert_array_equal(pair.infrared, infrared)
    frame = degradation(name)(FramePair(visible, infrared[:small, :small], 7), seed)
    assert frame.infrared.shape == infrared[:small, :small].shape
    assert frame.stamp_ns == 7


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_dim_scales_exactly(dtype: Any) -> None:
    pair = textured(dtype=dtype)
    for alpha in (0.4, 0.5, 0.6, 0.7, 0.8):
        out = DEGRADATIONS[f"alpha{alpha}"](pair)
        np.testing.assert_array_equal(out.visible, np.rint(pair.visible * alpha))
        np.testing.assert_array_equal(out.infrared, np.rint(pair.infrared * alpha))
    only = Dim(0.4, "visible")(pair)
    np.testing.assert_array_equal(only.infrared, pair.infrared)
    assert (only.visible < pair.visible).any()
    only = Dim(0.4, "infrared")(pair)
    np.testing.assert_array_equal(only.visible, pair.visible)
    assert (only.infrared < pair.infrared).any()


@pytest.mark.parametrize("dtype", list(TOP))
def test_misalign_shifts_exactly(dtype: np.dtype[Any]) -> None:
    pair = textured(dtype=dtype)
    out = Misalign(dx=4, dy=3)(pair)
    np.testing.assert_array_equal(out.infrared[3:, 4:], pair.infrared[:-3, :-4])
    np.testing.assert_array_equal(out.infrared[0, 4:], pair.infrared[0, :-4])  # the edge is repeated
    np.testing.assert_array_equal(out.visible, pair.visible)
    out = Misalign(dx=-2, dy=0)(pair)
    np.testing.assert_array_equal(out.infrared[:, :-2], pair.infrared[:, 2:])


def test_misalign_turns_and_enlarges_about_the_middle() -> None:
    pair = textured((33, 33))
    turned = Misalign(dx=0, dy=0, angle=90)(pair).infrared
    np.testing.assert_array_equal(turned, np.rot90(pair.infrared))
    larger = Misalign(dx=0, dy=0, scale=2)(pair).infrared
    np.testing.assert_array_equal(larger[::2, ::2], pair.infrared[8:25, 8:25])


def test_presets_and_changes_by_name() -> None:
    assert degradation("rain:rate=80") == Rain(rate=80) == DEGRADATIONS["rain-heavy"]
    assert degradation("fog-100m:patchiness=0,thermal_share=0.5") == Fog(0.5, visibility=100, patchiness=0)
    assert degradation("alpha0.4:bands=visible") == Dim(0.4, "visible")
    assert math.hypot(*(getattr(DEGRADATIONS["misaligned-5px"], d) for d in ("dx", "dy"))) == 5
    assert list(KINDS) == [
        "dim", "low-light", "rain", "fog", "thermal-noise", "glare", "misalign",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("rian", "unknown degradation 'rian'. Remedy: choose one of dim, low-light, rain"),
        ("rain:speed=3", "rain: no parameter 'speed'. Remedy: choose of thermal_share, view, rate, shutter, wind"),
        ("fog:depth=3", "fog: no parameter 'depth'"),
        ("rain:rate", "rain: rate has no value. Remedy: write rate=VALUE"),
        ("rain:rate=much", "rain: rate=much is not a number. Remedy: give one"),
        ("rain:rate=900", "rain: rate is 900. Remedy: choose one in 0.1..300 mm/h"),
        ("fog:visibility=nan", "fog: visibility is nan. Remedy: choose one in 5..100000 metres"),
        ("low-light:stops=-1", "low-light: stops is -1. Remedy: choose one in 0..16 stops"),
        ("alpha0.4:alpha=1.5", "dim: alpha is 1.5. Remedy: choose one in 0..1"),
        ("dim:bands=red", "dim: bands is 'red'. Remedy: choose one of both, visible, infrared"),
    ],
)
def test_errors_name_what_is_wrong(text: str, message: str) -> None:
    with pytest.raises(DegradationError) as error:
        degradation(text)
    assert str(error.value).startswith(message)


@pytest.mark.parametrize("depth", [np.ones((5, 5), np.float32), np.full((48, 64), -1.0), np.full((48, 64), np.nan)])
def test_depth_must_suit_the_image(depth: NDArray[Any]) -> None:
    with pytest.raises(DegradationError, match=r"^fog: depth .* does not suit the visible image \(48, 64\)"):
        Fog(depth=depth)(textured())
