"""Color, losses, thermal range, registration: the arithmetic on single images."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from cldyn_core.color import rgb_to_ycbcr, ycbcr_to_rgb
from cldyn_core.engine.prepare import check_pair
from cldyn_core.engine.thermal import ThermalRange
from cldyn_core.losses import sobel_magnitude, visual_loss
from cldyn_core.registration.registration import homography_fault, register
from cldyn_core.types import FramePair


def test_color_round_trip_and_known_values() -> None:
    rgb = torch.rand(2, 3, 5, 7, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(ycbcr_to_rgb(rgb_to_ycbcr(rgb)), rgb, rtol=0, atol=1e-3)
    red = rgb_to_ycbcr(torch.tensor([1.0, 0.0, 0.0]).view(1, 3, 1, 1)).flatten()
    torch.testing.assert_close(red, torch.tensor([0.299, -0.1687 + 128 / 255, 0.5 + 128 / 255]))
    gray = rgb_to_ycbcr(torch.full((1, 3, 1, 1), 0.25)).flatten()
    torch.testing.assert_close(gray, torch.tensor([0.25, 128 / 255, 128 / 255]), atol=1e-6, rtol=0)


def test_sobel_of_a_step() -> None:
    step = torch.zeros(1, 1, 5, 6)
    step[..., 3:] = 1.0
    magnitude = sobel_magnitude(step)[0, 0]
    assert magnitude[2].tolist() == [0.0, 0.0, 4.0, 4.0, 0.0, 4.0]  # the last column: the zeros that pad the image


def test_the_visual_loss_is_zero_only_at_the_maximum_of_both() -> None:
    generator = torch.Generator().manual_seed(0)
    infrared, luma = (torch.rand(1, 1, 8, 8, generator=generator) for _ in range(2))
    assert float(visual_loss(luma, luma, luma)[0]) == 0.0
    total, intensity, gradient = visual_loss(luma, infrared, luma)
    assert float(intensity) == pytest.approx(float((torch.maximum(infrared, luma) - luma).mean()), rel=1e-6)
    assert float(total) == pytest.approx(0.2 * float(intensity) + float(gradient), rel=1e-6)


class TestThermalRange:
    """Limits smoothed over time."""

    def test_eight_bit_is_taken_as_it_is(self) -> None:
        image = np.array([[0, 51, 255]], np.uint8)
        np.testing.assert_allclose(ThermalRange().normalize(image), [[0.0, 0.2, 1.0]], atol=1e-7)

    def test_fixed_limits_clip(self) -> None:
        image = np.array([[100, 200, 300, 400]], np.uint16)
        np.testing.assert_allclose(ThermalRange((200.0, 300.0)).normalize(image), [[0, 0, 1, 1]], atol=1e-7)

    def test_fixed_limits_are_kept_however_close(self) -> None:
        image = np.array([[29_500, 29_505, 29_510]], np.uint16)
        np.testing.assert_allclose(ThermalRange((29_500.0, 29_510.0)).normalize(image), [[0, 0.5, 1]], atol=1e-6)

    def test_sensor_noise_is_not_stretched(self) -> None:
        noise = np.random.default_rng(0).normal(29_500, 2, (64, 64)).round().astype(np.uint16)
        assert ThermalRange().normalize(noise).std() < 0.05

    def test_a_hot_object_does_not_make_the_rest_flicker(self) -> None:
        rng = np.random.default_rng(1)
        scene = rng.normal(29_500, 150, (120, 160))
        thermal, background = ThermalRange(), []
        for frame in range(20):
            image = scene.copy()
            if frame % 2:
                image[40:80, 40:80] = 34_000
            background.append(thermal.normalize(image.astype(np.uint16))[:30].mean())
        assert np.abs(np.diff(background)).max() < 0.05
        image = scene.copy()
        image[40:80, 40:80] = 34_000
        naive = [ThermalRange().normalize(i.astype(np.uint16))[:30].mean() for i in (scene, image)]
        assert abs(naive[0] - naive[1]) > 0.2, "limits of each frame's own do flicker here"

    @pytest.mark.parametrize("first", [0, 30_000, 65_535])
    def test_a_blank_first_frame_is_forgotten_at_once(self, first: int) -> None:
        rng = np.random.default_rng(4)
        thermal = ThermalRange()
        thermal.normalize((rng.normal(0, 3, (60, 80)) + first).clip(0, 65_535).astype(np.uint16))
        scene = rng.uniform(29_500, 31_000, (60, 80))
        scene[0] = 0  # dead pixels, so that the ranges overlap
        shown = thermal.normalize(scene.astype(np.uint16))
        assert np.mean((shown <= 0.0) | (shown >= 1.0)) < 0.05

    def test_a_shutter_in_between_changes_little(self) -> None:
        thermal = ThermalRange()
        scene = np.random.default_rng(5).uniform(29_500, 31_000, (60, 80)).astype(np.uint16)
        before = thermal.normalize(scene)
        for _ in range(3):
            thermal.normalize(np.full((60, 80), 30_200, np.uint16))
        assert np.abs(thermal.normalize(scene) - before).max() < 0.12

    def test_follows_a_warming_scene(self) -> None:
        thermal = ThermalRange()
        scene = np.random.default_rng(2).normal(0, 100, (60, 80))
        for _ in range(60):
            last = thermal.normalize((scene + 29_000).astype(np.float32))
        for _ in range(60):
            warmer = thermal.normalize((scene + 31_000).astype(np.float32))
        assert abs(float(last.mean()) - float(warmer.mean())) < 0.02

    def test_not_a_number_is_coldest_and_nothing_else_changes(self) -> None:
        image = np.linspace(280, 310, 100, dtype=np.float32).reshape(10, 10)
        holes = image.copy()
        holes[3, 4] = np.nan
        a, b = ThermalRange((280.0, 310.0)).normalize(image), ThermalRange((280.0, 310.0)).normalize(holes)
        assert b[3, 4] == 0.0 and np.isfinite(b).all()
        b[3, 4] = a[3, 4]
        np.testing.assert_array_equal(a, b)
        with pytest.raises(ValueError, match="no finite value"):
            ThermalRange().normalize(np.full((4, 4), np.nan, np.float32))

    @settings(max_examples=60, deadline=None)
    @given(low=st.integers(0, 65_535), high=st.integers(0, 65_535), seed=st.integers(0, 99))
    def test_always_in_range(self, low: int, high: int, seed: int) -> None:
        low, high = sorted((low, high))
        image = np.random.default_rng(seed).integers(low, high + 1, (9, 11)).astype(np.uint16)
        out = ThermalRange().normalize(image)
        assert out.dtype == np.float32 and out.min() >= 0.0 and out.max() <= 1.0


def test_registration_shifts_and_scales() -> None:
    infrared = np.zeros((20, 30), np.float32)
    infrared[5, 6] = 1.0
    shifted = register(infrared, (20, 30), (1, 0, 4, 0, 1, 2, 0, 0, 1))
    assert np.unravel_index(shifted.argmax(), shifted.shape) == (7, 10)
    assert register(infrared, (40, 60), ()).shape == (40, 60)
    assert register(infrared, (20, 30), ()) is infrared


def test_homography_faults() -> None:
    assert homography_fault(()) == ""
    assert homography_fault((1, 0, 0, 0, 1, 0, 0, 0, 1)) == ""
    assert "9 values" in homography_fault((1.0, 0.0))
    assert "inverted" in homography_fault((0.0,) * 9)
    assert "finite" in homography_fault((float("nan"),) * 9)


@pytest.mark.parametrize(
    ("visible", "infrared", "text"),
    [
        (np.zeros((4, 5), np.uint8), np.zeros((4, 5), np.uint8), r"visible image must be \(H, W, 3\)"),
        (np.zeros((4, 5, 3), np.float32), np.zeros((4, 5), np.uint8), "visible image must be"),
        (np.zeros((4, 5, 3), np.uint8), np.zeros((4, 5), np.int32), "infrared image must be"),
        (np.zeros((4, 5, 3), np.uint8), np.zeros((1, 1), np.uint8), "infrared image is 1x1"),
        (np.zeros((40, 50, 3), np.uint8), np.zeros((40, 50), np.uint8), "2000 pixels; the limit max_pixels is 1000"),
    ],
)
def test_pairs_that_the_engine_does_not_take(visible: np.ndarray, infrared: np.ndarray, text: str) -> None:
    with pytest.raises(ValueError, match=text):
        check_pair(FramePair(visible, infrared), 1000)
