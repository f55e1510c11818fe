"""Fusions without a network."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from cldyn_core.classical import CLASSICAL, fuse_pyramids, laplacian_pyramid
from cldyn_core.color import rgb_to_ycbcr
from cldyn_core.types import as_batch

Gray = NDArray[np.uint8]
SIZES = st.tuples(st.integers(1, 70), st.integers(1, 70))


def random_gray(seed: int, size: tuple[int, int]) -> Gray:
    return np.random.default_rng(seed).integers(0, 256, size, dtype=np.uint8)


def as_rgb(gray: Gray) -> NDArray[np.uint8]:
    return np.repeat(gray[..., None], 3, axis=2)


def fused_gray(name: str, visible: Gray, infrared: Gray) -> NDArray[np.int64]:
    fused = CLASSICAL[name](as_rgb(visible), infrared).astype(int)
    assert np.ptp(fused, axis=2).max() <= 1  # gray stays gray
    return fused[..., 1]


@pytest.mark.parametrize("name", CLASSICAL)
@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 10_000), size=SIZES)
def test_identical_inputs_are_returned(name: str, seed: int, size: tuple[int, int]) -> None:
    gray = random_gray(seed, size)
    assert np.abs(fused_gray(name, gray, gray) - gray.astype(int)).max() <= 1


@pytest.mark.parametrize("consistent", [False, True])
@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 10_000), size=SIZES, levels=st.integers(0, 8))
def test_equal_pyramids_reconstruct(consistent: bool, seed: int, size: tuple[int, int], levels: int) -> None:
    luma = np.random.default_rng(seed).random(size, dtype=np.float32)
    np.testing.assert_allclose(fuse_pyramids(luma, luma, levels, consistent), luma, atol=2e-6)


def test_average_and_maximum() -> None:
    visible, infrared = np.array([[10, 200]], np.uint8), np.array([[30, 100]], np.uint8)
    np.testing.assert_allclose(fused_gray("average", visible, infrared), [[20, 150]], atol=1)
    np.testing.assert_allclose(fused_gray("maximum", visible, infrared), [[30, 200]], atol=1)


def test_single_images() -> None:
    visible = np.random.default_rng(1).integers(0, 256, (7, 9, 3), dtype=np.uint8)
    infrared = random_gray(2, (7, 9))
    np.testing.assert_array_equal(CLASSICAL["visible"](visible, infrared), visible)
    np.testing.assert_array_equal(CLASSICAL["infrared"](visible, infrared), as_rgb(infrared))


@pytest.mark.parametrize("name", ["average", "maximum", "laplacian"])
def test_color_is_the_visible_ones(name: str) -> None:
    rng = np.random.default_rng(3)
    visible = rng.integers(100, 150, (33, 47, 3), dtype=np.uint8)  # far from black and white: nothing is clipped
    infrared = rng.integers(100, 150, (33, 47), dtype=np.uint8)
    before, after = (rgb_to_ycbcr(as_batch(image))[0] for image in (visible, CLASSICAL[name](visible, infrared)))
    assert float((before[1:] - after[1:]).abs().max()) < 1.5 / 255
    assert float((before[0] - after[0]).abs().max()) > 5 / 255


def test_laplacian_keeps_the_details_of_both() -> None:
    """Stripes on the left are seen in visible light alone, those on the right in infrared alone."""
    stripes = np.tile(np.array([60, 60, 180, 180], np.uint8), (96, 24))
    visible, infrared = np.full((96, 96), 120, np.uint8), np.full((96, 96), 120, np.uint8)
    visible[:, :40], infrared[:, 56:] = stripes[:, :40], stripes[:, 56:]
    fused = {name: fused_gray(name, visible, infrared) for name in ("average", "laplacian")}
    for part in (slice(4, 32), slice(64, 92)):
        contrast = {name: np.ptp(image[20:70, part], axis=1).mean() for name, image in fused.items()}
        assert contrast["laplacian"] > 0.95 * 120
        assert contrast["average"] == pytest.approx(60, abs=2)


def test_consistency_overrules_lone_choices() -> None:
    """A single pixel of noise in the second image is dropped, as all its neighbors take the first one's detail."""
    first = np.tile(np.array([0.2, 0.8], np.float32), (32, 16))
    second = np.full((32, 32), 0.5, np.float32)
    second[16, 16] = 1.0
    loose, strict = (fuse_pyramids(first, second, 1, consistent) for consistent in (False, True))
    assert loose[16, 16] > strict[16, 16] + 0.2
    assert (np.abs(loose - strict) > 0.05).sum() <= 9


def test_pyramid_has_levels_until_the_image_is_used_up() -> None:
    shapes = [level.shape for level in laplacian_pyramid(np.zeros((50, 21), np.float32), 5)]
    assert shapes == [(50, 21), (25, 11), (13, 6), (7, 3), (4, 2)]


@pytest.mark.parametrize("name", CLASSICAL)
def test_unequal_sizes_are_refused(name: str) -> None:
    with pytest.raises(ValueError, match=r"visible uint8 \(4, 4, 3\) with infrared uint8 \(4, 5\)"):
        CLASSICAL[name](np.zeros((4, 4, 3), np.uint8), np.zeros((4, 5), np.uint8))
