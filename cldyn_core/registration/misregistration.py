"""How far a registered infrared image lies beside the visible one, estimated from the images themselves.

One pair may have few edges in common (edges.py); the correlation is averaged over pairs, and old ones fade.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from cldyn_core.registration.edges import KNOWN, Array, correlation, directions, peak, reduced, reduction

SEARCH = 0.075
"""Of the longer side: a shift is looked for up to this much to each side."""
_LEAST_SIDE = 64  # cells of the shorter side; less shows too little
_LOOKS = 5  # pairs, before anything is said
_MEMORY = 10  # pairs that count


@dataclass(frozen=True)
class Shift:
    """Where the infrared image lies, in pixels of the visible one."""

    dx: float
    """Above 0: too far right."""
    dy: float
    """Above 0: too far down."""
    confidence: float
    """In 0..1: how much higher the correlation of the edges is there than at any other shift."""

    @property
    def length(self) -> float:
        """Pixels, whatever the direction."""
        return float(np.hypot(self.dx, self.dy))


class Misregistration:
    """Estimates one shift of the whole image from the pairs of a stream, in their order.

    Of parallax, and of a scale or turn that is wrong, which move parts of the image apart, it sees what most edges do.
    """

    def __init__(self) -> None:
        self._size: tuple[int, ...] = ()
        self._surface: Array = np.zeros((1, 1), np.float32)
        self._looks = 0

    def look(self, visible: NDArray[np.uint8], infrared: NDArray[np.uint8]) -> None:
        """Take a pair: (H, W, 3) RGB and (H, W), 0 where there is no infrared. Another size than before starts anew."""
        if visible.shape != self._size:
            self._size, self._looks = visible.shape, 0
        small = cv2.cvtColor(reduced(visible), cv2.COLOR_RGB2GRAY).astype(np.uint8, copy=False)
        if min(small.shape) < _LEAST_SIDE:
            return
        reach = round(SEARCH * max(small.shape))
        surface = correlation(directions(reduced(infrared)), directions(small), reach)
        self._looks += 1
        share = np.float32(1 / min(self._looks, _MEMORY))
        self._surface = surface if self._looks == 1 else self._surface + share * (surface - self._surface)

    @property
    def shift(self) -> Shift | None:
        """None: not known. Too few pairs yet, too little structure that both images have, or a shift beyond SEARCH."""
        if self._looks < _LOOKS:
            return None
        dx, dy, confidence = peak(self._surface)
        cell = 1 / reduction(self._size)
        return Shift(dx * cell, dy * cell, confidence) if confidence >= KNOWN else None
