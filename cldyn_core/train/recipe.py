"""What every training can be told, and how the learning rate goes."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Literal

import numpy as np

from cldyn_core.data.degrade import degradation
from cldyn_core.tasks.images import STRIDE
from cldyn_core.types import LabelledPair

Precision = Literal["float32", "bfloat16", "float16"]

WEATHER = (
    "rain:rate=20", "rain:rate=50", "rain:rate=100",
    "low-light:stops=4", "low-light:stops=6", "low-light:stops=7",
    "thermal-noise:netd=150", "thermal-noise:netd=300", "thermal-noise:netd=500,rows=100,columns=200",
    "fog:visibility=150", "fog:visibility=80",
    "dim:alpha=0.6", "dim:alpha=0.4",
)  # fmt: skip
"""Degradations of a robust training: the paper's named limits (rain, darkness, sensor noise) and fog."""

_COUNTS = ("steps", "batch", "size", "validate_every", "validate_side")


@dataclass(frozen=True)
class Recipe:
    """Adam with decoupled weight decay, warm-up, cosine; the weights that validate best are kept. Raises ValueError
    naming a field that makes no sense.
    """

    steps: int = 1000
    """In all; the learning rate falls to 1 % along a cosine."""
    batch: int = 4
    """Pairs (of each task) in a step, all processes together."""
    size: int = 256
    """Side of the square training windows in pixels, a multiple of 32."""
    learning_rate: float = 1e-3
    weight_decay: float = 1e-4
    """Of weights; biases and norms do not decay."""
    warmup: int = 0
    """Steps over which the learning rate rises first."""
    clip: float = 1.0
    """Largest norm of the gradient."""
    average: float = 0.0
    """Decay of a running average of the weights (0.998, say), which is then judged and kept. 0: no average."""
    precision: Precision = "float32"
    """Of the computation; weights, gradients and moments stay float32. On a GPU bfloat16 is faster, on a CPU slower."""
    validate_every: int = 100
    validate_side: int = 640
    """Longer side to which held-out pairs are shrunk, in pixels."""
    patience: int = 0
    """Stop after so many validations without a better one; 0: never."""
    degraded: float = 0.0
    """Share of the pairs that are made worse first: rain, darkness, fog, noise."""
    degradations: list[str] = field(default_factory=lambda: list(WEATHER))
    """What makes them worse, each as likely as the others; `cldyn_core.data.degrade` explains them."""
    seed: int = 0
    """Of all that is drawn. With the step it says everything that is random."""

    def __post_init__(self) -> None:
        values = vars(self)
        for name in _COUNTS:
            if values[name] < 1:
                raise ValueError(f"{name} must be at least 1, not {values[name]}")
        if self.size % STRIDE:
            raise ValueError(f"size must be a multiple of {STRIDE}, not {self.size}")
        if not 0 <= self.average < 1:
            raise ValueError(f"average must be at least 0 and below 1, not {self.average}")
        if not 0 <= self.degraded <= 1:
            raise ValueError(f"degraded must be in 0..1, not {self.degraded}")
        if not self.degradations:
            raise ValueError("degradations must name at least one; degraded: 0 uses none")
        for text in self.degradations:
            degradation(text)

    def worsened(self, pair: LabelledPair, rng: np.random.Generator) -> LabelledPair:
        """The pair, with probability `degraded` made worse."""
        if rng.random() >= self.degraded:
            return pair
        return degradation(str(rng.choice(self.degradations)))(pair, int(rng.integers(1 << 31)))

    def rate(self, step: int) -> float:
        """Learning rate of a step, from 1."""
        warm = min(1.0, step / (self.warmup + 1))
        return self.learning_rate * warm * (0.01 + 0.99 * 0.5 * (1 + math.cos(math.pi * (step - 1) / self.steps)))
