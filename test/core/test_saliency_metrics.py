"""Figures of a set equal pysodmetrics'; perfect, inverted and empty maps; the stretch; weights."""

from __future__ import annotations

import json
from math import isnan
from typing import Any

import numpy as np
import pytest

from cldyn_core.metrics.saliency import SaliencyFigures, saliency_record
from cldyn_core.types import SaliencyMap

sod = pytest.importorskip("py_sod_metrics")


def disc(radius: float = 8.0) -> np.ndarray[Any, np.dtype[np.uint8]]:
    y, x = np.mgrid[:32, :40]
    return np.where((y - 14) ** 2 + (x - 18) ** 2 < radius**2, 255, 0).astype(np.uint8)


def random_set(count: int = 5) -> list[tuple[SaliencyMap, SaliencyMap]]:
    rng = np.random.default_rng(0)
    pairs = []
    for index in range(count):
        truth = disc(5 + index)
        answer = np.clip(truth * 0.6 + rng.normal(60, 40, truth.shape), 10, 240).astype(np.uint8)
        pairs.append((SaliencyMap(answer), SaliencyMap(truth)))
    return pairs


def figures(*pairs: tuple[Any, Any], stretch: bool = True) -> dict[str, float]:
    maps = [(SaliencyMap(np.asarray(a, np.uint8)), SaliencyMap(np.asarray(t, np.uint8))) for a, t in pairs]
    return SaliencyFigures([saliency_record(*pair, stretch=stretch) for pair in maps]).figures()


@pytest.mark.filterwarnings("ignore:This class will be removed")
def test_equals_pysodmetrics_over_the_set() -> None:
    pairs = random_set()
    found = SaliencyFigures([saliency_record(*pair) for pair in pairs]).figures()
    f, e, s, mae = sod.Fmeasure(beta=0.3), sod.Emeasure(), sod.Smeasure(), sod.MAE()
    for answer, truth in pairs:
        for measure in (f, e, s, mae):
            measure.step(answer.values, truth.values)
    curves = {"f": f.get_results()["fm"], "e": e.get_results()["em"]}
    for kind, result in curves.items():
        assert found[f"{kind}_mean"] == pytest.approx(result["curve"].mean(), abs=1e-12)
        assert found[f"{kind}_max"] == pytest.approx(result["curve"].max(), abs=1e-12)
        assert found[f"{kind}_adaptive"] == pytest.approx(result["adp"], abs=1e-12)
    assert found["s_measure"] == pytest.approx(s.get_results()["sm"], abs=1e-12)
    assert found["mae"] == pytest.approx(mae.get_results()["mae"], abs=1e-12)


def test_perfect() -> None:
    found = figures((disc(), disc()))
    assert found["mae"] == 0.0
    for key in ("f_adaptive", "f_max", "s_measure"):
        assert found[key] == pytest.approx(1.0, abs=1e-9)
    size = disc().size  # the E-measure divides by one pixel less
    assert found["e_max"] == pytest.approx(size / (size - 1), abs=1e-9)


def test_inverted() -> None:
    found = figures((255 - disc(), disc()))
    assert found["mae"] == 1.0 and found["f_adaptive"] == 0.0
    assert found["s_measure"] < 0.2 and found["e_adaptive"] < 0.1


def test_empty_answer_and_empty_truth() -> None:
    nothing = np.zeros_like(disc())
    assert figures((nothing, disc()))["mae"] == pytest.approx((disc() > 128).mean())
    right = figures((nothing, nothing))
    assert right["mae"] == 0.0 and right["s_measure"] == 1.0 and right["f_max"] == 0.0
    assert figures((disc(), nothing))["s_measure"] == pytest.approx(1 - (disc() > 128).mean())


def test_stretch_can_be_switched_off() -> None:
    faint = (disc() // 255) * 100 + 50  # 50 and 150
    assert figures((faint, disc()))["mae"] == 0.0
    share = (disc() > 128).mean()
    expected = share * (1 - 150 / 255) + (1 - share) * 50 / 255
    assert figures((faint, disc()), stretch=False)["mae"] == pytest.approx(expected)


def test_weights_are_repeated_images() -> None:
    pairs, weights = random_set(), [2, 0, 1, 3, 0]
    rows = [saliency_record(*pair) for pair in pairs]
    repeated = SaliencyFigures([row for row, times in zip(rows, weights, strict=True) for _ in range(times)]).figures()
    counted = SaliencyFigures(rows)
    for key in SaliencyFigures.KEYS:
        assert counted.statistic(key)(np.array(weights, np.float64)) == pytest.approx(repeated[key], abs=1e-12)


@pytest.mark.filterwarnings("error")
def test_without_images_all_is_nan() -> None:
    assert all(isnan(value) for value in SaliencyFigures([]).figures().values())


def test_records_are_plain_data() -> None:
    record = saliency_record(*random_set(1)[0])
    assert json.loads(json.dumps(record)) == record


def test_other_sizes_are_refused() -> None:
    with pytest.raises(ValueError, match="ground truth"):
        saliency_record(SaliencyMap(disc()), SaliencyMap(disc()[:-1]))
