"""Flicker of constructed sequences whose flicker is known."""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from cldyn_core.metrics.temporal import brightness_step, flicker_brightness, flicker_structure, structure_step

Frames = list[NDArray[np.uint8]]
FLICKERS = (flicker_brightness, flicker_structure)


def scene(seed: int, size: tuple[int, int] = (64, 80)) -> NDArray[np.uint8]:
    """Smooth texture within 64..192, so that changes of up to 60 clip nothing."""
    noise = cv2.GaussianBlur(np.random.default_rng(seed).random(size, np.float32), (0, 0), 3)
    return np.asarray(cv2.normalize(noise, None, 64, 192, cv2.NORM_MINMAX), np.uint8)


def still(image: NDArray[np.uint8], count: int = 5) -> Frames:
    return [image] * count


def pulsing(image: NDArray[np.uint8], amplitude: int, count: int = 5) -> Frames:
    return [image + np.uint8(amplitude * (i % 2)) for i in range(count)]


def moving(image: NDArray[np.uint8], pixels: int, count: int = 5) -> Frames:
    """A window of 80 x 64 that moves over a larger scene."""
    return [image[16:80, 16 + pixels * i : 96 + pixels * i] for i in range(count)]


def mean_of(infrared: Frames, visible: Frames) -> Frames:
    return [((i.astype(np.int16) + v) // 2).astype(np.uint8) for i, v in zip(infrared, visible, strict=True)]


def maximum_of(infrared: Frames, visible: Frames) -> Frames:
    return [np.maximum(i, v) for i, v in zip(infrared, visible, strict=True)]


IR, VI = scene(1), scene(2)


@pytest.mark.parametrize("flicker", FLICKERS)
class TestBoth:
    def test_what_stays_does_not_flicker(self, flicker: Callable[..., float]) -> None:
        assert flicker(still(IR), still(VI), still(scene(3))) == 0.0

    @given(amplitude=st.integers(0, 60))
    @settings(max_examples=10, deadline=None)
    def test_a_pulse_of_the_fused_image_alone_counts_in_full(
        self, flicker: Callable[..., float], amplitude: int
    ) -> None:
        assert flicker(still(IR), still(VI), pulsing(scene(3), amplitude)) == pytest.approx(amplitude, abs=1e-9)

    @pytest.mark.parametrize("fuse", [mean_of, maximum_of])
    def test_a_pulse_of_the_sources_is_not_the_fusions_fault(
        self, flicker: Callable[..., float], fuse: Callable[[Frames, Frames], Frames]
    ) -> None:
        infrared, visible = pulsing(IR, 30), pulsing(VI, 30)
        assert flicker(infrared, visible, fuse(infrared, visible)) < 0.1
        assert flicker(still(IR), still(VI), fuse(infrared, visible)) == pytest.approx(30), "the same frames do flicker"

    def test_steadier_than_the_sources_is_no_flicker(self, flicker: Callable[..., float]) -> None:
        assert flicker(pulsing(IR, 30), pulsing(VI, 30), still(VI)) < 0.1

    def test_a_pulse_against_the_sources_counts_in_full(self, flicker: Callable[..., float]) -> None:
        against = pulsing(VI, 20, 6)[1:]
        assert flicker(pulsing(IR, 30), pulsing(VI, 30), against) == pytest.approx(20, abs=0.5)

    @given(small=st.integers(0, 30), more=st.integers(0, 30), seed=st.integers(0, 99))
    @settings(max_examples=10, deadline=None)
    def test_a_stronger_flicker_is_never_less(
        self, flicker: Callable[..., float], small: int, more: int, seed: int
    ) -> None:
        where = np.random.default_rng(seed).random(IR.shape) < 0.5
        sources = pulsing(IR, 10), moving(scene(seed, (96, 128)), 1)
        weak, strong = ([VI + np.uint8(a * (i % 2)) * where for i in range(5)] for a in (small, small + more))
        assert flicker(*sources, strong) >= flicker(*sources, weak) - 1e-6

    def test_iterators_do(self, flicker: Callable[..., float]) -> None:
        sequences = still(IR), still(VI), pulsing(IR, 7)
        assert flicker(*map(iter, sequences)) == flicker(*sequences) > 0

    def test_too_few_frames(self, flicker: Callable[..., float]) -> None:
        with pytest.warns(UserWarning, match="neighbouring frames"):
            assert np.isnan(flicker([IR], [VI], [IR]))
        with pytest.warns(UserWarning, match="neighbouring frames"):
            assert np.isnan(flicker([], [], []))

    def test_other_sizes_lengths_and_types_are_refused(self, flicker: Callable[..., float]) -> None:
        with pytest.raises(ValueError, match="Remedy: give registered"):
            flicker(still(IR[:, :40]), still(VI), still(VI))
        with pytest.raises(ValueError, match="Remedy: give registered"):
            flicker(*[[IR, IR, IR[:40]]] * 3)
        with pytest.raises(ValueError, match="Remedy: give registered"):
            flicker(*[still(IR.astype(np.float32))] * 3)
        with pytest.raises(ValueError, match="ends before frame 4"):
            flicker(still(IR), still(VI, 4), still(VI))


class TestBrightness:
    def test_a_fade_is_no_flicker(self) -> None:
        assert flicker_brightness(still(IR), still(VI), [VI + np.uint8(3 * i) for i in range(5)]) < 1e-9

    def test_one_flash(self) -> None:
        """Three of the three steps see it: as the frame after, between and before."""
        flash = [VI, VI, VI + np.uint8(12), VI, VI]
        assert flicker_brightness(still(IR), still(VI), flash) == pytest.approx((6 + 12 + 6) / 3)

    def test_a_cut_of_the_sources(self) -> None:
        infrared, visible = still(IR, 3) + still(IR // 2, 3), still(VI, 3) + still(VI // 2, 3)
        assert flicker_brightness(infrared, visible, mean_of(infrared, visible)) < 0.5

    def test_another_number_of_frames_is_refused(self) -> None:
        with pytest.raises(ValueError, match="Remedy: give 3"):
            brightness_step(still(IR, 2), still(VI, 2), still(VI, 2))


class TestStructure:
    @pytest.mark.parametrize("pixels", [1, 3])
    @pytest.mark.parametrize("fuse", [mean_of, maximum_of])
    def test_a_fused_image_that_moves_with_its_sources(
        self, pixels: int, fuse: Callable[[Frames, Frames], Frames]
    ) -> None:
        infrared, visible = (moving(scene(seed, (96, 128)), pixels) for seed in (1, 2))
        fused = fuse(infrared, visible)
        assert flicker_structure(infrared, visible, fused) < 0.2
        unaligned = np.mean([abs(a.astype(np.int16) - b).mean() for a, b in pairwise(fused)])
        assert unaligned > 2, "without the flow it would look like flicker"

    def test_what_enters_the_image_cannot_flicker(self) -> None:
        infrared, visible = (moving(scene(seed, (96, 128)), 6, 2) for seed in (1, 2))
        fused = [infrared[0], infrared[1].copy()]
        fused[1][:, -5:] = 0
        assert structure_step(infrared, visible, fused) < 0.5

    def test_motion_that_only_one_source_shows(self) -> None:
        infrared, visible = still(np.full((64, 80), 20, np.uint8)), moving(scene(2, (96, 128)), 2)
        assert flicker_structure(infrared, visible, maximum_of(infrared, visible)) < 0.1

    def test_a_choice_that_toggles_costs_the_difference_of_the_sources(self) -> None:
        toggled = [VI if i % 2 else IR for i in range(5)]
        expected = abs(IR.astype(np.int16) - VI).mean()
        assert flicker_structure(still(IR), still(VI), toggled) == pytest.approx(expected)

    @pytest.mark.parametrize("pixels", [1, 3])
    def test_a_choice_that_toggles_while_the_scene_moves(self, pixels: int) -> None:
        infrared, visible = (moving(scene(seed, (96, 128)), pixels) for seed in (1, 2))
        toggled = [(infrared, visible)[i % 2][i] for i in range(5)]
        expected = np.mean([abs(i.astype(np.int16) - v).mean() for i, v in zip(infrared, visible, strict=True)])
        assert flicker_structure(infrared, visible, toggled) == pytest.approx(expected, rel=0.15)

    def test_cuts_are_left_out(self) -> None:
        first, second = (scene(4, (240, 320)), scene(5, (240, 320))), (scene(6, (240, 320)), scene(7, (240, 320)))
        infrared, visible = ([a, a, b, b] for a, b in zip(first, second, strict=True))
        fused = [visible[0], visible[0] + np.uint8(8), 255 - visible[2], 255 - visible[2] - np.uint8(8)]
        assert np.isnan(structure_step(infrared[1:3], visible[1:3], fused[1:3]))
        assert flicker_structure(infrared, visible, fused) == pytest.approx(8)
        with pytest.warns(UserWarning, match="one scene"):
            assert np.isnan(flicker_structure(infrared[1:3], visible[1:3], fused[1:3]))

    @pytest.mark.parametrize("shape", [(32, 32), (32, 91), (90, 33), (32, 2000), (2000, 32)])
    def test_the_smallest_and_narrowest_frames(self, shape: tuple[int, int]) -> None:
        image = scene(3, shape)
        assert structure_step(*[still(image, 2)] * 2, pulsing(image, 9, 2)) == pytest.approx(9)

    def test_too_small_for_flow(self) -> None:
        with pytest.raises(ValueError, match="at least 32 x 32"):
            structure_step(*[still(IR[:31], 2)] * 3)
