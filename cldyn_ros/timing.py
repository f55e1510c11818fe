"""When images were taken and when they came, and what that tells of the cameras' clocks. Plain data, no ROS types."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from itertools import pairwise
from statistics import median
from typing import NamedTuple

from cldyn_ros.sync import Source

_IMAGES = 33
_ENOUGH = 5
_TOGETHER_NS = 500_000_000
"""Images that came further apart than this say nothing of each other."""
_STEADY_MS = 0.5


class _Seen(NamedTuple):
    stamp_ns: int
    arrival_ns: int
    age_ns: int


@dataclass(frozen=True)
class CameraTime:
    """Stamps of one camera's last images."""

    newest_ns: int
    period_ms: float | None
    """Median time between two stamps; None with fewer than two."""
    age_ms: float
    """Median time from the stamp to the arrival, by the node's clock. Below 0: stamps of the future."""


@dataclass(frozen=True)
class Lag:
    """How late the infrared stamps are against the visible ones."""

    ms: float
    """Of stamps, less that of arrivals: right if both cameras take as long from exposure to arrival."""
    constant_ms: float | None
    """Difference of the stamps of images that came together, if it never varies: the cameras share a trigger."""


class Timing:
    """The last images of both cameras."""

    def __init__(self) -> None:
        self._seen: dict[Source, deque[_Seen]] = {source: deque(maxlen=_IMAGES) for source in Source}

    def add(self, source: Source, stamp_ns: int, arrival_ns: int, age_ns: int) -> None:
        """One image: its stamp, when it came (any steady clock), how old the node's clock says it is."""
        if stamp_ns > 0:
            self._seen[source].append(_Seen(stamp_ns, arrival_ns, age_ns))

    def camera(self, source: Source) -> CameraTime | None:
        """What is known of one camera's stamps; None before its first image."""
        seen = list(self._seen[source])
        if not seen:
            return None
        steps = [b.stamp_ns - a.stamp_ns for a, b in pairwise(seen) if b.stamp_ns > a.stamp_ns]
        return CameraTime(
            seen[-1].stamp_ns, median(steps) / 1e6 if steps else None, median(one.age_ns for one in seen) / 1e6
        )

    def lag(self) -> Lag | None:
        """How late the infrared stamps are; None while too few images came from both cameras."""
        stamps, lags = [], []
        for infrared in self._seen[Source.INFRARED]:
            for visible in self._near(infrared.arrival_ns):
                stamps.append((infrared.stamp_ns - visible.stamp_ns) / 1e6)
                lags.append(stamps[-1] - (infrared.arrival_ns - visible.arrival_ns) / 1e6)
        if len(lags) < _ENOUGH:
            return None
        steady = max(stamps) - min(stamps) < _STEADY_MS
        return Lag(median(lags), median(stamps) if steady else None)

    def _near(self, arrival_ns: int) -> list[_Seen]:
        """The visible image that came next to a time; none if all came long before or after."""
        near = sorted(self._seen[Source.VISIBLE], key=lambda one: abs(one.arrival_ns - arrival_ns))[:1]
        return [one for one in near if abs(one.arrival_ns - arrival_ns) <= _TOGETHER_NS]
