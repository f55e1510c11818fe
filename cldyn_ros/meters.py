"""Percentiles and rates of recent events. Not locked: the owner is."""

from __future__ import annotations

from collections import deque


class Window:
    """Percentiles of the last `size` values."""

    def __init__(self, size: int = 300) -> None:
        self._values: deque[float] = deque(maxlen=size)

    def add(self, value: float) -> None:
        """Put one value in."""
        self._values.append(value)

    def percentile(self, percent: float) -> float | None:
        """Nearest-rank percentile, 0..100; None without values."""
        if not self._values:
            return None
        ordered = sorted(self._values)
        return ordered[min(len(ordered) - 1, int(len(ordered) * percent / 100))]


class Rate:
    """Events per second over the last few seconds."""

    def __init__(self, span_s: float = 5.0) -> None:
        self._span_s = span_s
        self._times: deque[float] = deque(maxlen=1000)

    def add(self, now: float) -> None:
        """One event at `now`, in seconds."""
        self._times.append(now)

    def hertz(self, now: float) -> float:
        """Rate at `now`; 0 with fewer than two recent events."""
        while self._times and now - self._times[0] > self._span_s:
            self._times.popleft()
        if len(self._times) < 2:
            return 0.0
        return (len(self._times) - 1) / max(now - self._times[0], 1e-9)
