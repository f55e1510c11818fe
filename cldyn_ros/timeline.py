"""When to play what: bag time to wall time. Pure Python."""

from __future__ import annotations

MAX_LAG = 0.25
"""Seconds of lag made up by playing on at once; after more the schedule moves, so that nothing comes in a burst."""


class Timeline:
    """Schedule of a bag played at a rate. Wall times are seconds of a monotonic clock, bag times nanoseconds."""

    def __init__(self, rate: float, bag_start_ns: int, now: float) -> None:
        self.rate = rate
        self._bag_start = bag_start_ns
        self._start = now

    def due(self, stamp_ns: int) -> float:
        """Wall time at which a message recorded at `stamp_ns` is to be played."""
        return self._start + (stamp_ns - self._bag_start) / (1e9 * self.rate)

    def bag_time(self, now: float) -> int:
        """Bag time in nanoseconds at a wall time, not before the start of the bag."""
        return self._bag_start + max(0, round((now - self._start) * 1e9 * self.rate))

    def fit(self, stamp_ns: int, now: float) -> None:
        """Move the schedule when the message of `stamp_ns`, about to be played, lags by more than MAX_LAG."""
        lag = now - self.due(stamp_ns)
        if lag > MAX_LAG:
            self._start += lag


def loop_gap_ns(duration_ns: int, counts: list[int]) -> int:
    """Pause between two rounds: the mean period of the busiest topic, so that its rhythm goes on; else 1 s."""
    most = max(counts, default=0)
    return duration_ns // (most - 1) if most > 1 else 10**9
