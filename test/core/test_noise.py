"""Sensor noise: how much is measured, what is taken out, and that images without it stay as they are."""

from __future__ import annotations

from dataclasses import replace

import cv2
import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays

from cldyn_core.data.degrade import degradation
from cldyn_core.data.synthetic import SceneConfig, render_frame
from cldyn_core.engine import FusionEngine
from cldyn_core.engine.noise import LEAST, denoised, noise_level
from cldyn_core.evaluate.methods import Methods, MethodSpec, without_noise
from cldyn_core.types import EngineSettings, FramePair, LabelledPair


@pytest.fixture(scope="module")
def street() -> FramePair:
    """Without the noise of the rendered visible camera."""
    frame = render_frame(SceneConfig("night", 320, 240, seed=3), 0)
    return FramePair(cv2.GaussianBlur(frame.visible, (3, 3), 0).astype(np.uint8), frame.infrared)


def with_noise(image: np.ndarray, sigma: float, seed: int = 1) -> np.ndarray:
    noise = np.random.default_rng(seed).normal(0, sigma, image.shape)
    return np.clip(np.rint(image + noise), 0, 255).astype(np.uint8)


def error(image: np.ndarray, true: np.ndarray) -> float:
    return float(np.sqrt(((image.astype(float) - true) ** 2).mean()))


@pytest.mark.parametrize("sigma", [3.0, 6.0, 15.0])
def test_the_level_of_known_noise_is_measured(street: FramePair, sigma: float) -> None:
    gray = with_noise(40 + street.infrared // 2, sigma)
    assert noise_level(gray, 255.0) == pytest.approx(sigma, rel=0.15, abs=0.3)
    assert noise_level(gray.astype(np.float32) / 255, 1.0) == pytest.approx(noise_level(gray, 255.0) / 255, rel=1e-3)


@pytest.mark.parametrize("condition", ["day", "night", "fog", "glare", "dusk"])
def test_images_without_noise_stay_the_same_objects(condition) -> None:
    frame = render_frame(SceneConfig(condition, 320, 240, seed=5), 0)
    for image in (frame.infrared, cv2.GaussianBlur(frame.visible, (3, 3), 0)):
        same, noise = denoised(image, 255.0)
        assert same is image and noise < LEAST


@pytest.mark.parametrize("sigma", [5.0, 15.0])
def test_noise_goes_and_edges_stay(street: FramePair, sigma: float) -> None:
    for true in (street.infrared, street.visible):
        noisy = with_noise(true, sigma)
        clean, noise = denoised(noisy, 255.0)
        assert clean.dtype == np.uint8 and clean.shape == true.shape and noise > LEAST
        assert error(clean, true) < 0.75 * error(noisy, true)
    step = np.full((120, 160), 60, np.uint8)
    step[:, 80:] = 190
    sharp, _ = denoised(with_noise(step, sigma), 255.0)
    assert float(sharp[:, 81:84].mean() - sharp[:, 76:79].mean()) > 0.9 * 130


def test_the_filter_sets_in_gradually(street: FramePair) -> None:
    noise = np.random.default_rng(2).normal(0, 1, street.infrared.shape)
    true = street.infrared.astype(np.float32) / 255
    changes = []
    for sigma in np.arange(2.0, 4.0, 0.1):
        noisy = np.clip(true + sigma / 255 * noise, 0, 1).astype(np.float32)
        changes.append(255 * error(denoised(noisy, 1.0)[0], noisy))
    assert changes[0] == 0 and changes[-1] > 1.5
    assert max(np.diff(changes)) < 0.6, "no jump where it begins"


@given(
    st.sampled_from([(np.uint8, 255.0), (np.float32, 1.0)]).flatmap(
        lambda kind: st.tuples(
            st.just(kind[1]),
            arrays(
                kind[0],
                st.one_of(array_shapes(min_dims=2, max_dims=2, min_side=3, max_side=48), st.just((40, 36, 3))),
                elements=st.integers(0, 255) if kind[0] is np.uint8 else st.floats(0, 1, width=32),
                fill=st.nothing(),
            ),
        )
    )
)
def test_any_image_stays_an_image(case: tuple[float, np.ndarray]) -> None:
    white, image = case
    before = image.copy()
    out, noise = denoised(image, white)
    assert out.shape == image.shape and out.dtype == image.dtype and noise >= 0
    assert out.min() >= 0 and out.max() <= white * (1 + 1e-6)
    np.testing.assert_array_equal(image, before)


def test_the_engine_takes_noise_out_and_says_how_much_there_was(street: FramePair) -> None:
    noisy = replace(street, infrared=with_noise(street.infrared, 15.0))
    engine = FusionEngine(EngineSettings(device="cpu"))
    clean = engine.step(street)
    assert max(clean.noise) < LEAST
    treated = engine.step(noisy)
    assert treated.noise[0] == clean.noise[0] and treated.noise[1] == pytest.approx(15.0, rel=0.2)
    alone = engine.show_infrared(noisy.infrared)[..., 0]
    assert error(alone, street.infrared) < 0.5 * error(noisy.infrared, street.infrared)
    engine.apply(replace(engine.settings, denoise=False))
    raw = engine.step(noisy)
    assert raw.noise == (0.0, 0.0)
    np.testing.assert_array_equal(engine.show_infrared(noisy.infrared)[..., 0], noisy.infrared)
    assert error(treated.fused, clean.fused) < 0.6 * error(raw.fused, clean.fused)
    np.testing.assert_array_equal(engine.step(street).fused, clean.fused)


def test_sixteen_bits_and_other_sizes_are_measured_as_they_are_shown(street: FramePair) -> None:
    small = cv2.resize(street.infrared, (160, 120), interpolation=cv2.INTER_AREA)
    counts = (29_000 + 10.0 * small + np.random.default_rng(1).normal(0, 100, small.shape)).astype(np.uint16)
    noise = FusionEngine(EngineSettings(device="cpu")).step(FramePair(street.visible, counts)).noise[1]
    span = float(np.ptp(np.percentile(counts, (1.0, 99.8))))
    assert noise == pytest.approx(100 * 255 / span, rel=0.25)


def test_an_evaluation_shows_networks_what_the_engine_shows_them(street: FramePair) -> None:
    pair = degradation("thermal-noise:netd=1000")(street)
    engine, methods = FusionEngine(EngineSettings(device="cpu")), Methods(torch.device("cpu"))
    for on in (True, False):
        engine.apply(replace(engine.settings, denoise=on))
        spec = MethodSpec("vfn", "vfn", "default", denoise=on)
        fused = methods.build(spec)(LabelledPair(pair.visible, pair.infrared)).image
        assert np.abs(fused.astype(int) - engine.step(pair).fused).max() <= 2
    assert spec.identity() != replace(spec, denoise=True).identity()
    assert without_noise(LabelledPair(street.visible, street.infrared)).infrared is street.infrared
