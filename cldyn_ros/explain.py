"""Why two cameras that deliver do not pair, and the remedy. Plain data, no ROS types."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timezone

from cldyn_ros.sync import Counts, Reason, Source
from cldyn_ros.timing import CameraTime, Lag

MAX_OFFSET_MS = 10_000.0
"""Stamps further apart than this, the limit of sync.infrared_offset_ms, are of different clocks."""


@dataclass(frozen=True)
class SyncState:
    """What the pairing says: settings, counters by camera, and how far apart the stamps were at the last miss."""

    tolerance_ms: float
    counts: Mapping[Source, Counts]
    last_miss_ms: float | None = None
    since_pair: Mapping[Source, Counts] = field(default_factory=dict)
    """The same counters, only of the time since the last pair."""
    offset_ms: float = 0.0
    queue: int = 10
    exact: bool = False
    by_arrival: bool = False
    cameras: Mapping[Source, CameraTime] = field(default_factory=dict)
    lag: Lag | None = None
    clock_fault: str = ""
    """What is wrong with the node's simulated time."""

    @property
    def residual_ms(self) -> float | None:
        """How late the infrared stamps are with the offset applied."""
        return None if self.lag is None else self.lag.ms + self.offset_ms

    @property
    def shorter_period_ms(self) -> float | None:
        """Period of the faster camera."""
        periods = [camera.period_ms for camera in self.cameras.values() if camera.period_ms]
        return min(periods) if len(periods) == len(Source) else None


def explain_no_match(sync: SyncState) -> str:
    """Both cameras deliver, but nothing pairs: say why, and the remedy."""
    if fault := _bad_stamps(sync):
        return fault
    residual = sync.residual_ms
    if residual is not None and abs(residual) > MAX_OFFSET_MS:
        remedy = "set both clocks by NTP or PTP, or set sync.stamp to arrival"
        return f"stamps are of different clocks: {_newest(sync)}; {remedy}"
    apart = (
        "" if sync.last_miss_ms is None else f" ({sync.last_miss_ms:.{3 if sync.exact else 0}f} ms at the last miss)"
    )
    if sync.exact:
        return f"both cameras deliver, but no two stamps are equal{apart}, as sync.policy exact asks: {_remedy(sync)}"
    limit = f"sync.tolerance_ms ({sync.tolerance_ms:g})"
    return f"both cameras deliver, but their stamps are further apart{apart} than {limit}: {_remedy(sync)}"


def lag_hint(sync: SyncState) -> str:
    """That pairs may be of neighboring frames, because one camera's stamps are late by more than half a period."""
    residual, period = sync.residual_ms, sync.shorter_period_ms
    if residual is None or period is None or abs(residual) <= max(period / 2, 1.0) or abs(residual) > MAX_OFFSET_MS:
        return ""
    return f"{_lag(residual)}; pairs may be one frame off (doc/sync.md)"


def _bad_stamps(sync: SyncState) -> str:
    for source, counts in (sync.since_pair or sync.counts).items():
        bad = counts.dropped[Reason.NO_STAMP] + counts.dropped[Reason.DUPLICATE]
        if bad > counts.offered / 2:
            carry = f"{source.value} images carry stamp 0 or repeat their stamp ({bad} of {counts.offered})"
            if sync.by_arrival:
                return f"{carry}: stamps are those of arrival, so the node's clock does not run, or too coarsely"
            return f"{carry}: fix the driver, or set sync.stamp to arrival"
    return ""


def _remedy(sync: SyncState) -> str:
    constant = None if sync.lag is None else sync.lag.constant_ms
    if sync.exact:
        if constant is None:
            return "set sync.policy to nearest"
        return f"they always differ by {constant:.6g} ms, so set sync.infrared_offset_ms to {-constant:.6g}"
    remedies, queue = [], ""
    residual, period = sync.residual_ms, sync.shorter_period_ms
    if residual is not None and abs(residual) > max(sync.tolerance_ms, 1.0):
        remedies.append(f"{_lag(residual)}, so set sync.infrared_offset_ms to {sync.offset_ms - residual:.0f}")
        queue = _longer_queue(sync, residual)
    if period is not None and sync.tolerance_ms < period / 2 and (constant is None or not remedies):
        rates = " and ".join(f"{s.value} {1e3 / (c.period_ms or 1e3):.3g} Hz" for s, c in sync.cameras.items())
        apart = f"at {rates} the nearest images are up to {period / 2:.0f} ms apart"
        remedies.append(f"{apart}, so set sync.tolerance_ms to {period / 2 + 1:.0f}")
    return ("; ".join(remedies) or "raise it, or set sync.infrared_offset_ms") + queue


def _lag(residual_ms: float) -> str:
    verb = "lag" if residual_ms > 0 else "lead"
    return f"infrared stamps {verb} by about {abs(residual_ms):.0f} ms, judged by when images arrive"


def _longer_queue(sync: SyncState, residual_ms: float) -> str:
    """The other explanation: stamps are right, but one camera's images come later than those of the other can wait."""
    late = Source.VISIBLE if residual_ms > 0 else Source.INFRARED
    waiting = sync.cameras.get(late.other)
    if waiting is None or not waiting.period_ms or abs(residual_ms) < sync.queue * waiting.period_ms:
        return ""
    length = int(abs(residual_ms) / waiting.period_ms) + 2
    return f"; or, if the stamps are right and {late.value} images only come that late, sync.queue to {length}"


def _newest(sync: SyncState) -> str:
    def show(stamp_ns: int) -> str:
        return datetime.fromtimestamp(stamp_ns / 1e9, timezone.utc).isoformat(" ", "milliseconds")

    return ", ".join(f"{source.value} {show(camera.newest_ns)}" for source, camera in sync.cameras.items())
