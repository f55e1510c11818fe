"""Gradient combination against its published definitions."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from cldyn_core.train.gradients import cagrad_weights, combine


def rows(tasks: int, size: int, seed: int) -> torch.Tensor:
    return torch.randn(tasks, size, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def dual(w: np.ndarray, gram: np.ndarray, c: float) -> float:
    mean = np.full(len(gram), 1 / len(gram))
    return float(w @ gram @ mean + c * np.sqrt(mean @ gram @ mean) * np.sqrt(w @ gram @ w))


@settings(max_examples=40, deadline=None)
@given(seed=st.integers(0, 10_000), tasks=st.integers(1, 4), c=st.floats(0.05, 0.95))
def test_cagrad_is_the_best_direction_of_the_ball(seed: int, tasks: int, c: float) -> None:
    g = rows(tasks, 6, seed)
    d, mean = combine(g, "cagrad", c=c), g.mean(0)
    radius = c * mean.norm()
    assert (d - mean).norm() <= radius * (1 + 1e-6)
    worst = (g @ d).min()
    noise = torch.randn(4000, 6, generator=torch.Generator().manual_seed(seed + 1), dtype=torch.float64)
    others = mean + radius * noise / noise.norm(dim=1, keepdim=True)
    near = d + 0.05 * radius * noise / noise.norm(dim=1, keepdim=True)
    near = mean + (near - mean) * (radius / (near - mean).norm(dim=1, keepdim=True)).clamp(max=1.0)
    for tried in (others, near):
        assert (tried @ g.T).min(1).values.max() <= worst + 1e-4 * float(g.norm()) ** 2


@pytest.mark.parametrize("seed", range(5))
def test_cagrad_weights_against_a_fine_grid(seed: int) -> None:
    g = rows(3, 5, seed).numpy()
    gram, c, n = g @ g.T, 0.5, 60
    grid = [np.array([i, j, n - i - j]) / n for i, j in itertools.product(range(n + 1), repeat=2) if i + j <= n]
    best = min(dual(w, gram, c) for w in grid)
    mean = np.full(3, 1 / 3)
    w = cagrad_weights(gram, c) - mean
    w = w / w.sum()
    assert w.min() >= -1e-9
    assert dual(w, gram, c) <= best + 1e-9


def test_without_a_ball_cagrad_is_the_mean() -> None:
    g = rows(3, 7, 0)
    torch.testing.assert_close(combine(g, "cagrad", c=0.0), g.mean(0))
    torch.testing.assert_close(combine(g, "sum"), g.mean(0))


def test_pcgrad_removes_what_opposes() -> None:
    g = torch.tensor([[1.0, 0.0], [-1.0, 1.0]])
    expected = (torch.tensor([0.5, 0.5]) + torch.tensor([0.0, 1.0])) / 2
    torch.testing.assert_close(combine(g, "pcgrad"), expected)
    friends = torch.tensor([[1.0, 0.0], [1.0, 1.0]])
    torch.testing.assert_close(combine(friends, "pcgrad"), friends.mean(0))


@pytest.mark.parametrize("method", ["sum", "cagrad", "pcgrad"])
def test_odd_gradients(method: str) -> None:
    assert torch.equal(combine(torch.zeros(3, 4), method), torch.zeros(4))  # type: ignore[arg-type]
    opposite = torch.tensor([[1.0, 2.0], [-1.0, -2.0]])
    assert combine(opposite, method).abs().max() < 1e-6  # type: ignore[arg-type]
    one = torch.tensor([[3.0, 4.0]])
    direction = combine(one, method)  # type: ignore[arg-type]
    torch.testing.assert_close(direction / direction.norm(), one[0] / 5)
    with pytest.raises(FloatingPointError, match="task 1"):
        combine(torch.tensor([[1.0, 0.0], [torch.nan, 0.0]]), method)  # type: ignore[arg-type]


def test_the_direction_grows_with_the_gradients_and_unknown_ways_are_refused() -> None:
    g = rows(3, 9, 4)
    torch.testing.assert_close(combine(1000 * g, "cagrad"), 1000 * combine(g, "cagrad"), rtol=1e-5, atol=1e-6)
    with pytest.raises(ValueError, match="known: sum, cagrad, pcgrad"):
        combine(g, "best")  # type: ignore[arg-type]
