"""Fusion metrics on batches of tensors give the averages of the functions' values."""

from __future__ import annotations

import math
import warnings
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from shared_data import SHARED

from cldyn_core.metrics.batched import BatchedFusionMetric, BatchedFusionMetrics
from cldyn_core.metrics.batched_measures import MEASURES
from cldyn_core.metrics.batched_triple import TripleBatch
from cldyn_core.metrics.fusion import FUSION_METRICS, FusionMetricWarning, score

QUICK = tuple(name for name in FUSION_METRICS if name != "fmi")
GOLDEN = SHARED / "metrics" / "golden" if SHARED else Path()
RECORDED = sorted(GOLDEN.glob("*/images/e?_*_ir.png")) + sorted(GOLDEN.glob("public/images/p0[12]_ir.png"))
Triples = NDArray[np.uint8]
"""(3, B, H, W): infrared, visible, fused."""


def random_triples(seed: int, count: int = 3, height: int = 48, width: int = 53) -> Triples:
    """Noise of several strengths on a ramp; the fused image is like both sources."""
    random = np.random.default_rng(seed)
    ramp = np.linspace(0, 200, width) + np.zeros((2, count, height, 1))
    sources = (ramp + random.normal(0, 1, ramp.shape) * random.uniform(1, 60, (2, count, 1, 1))).clip(0, 255)
    return np.concatenate((sources, sources.mean(0, keepdims=True))).round().astype(np.uint8)


def hopeless_triples() -> Triples:
    """Each image constant, black or white, or all alike, beside a sound triple."""
    sound = random_triples(5)[:, 0]
    triples = [sound, np.repeat(sound[:1], 3, axis=0)]
    for place in range(3):
        for level in (0, 128, 255):
            changed = sound.copy()
            changed[place] = level
            triples.append(changed)
    return np.stack(triples, axis=1)


def tensors(triples: Triples, channel: bool = True) -> list[torch.Tensor]:
    return [torch.from_numpy(images[:, None] if channel else images) for images in triples]


def expected(triples: Triples, names: tuple[str, ...]) -> dict[str, list[float]]:
    """Of each image, by the functions."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FusionMetricWarning)
        scores = [score(a, b, f, names) for a, b, f in triples.swapaxes(0, 1)]
    return {name: [each[name] for each in scores] for name in names}


def has_no_value(value: float) -> bool:
    return math.isnan(value) or value == -math.inf


def assert_same_values(triples: Triples, rtol: float = 1e-9) -> None:
    batch = TripleBatch(torch.from_numpy(triples))
    for name, wanted in expected(triples, tuple(MEASURES)).items():
        np.testing.assert_allclose(MEASURES[name](batch).numpy(), wanted, rtol, 1e-12, err_msg=name)


@settings(max_examples=20, deadline=None)
@given(seed=st.integers(0, 10_000), height=st.integers(1, 50), width=st.integers(1, 50))
def test_equal_the_functions_on_random_images_of_any_size(seed: int, height: int, width: int) -> None:
    assert_same_values(random_triples(seed, 2, height, width))


def test_equal_the_functions_on_hopeless_images() -> None:
    assert_same_values(hopeless_triples())


@pytest.mark.skipif(not RECORDED, reason="no recorded images here")
@pytest.mark.parametrize("path", RECORDED, ids=lambda path: path.stem)
def test_equal_the_functions_on_recorded_images(path: Path) -> None:
    images = [
        cv2.imread(str(path).replace("_ir.png", f"_{k}.png"), cv2.IMREAD_GRAYSCALE) for k in ("ir", "vi", "fused")
    ]
    # The contrasts of Q_CB in large black areas are those of the rounding of a Fourier transform.
    assert_same_values(np.stack(images)[:, None], 1e-8 if "saturated" in path.stem else 1e-9)


@pytest.mark.parametrize("name", QUICK)
def test_average_over_updates(name: str) -> None:
    triples = random_triples(1, 5)
    metric = BatchedFusionMetric(name)
    metric.update(*tensors(triples[:, :2]))
    metric.update(*tensors(triples[:, 2:], channel=False))
    average = metric.compute()
    assert average.dtype == torch.float64 and average.shape == ()
    assert float(average) == pytest.approx(np.mean(expected(triples, (name,))[name]), rel=1e-9)
    assert metric.undefined == 0
    assert metric.higher_is_better is FUSION_METRICS[name].higher_is_better
    metric.reset()
    metric.update(*tensors(triples[:, :1]))
    assert float(metric.compute()) == pytest.approx(expected(triples[:, :1], (name,))[name][0], rel=1e-9)


def test_several_share_and_count_what_has_no_value() -> None:
    triples = hopeless_triples()
    metrics = BatchedFusionMetrics(QUICK)
    metrics.update(*tensors(triples))
    found = metrics.compute()
    assert list(found) == [*QUICK, *(f"{name}/undefined" for name in QUICK)]
    for name, values in expected(triples, QUICK).items():
        defined = [value for value in values if not has_no_value(value)]
        assert float(found[name]) == pytest.approx(np.mean(defined), rel=1e-9), name
        assert int(found[f"{name}/undefined"]) == len(values) - len(defined), name
    assert int(found["cc/undefined"]) == 9
    assert int(found["en/undefined"]) == 0


def test_no_value_at_all_is_nan() -> None:
    metric = BatchedFusionMetric("cc")
    metric.update(*[torch.zeros(2, 1, 9, 9, dtype=torch.uint8)] * 3)
    assert math.isnan(float(metric.compute()))
    assert metric.undefined == 2


@settings(max_examples=5, deadline=None)
@given(order=st.permutations(range(4)))
def test_order_of_the_batch_does_not_matter(order: list[int]) -> None:
    batch = torch.from_numpy(random_triples(2, 4))
    for name, measure in MEASURES.items():
        values = measure(TripleBatch(batch))
        torch.testing.assert_close(measure(TripleBatch(batch[:, order])), values[order], rtol=1e-12, atol=0, msg=name)


def test_processes_add_up() -> None:
    """What torchmetrics does with the states of several processes."""
    triples = random_triples(3, 4)
    first, second = BatchedFusionMetric("qabf"), BatchedFusionMetric("qabf")
    first.update(*tensors(triples[:, :1]))
    second.update(*tensors(triples[:, 1:]))
    first.merge_state(second)
    assert float(first.compute()) == pytest.approx(np.mean(expected(triples, ("qabf",))["qabf"]), rel=1e-9)


def test_call_gives_the_average_of_the_batch() -> None:
    first, second = tensors(random_triples(6)), tensors(random_triples(7))
    metric = BatchedFusionMetric("mi")
    metric(*first)
    of_batch = metric(*second)
    alone = BatchedFusionMetric("mi")
    alone.update(*second)
    assert float(of_batch) == float(alone.compute()) != float(metric.compute())


def test_alias_keeps_its_name() -> None:
    metrics = BatchedFusionMetrics(["qcc", "cc"])
    metrics.update(*tensors(random_triples(4)))
    found = metrics.compute()
    assert found["qcc"] == found["cc"]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda image: image.float() / 255, "visible images must be a uint8 tensor, not torch.float32: scale"),
        (lambda image: image.numpy(), "not ndarray"),
        (lambda image: image.expand(-1, 3, -1, -1), r"visible images must be .*not \(3, 3, 48, 53\): reduce colour"),
        (lambda image: image[0, 0], r"not \(48, 53\)"),
        (lambda image: image[..., 1:], r"one shape.*visible \(3, 48, 52\).*resize"),
        (lambda image: image[1:], r"one shape.*visible \(2, 48, 53\)"),
        (lambda image: image[:0], "visible images must be"),
        (lambda image: image.to("meta"), "one device.*visible meta"),
    ],
)
def test_other_tensors_are_refused(change, message: str) -> None:
    infrared, visible, fused = tensors(random_triples(0))
    with pytest.raises(ValueError, match=message):
        BatchedFusionMetric("en").update(infrared, change(visible), fused)


def test_unknown_name_is_refused() -> None:
    with pytest.raises(ValueError, match="choose from mi"):
        BatchedFusionMetric("mutual")


def test_too_large_images_are_refused() -> None:
    large = torch.zeros(3, 1, 1, 1, dtype=torch.uint8).expand(3, 1, 3400, 3400)
    with pytest.raises(ValueError, match="Remedy"):
        MEASURES["cc"](TripleBatch(large))


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
def test_on_the_device_of_the_tensors() -> None:
    triples = random_triples(8)
    metrics = BatchedFusionMetrics(QUICK).to("cuda")
    metrics.update(*(tensor.cuda() for tensor in tensors(triples)))
    for name, values in expected(triples, QUICK).items():
        assert float(metrics.compute()[name]) == pytest.approx(np.mean(values), rel=1e-9), name
