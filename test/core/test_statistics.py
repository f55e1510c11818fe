"""Intervals cover what they should; tests tell equal from different, exactly where they can; nan; errors."""

from __future__ import annotations

from itertools import product
from math import isnan, nan

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cldyn_core.metrics.statistics import bootstrap_interval, compare_figures, compare_means, weighted_mean


def test_interval_covers_the_true_mean_as_often_as_it_says() -> None:
    rng = np.random.default_rng(0)
    hits = 0
    for seed in range(200):
        interval = bootstrap_interval(weighted_mean(rng.normal(3.0, 2.0, 40)), 40, rounds=300, seed=seed)
        hits += interval.low <= 3.0 <= interval.high
    assert 0.89 <= hits / 200 <= 0.985


def test_interval_of_a_mean_has_the_width_of_the_normal_one() -> None:
    values = np.random.default_rng(1).normal(0.0, 1.0, 400)
    interval = bootstrap_interval(weighted_mean(values), 400, rounds=4000)
    half = 1.96 * values.std() / np.sqrt(400)
    assert interval.low == pytest.approx(values.mean() - half, abs=0.1 * half)
    assert interval.high == pytest.approx(values.mean() + half, abs=0.1 * half)


def test_higher_confidence_is_wider_and_seeds_repeat() -> None:
    statistic = weighted_mean(np.random.default_rng(2).random(30))
    narrow, wide = (bootstrap_interval(statistic, 30, confidence=c) for c in (0.8, 0.99))
    assert wide.low < narrow.low < narrow.high < wide.high
    assert bootstrap_interval(statistic, 30, seed=3) == bootstrap_interval(statistic, 30, seed=3)
    assert bootstrap_interval(statistic, 30, seed=3) != bootstrap_interval(statistic, 30, seed=4)


def test_rounds_without_a_figure_are_left_out() -> None:
    interval = bootstrap_interval(lambda weights: 2.0 if weights[0] else nan, 5)
    assert (interval.low, interval.high) == (2.0, 2.0)


@given(st.lists(st.floats(-100, 100), min_size=2, max_size=20))
@settings(max_examples=20)
def test_interval_lies_within_the_values(values: list[float]) -> None:
    interval = bootstrap_interval(weighted_mean(values), len(values), rounds=50)
    assert min(values) - 1e-9 <= interval.low <= interval.high <= max(values) + 1e-9


def test_few_images_give_no_interval() -> None:
    assert isnan(bootstrap_interval(weighted_mean([1.0]), 1).low)
    one = compare_means([1.0], [2.0])
    assert one.difference == -1.0 and isnan(one.low) and isnan(one.p) and one.count == 1
    assert isnan(compare_means([], []).p)


def test_weighted_mean_leaves_nan_out() -> None:
    mean = weighted_mean([1.0, nan, 4.0])
    assert mean(np.array([1.0, 1.0, 1.0])) == 2.5
    assert mean(np.array([2.0, 5.0, 1.0])) == 2.0
    assert isnan(mean(np.array([0.0, 1.0, 0.0])))


def test_equal_methods_give_one() -> None:
    values = np.random.default_rng(5).random(50)
    assert compare_means(list(values), list(values)).p == 1.0
    same = compare_figures(weighted_mean(values), weighted_mean(values), 50)
    assert (same.difference, same.low, same.high, same.p) == (0.0, 0.0, 0.0, 1.0)


def test_obvious_difference() -> None:
    rng = np.random.default_rng(6)
    a = rng.normal(0.0, 1.0, 100)
    b = a + 1 + rng.normal(0.0, 0.1, 100)
    tested = compare_means(list(b), list(a))
    assert tested.p < 1e-3 and tested.low > 0.9 and tested.high < 1.1 and tested.count == 100
    drawn = compare_figures(weighted_mean(b), weighted_mean(a), 100, rounds=1000)
    assert drawn.p == pytest.approx(2 / 1001) and drawn.low > 0.9


def test_sign_flips_are_exact_for_few_images() -> None:
    a, b = np.random.default_rng(7).normal(0.4, 1, (2, 9))
    d = a - b
    flips = np.array(list(product((1, -1), repeat=9))) @ d
    extreme = np.mean(np.abs(flips) >= abs(d.sum()) - 1e-12)
    assert compare_means(list(a), list(b)).p == pytest.approx(extreme)
    assert compare_means(list(a), list(b), seed=1).p == compare_means(list(a), list(b), seed=2).p


def test_p_is_even_where_nothing_differs() -> None:
    tests = [compare_means(list(a), list(b)).p for a, b in np.random.default_rng(8).normal(size=(100, 2, 9))]
    assert np.mean(np.array(tests) < 0.2) == pytest.approx(0.2, abs=0.12)


def test_exchange_of_the_methods_turns_the_sign_alone() -> None:
    a, b = np.random.default_rng(9).random((2, 11))
    there, back = compare_means(list(a), list(b)), compare_means(list(b), list(a))
    assert there.difference == pytest.approx(-back.difference) and there.p == pytest.approx(back.p)


def test_images_without_a_figure_are_left_out_in_pairs() -> None:
    with_nan = compare_means([1.0, nan, 3.0, 5.0], [0.5, 1.0, nan, 2.0])
    without = compare_means([1.0, 5.0], [0.5, 2.0])
    assert with_nan == without and with_nan.count == 2


def test_both_methods_see_the_same_resample() -> None:
    spread = np.random.default_rng(10).normal(0, 100, 30)
    drawn = compare_figures(weighted_mean(spread + 1), weighted_mean(spread), 30)
    assert (drawn.low, drawn.high) == (pytest.approx(1.0), pytest.approx(1.0))


def test_figures_that_are_never_there_give_nan() -> None:
    nothing = compare_figures(lambda _: nan, lambda _: nan, 4)
    assert isnan(nothing.difference) and isnan(nothing.low) and isnan(nothing.p)


@pytest.mark.parametrize("size", [1, 3])
def test_figures_of_other_images_are_refused(size: int) -> None:
    with pytest.raises(ValueError, match="same images"):
        compare_means([1.0, 2.0], [1.0] * size)


@pytest.mark.parametrize("options", [{"confidence": 0.0}, {"confidence": 1.0}, {"rounds": 0}])
def test_impossible_options_are_refused(options: dict[str, float]) -> None:
    with pytest.raises(ValueError, match="Remedy"):
        bootstrap_interval(weighted_mean([1.0, 2.0]), 2, **options)  # type: ignore[arg-type]


def test_few_images_give_no_verdict_of_the_bootstrap() -> None:
    few = compare_figures(weighted_mean([0.5, 0.6]), weighted_mean([0.4, 0.5]), 2)
    assert few.difference == pytest.approx(0.1) and isnan(few.p)
    assert not isnan(compare_figures(weighted_mean(range(20)), weighted_mean([0.0] * 20), 20).p)
