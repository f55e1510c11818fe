"""When to try again what has failed."""

from __future__ import annotations

import time
from collections.abc import Callable


class BackOff:
    """Lets a failure rest for 1 s, 2 s, 4 s ... a minute before the next try; in other circumstances none.

    Args:
        first_s: the first pause; each one after it is twice as long. 0: no pauses.
        longest_s: no pause is longer.
        clock: seconds that only rise.
    """

    def __init__(
        self, first_s: float = 1.0, longest_s: float = 60.0, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._clock, self._first_s, self._longest_s = clock, first_s, longest_s
        self._circumstances: object = None
        self._fault = ""
        self._pause_s = self._until = 0.0

    def resting(self, circumstances: object) -> str:
        """What failed in these circumstances, while it is too early to try again; "" when it is time."""
        left_s = self._until - self._clock()
        if not self._fault or circumstances != self._circumstances or left_s <= 0:
            return ""
        return f"{self._fault}; tried again in {left_s:.1f} s"

    def failed(self, fault: str, circumstances: object) -> str:
        """Start a pause, longer than the last one if the circumstances are the same. Returns the fault and when it is
        tried again.
        """
        again = self._fault and circumstances == self._circumstances
        self._pause_s = min(2 * self._pause_s, self._longest_s) if again else self._first_s
        self._fault, self._circumstances = fault, circumstances
        self._until = self._clock() + self._pause_s
        return self.resting(circumstances) or fault

    def succeeded(self) -> None:
        """The next failure is a first one."""
        self._fault = ""
