"""What looks wrong in images that arrive in good order: a picture that stands still, a wrong topic."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cldyn_ros.sync import Source

FROZEN_S = 2.0
_LEAST = 5  # images: a slow camera is not a frozen one
_EVERY = 8  # row is compared
_THERMAL = {"mono16", "16UC1"}


class Suspicion:
    """Looks at the converted images of one camera, in their order."""

    def __init__(self, source: Source, clock: Callable[[], float] = time.monotonic) -> None:
        self._source, self._clock = source, clock
        self._rows: NDArray[Any] | None = None
        self._since, self._alike = 0.0, 0

    def look(self, image: NDArray[Any], encoding: str) -> str:
        """What is suspicious about this image, for people; "" if nothing is."""
        standing_s = self._standing_s(image[::_EVERY])
        if standing_s >= FROZEN_S and self._alike >= _LEAST:
            return f"images come, but the picture has not changed for {standing_s:.0f} s: camera frozen or covered?"
        if self._source is Source.VISIBLE and encoding in _THERMAL:
            return f"images are 16-bit gray ({encoding}), as thermal cameras send them: are the topics swapped?"
        return ""

    def _standing_s(self, rows: NDArray[Any]) -> float:
        """Seconds since the picture was another one."""
        before = self._rows
        if before is not None and before.shape == rows.shape and np.array_equal(before, rows, equal_nan=True):
            self._alike += 1
            return self._clock() - self._since
        self._rows, self._since, self._alike = rows.copy(), self._clock(), 0
        return 0.0
