"""What a calibration found, and how well it does on pairs that had no part in it."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from cldyn_core.calibrate.models import Model
from cldyn_core.registration.cameras import Array

_BETTER, _NOISE = 0.9, 0.05  # by a tenth, and by more pixels than a repetition differs


class NotFoundError(ValueError):
    """The pairs do not say how the cameras lie. The text says why, and what to do."""


@dataclass(frozen=True)
class Residuals:
    """How far the infrared image lies beside the visible one after registration, in pixels of the visible image."""

    at: Array
    """(N, 2) where."""
    offsets: Array
    """(N, 2), above 0: too far right, too far down."""
    weights: Array
    """(N,) how sure it is."""
    spread: float = 0.0
    """Of targets: how far the mean residuals of two views lie apart at most; what no map of the plane takes away."""

    @property
    def lengths(self) -> Array:
        """(N,)"""
        return np.hypot(*self.offsets.T)

    @property
    def median(self) -> float:
        """Of the lengths."""
        return float(np.median(self.lengths))

    @property
    def largest(self) -> float:
        """Of the lengths."""
        return float(self.lengths.max())


@dataclass(frozen=True)
class Found:
    """A map of undistorted infrared pixels to visible ones."""

    model: Model
    homography: Array
    """(3, 3)"""
    held_out: Residuals


def simplest(candidates: list[Found]) -> Found:
    """The first, stiffest map that no later one betters by more than chance would. They are ordered by stiffness."""
    chosen = candidates[0]
    for other in candidates[1:]:
        if other.held_out.median < _BETTER * chosen.held_out.median - _NOISE:
            chosen = other
    return chosen
