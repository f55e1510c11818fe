"""What the trainings share when they read pairs."""

from __future__ import annotations

from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from cldyn_core.engine.prepare import register
from cldyn_core.engine.thermal import ThermalRange
from cldyn_core.types import FramePair

T = TypeVar("T")


def hold_out_last(items: list[T], share: float) -> tuple[list[T], list[T]]:
    """Split off the last `share` of a folder -> (to train on, to judge with). One run of names: neighboring frames look
    alike.
    """
    kept = len(items) - round(len(items) * share)
    return items[:kept], items[kept:]


def infrared_8bit(pair: FramePair, thermal: ThermalRange) -> NDArray[np.uint8]:
    """The infrared image on the visible one's pixels, (H, W) uint8."""
    infrared = register(thermal.normalize(pair.infrared), pair.visible.shape[:2], ())
    return np.rint(infrared * 255).astype(np.uint8)
