"""Gradient combination against its published definitions."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from cldyn_core.train.gradients import GradientMethod, cagrad_weights, combine

METHODS: list[GradientMethod] = ["sum", "cagrad", "pcgrad"]
seeds = st.integers(0, 10_000)
radii = st.floats(0.05, 2.0)


def rows(tasks: int, size: int, seed: int) -> Tensor:
    return torch.randn(tasks, size, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def dual(w: np.ndarray, gram: np.ndarray, c: float) -> np.ndarray:
    """The paper's dual objective of simplex weights (N, T): an upper bound of what any direction reaches."""
    mean = np.full(len(gram), 1 / len(gram))
    lengths = np.sqrt(np.maximum(np.einsum("ni,ij,nj->n", w, gram, w), 0))
    return w @ gram @ mean + c * np.sqrt(mean @ gram @ mean) * lengths


def assert_best(g: Tensor, c: float) -> None:
    """In the ball, and no direction of it does better: neither anywhere nor near."""
    d, mean = combine(g, "cagrad", c=c), g.mean(0)
    radius = c * mean.norm()
    assert (d - mean).norm() <= radius * (1 + 1e-6)
    noise = rows(2000, g.shape[1], 99)
    noise = radius * noise / noise.norm(dim=1, keepdim=True)
    tried = torch.cat([mean + noise, d + 0.1 * noise, d + 1e-3 * noise, mean[None]])
    moved = tried - mean
    tried = mean + moved * (radius / moved.norm(dim=1, keepdim=True).clamp_min(1e-300)).clamp(max=1.0)
    reached = (tried @ g.T).min(1).values.max()
    assert reached <= (g @ d).min() + 1e-8 * g.norm() * mean.norm()


@settings(max_examples=60, deadline=None)
@given(seed=seeds, tasks=st.integers(2, 6), size=st.integers(1, 8), c=radii)
def test_cagrad_is_the_best_direction_of_the_ball(seed: int, tasks: int, size: int, c: float) -> None:
    assert_best(rows(tasks, size, seed), c)


@settings(max_examples=30, deadline=None)
@given(seed=seeds, c=radii, exponent=st.integers(-4, 4))
def test_cagrad_where_rows_cancel_repeat_vanish_or_differ_in_scale(seed: int, c: float, exponent: int) -> None:
    a, b = rows(2, 5, seed)
    for g in ([a, -a, b], [a, a, b], [a, torch.zeros(5).double(), b], [a, 10.0**exponent * b], [a, b, -a - 0.9 * b]):
        assert_best(torch.stack(g), c)


@pytest.mark.parametrize(("tasks", "parts"), [(2, 2000), (3, 300), (4, 60)])
@pytest.mark.parametrize("seed", range(5))
def test_cagrad_reaches_the_dual_optimum_of_a_fine_grid(tasks: int, parts: int, seed: int) -> None:
    gram = (rows(tasks, 5, seed) @ rows(tasks, 5, seed).T).numpy()
    heads = np.array([p for p in itertools.product(range(parts + 1), repeat=tasks - 1) if sum(p) <= parts])
    grid = np.column_stack([heads, parts - heads.sum(1)]) / parts
    worst = (gram @ cagrad_weights(gram, 0.5)).min()
    best = dual(grid, gram, 0.5).min()
    assert best - 0.02 * np.trace(gram) / parts <= worst <= best + 1e-9


@settings(max_examples=30, deadline=None)
@given(seed=seeds, tasks=st.integers(2, 10), c=radii)
def test_cagrad_closes_the_duality_gap(seed: int, tasks: int, c: float) -> None:
    gram = (rows(tasks, 20, seed) @ rows(tasks, 20, seed).T).numpy()
    weights = cagrad_weights(gram, c)
    w = np.maximum(weights - 1 / tasks, 0)
    gap = dual(w[None] / w.sum(), gram, c)[0] - (gram @ weights).min()
    assert abs(gap) <= 1e-8 * np.trace(gram)


def test_without_a_ball_cagrad_is_the_mean() -> None:
    g = rows(3, 7, 0)
    torch.testing.assert_close(combine(g, "cagrad", c=0.0), g.mean(0))
    torch.testing.assert_close(combine(g, "sum"), g.mean(0))
    with pytest.raises(ValueError, match="at least 0"):
        combine(g, "cagrad", c=-0.1)


def test_pcgrad_removes_what_opposes() -> None:
    g = torch.tensor([[1.0, 0.0], [-1.0, 1.0]])
    expected = (torch.tensor([0.5, 0.5]) + torch.tensor([0.0, 1.0])) / 2
    torch.testing.assert_close(combine(g, "pcgrad"), expected)
    friends = torch.tensor([[1.0, 0.0], [1.0, 1.0]])
    torch.testing.assert_close(combine(friends, "pcgrad"), friends.mean(0))


@settings(max_examples=50, deadline=None)
@given(seed=seeds, size=st.integers(1, 8))
def test_pcgrad_of_two_opposes_neither(seed: int, size: int) -> None:
    g = rows(2, size, seed)
    assert (g @ combine(g, "pcgrad")).min() >= -1e-9


def test_pcgrad_order_is_a_function_of_the_seed() -> None:
    g = rows(4, 3, 1)
    assert torch.equal(combine(g, "pcgrad", seed=5), combine(g, "pcgrad", seed=5))
    assert len({tuple(combine(g, "pcgrad", seed=seed).tolist()) for seed in range(10)}) > 1


@pytest.mark.parametrize("method", METHODS)
def test_odd_gradients(method: GradientMethod) -> None:
    assert torch.equal(combine(torch.zeros(3, 4), method), torch.zeros(4))
    opposite = torch.tensor([[1.0, 2.0], [-1.0, -2.0]])
    assert combine(opposite, method).abs().max() < 1e-6
    one = torch.tensor([[3.0, 4.0]])
    assert torch.equal(combine(one, method), one[0])
    for value in (torch.nan, torch.inf):
        with pytest.raises(FloatingPointError, match="task 1"):
            combine(torch.tensor([[1.0, 0.0], [value, 0.0]]), method)


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("scale", [1e-12, 1e-3, 1e12])
def test_the_direction_grows_with_the_gradients(method: GradientMethod, scale: float) -> None:
    g = rows(3, 9, 4)
    torch.testing.assert_close(combine(scale * g, method) / scale, combine(g, method), rtol=1e-6, atol=1e-8)


@pytest.mark.parametrize("method", METHODS)
def test_type_and_values_are_the_same_every_time(method: GradientMethod) -> None:
    g = rows(3, 1000, 2).float()
    assert combine(g, method).dtype == torch.float32
    assert torch.equal(combine(g, method), combine(g, method))
    torch.testing.assert_close(combine(g, method), combine(g.double(), method).float())


def test_unknown_ways_are_refused() -> None:
    with pytest.raises(ValueError, match="known: sum, cagrad, pcgrad"):
        combine(rows(2, 3, 0), "best")  # type: ignore[arg-type]
