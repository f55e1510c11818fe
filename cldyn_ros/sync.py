"""Pairs two stamped streams. Pure Python: no ROS types, no clocks, only the stamps of the frames.

The rule is closest first: of all neighboring (visible, infrared) frames the pair with the smallest gap is made, then
the next smallest among what is left, up to the tolerance. Each frame is used at most once, so cameras at different
rates give pairs at the rate of the slower one, each with the nearest frame of the faster; what is left of the faster
stream is dropped as `surplus`. One infrared frame never serves several visible ones: every fused image shows a fresh
moment of both cameras.

`NearestPairer` decides this online. It waits for a frame that has not arrived only while that frame could still be
nearer and is due by the measured rate of its camera, so synchronized cameras are paired at once.
"""

from __future__ import annotations

from collections import Counter, deque
from dataclasses import dataclass, field
from enum import Enum
from typing import Generic, TypeVar

T = TypeVar("T")


class Source(str, Enum):
    """The two cameras."""

    VISIBLE = "visible"
    INFRARED = "infrared"

    @property
    def other(self) -> Source:
        """The camera this one is paired with."""
        return Source.INFRARED if self is Source.VISIBLE else Source.VISIBLE


class Reason(str, Enum):
    """Why a frame was dropped. The value is what status and diagnostics show."""

    UNMATCHED = "unmatched"
    """No frame of the other camera within the tolerance."""
    SURPLUS = "surplus"
    """A neighbor of the same camera was nearer to the only candidate; normal when the rates differ."""
    DUPLICATE = "duplicate"
    """Same stamp as the frame before it."""
    OUT_OF_ORDER = "out_of_order"
    """Older than a frame already received."""
    NO_STAMP = "no_stamp"
    """Stamp 0: the driver does not stamp its images."""
    RESET = "reset"
    """Waiting while time jumped back (bag loop, clock reset)."""


@dataclass(frozen=True)
class Frame(Generic[T]):
    """One received image: its stamp in nanoseconds and whatever travels with it."""

    stamp_ns: int
    payload: T


@dataclass(frozen=True)
class Pair(Generic[T]):
    """Two frames of one moment. `gap_ns` is infrared (offset applied) minus visible."""

    visible: Frame[T]
    infrared: Frame[T]
    gap_ns: int


@dataclass
class Counts:
    """Where the frames of one camera went: offered = paired + alone + sum(dropped) + waiting."""

    offered: int = 0
    paired: int = 0
    alone: int = 0
    """Handed out without a partner by `take_newest`."""
    dropped: Counter[Reason] = field(default_factory=Counter)


@dataclass
class _Stream(Generic[T]):
    """What is known of one camera. Times here are raw stamps; the infrared offset is added when they are compared."""

    offset_ns: int = 0
    queue: deque[Frame[T]] = field(default_factory=deque)
    counts: Counts = field(default_factory=Counts)
    newest_ns: int | None = None
    newest_late_ns: int = 0
    late_streak: int = 0
    intervals: deque[int] = field(default_factory=lambda: deque(maxlen=17))
    accepted: int = 0
    other_accepted: int = 0
    """Frames of the other camera when this one last delivered; their number since then tells that it is overdue."""

    def time(self, index: int) -> int | None:
        return self.queue[index].stamp_ns + self.offset_ns if index < len(self.queue) else None

    @property
    def period_ns(self) -> int | None:
        """Lowest eighth of the last intervals: losses make most of them too long, a glitch one or two too short."""
        return sorted(self.intervals)[len(self.intervals) // 8] if self.intervals else None

    def drop(self, reason: Reason) -> None:
        self.queue.popleft()
        self.counts.dropped[reason] += 1


class NearestPairer(Generic[T]):
    """Closest-first pairing of two streams that may differ in rate, jitter and latency.

    Args:
        tolerance_ns: largest gap of a pair, inclusive. May be changed at any time.
        infrared_offset_ns: added to every infrared stamp before comparing. May be changed at any time.
        queue: most frames of one camera that wait for the other; the oldest is dropped first.
        reset_ns: a stamp that goes back by more than this restarts the pairing; so do three late frames in a row.
    """

    LATE_STREAK = 3

    def __init__(
        self, tolerance_ns: int, infrared_offset_ns: int = 0, queue: int = 10, reset_ns: int = 1_000_000_000
    ) -> None:
        if tolerance_ns < 0 or queue < 1:
            raise ValueError(f"tolerance_ns must be >= 0 and queue >= 1, got {tolerance_ns} and {queue}")
        self.tolerance_ns = tolerance_ns
        self.last_miss_ns: int | None = None
        """Gap to the next frame of the other camera at the last `unmatched` drop: how far apart the stamps are."""
        self._limit = queue
        self._reset_ns = reset_ns
        self._streams: dict[Source, _Stream[T]] = {s: _Stream() for s in Source}
        self.infrared_offset_ns = infrared_offset_ns

    @property
    def infrared_offset_ns(self) -> int:
        """Added to every infrared stamp before comparing."""
        return self._streams[Source.INFRARED].offset_ns

    @infrared_offset_ns.setter
    def infrared_offset_ns(self, value: int) -> None:
        self._streams[Source.INFRARED].offset_ns = value

    def counts(self, source: Source) -> Counts:
        """Live counters of one camera."""
        return self._streams[source].counts

    def waiting(self, source: Source) -> int:
        """Frames of one camera that still wait for a partner."""
        return len(self._streams[source].queue)

    def offer(self, source: Source, stamp_ns: int, payload: T) -> list[Pair[T]]:
        """Take one frame; return the pairs it settles, oldest first (usually none or one)."""
        stream = self._streams[source]
        stream.counts.offered += 1
        reason = self._refuse(stream, stamp_ns)
        if reason is not None:
            stream.counts.dropped[reason] += 1
            return []
        if stream.newest_ns is not None:
            stream.intervals.append(stamp_ns - stream.newest_ns)
        stream.newest_ns = stamp_ns
        stream.accepted += 1
        stream.other_accepted = self._streams[source.other].accepted
        stream.queue.append(Frame(stamp_ns, payload))
        pairs = self._settle()
        if len(stream.queue) > self._limit:
            stream.drop(Reason.UNMATCHED)
            pairs += self._settle()
        return pairs

    def flush(self) -> list[Pair[T]]:
        """Decide about all waiting frames as if nothing more would come. Call it when both cameras are silent."""
        return self._settle(final=True)

    def take_newest(self, source: Source) -> Frame[T] | None:
        """Give up waiting for the other camera: the newest waiting frame, alone; older ones are unmatched."""
        stream = self._streams[source]
        while len(stream.queue) > 1:
            stream.drop(Reason.UNMATCHED)
        if not stream.queue:
            return None
        stream.counts.alone += 1
        return stream.queue.popleft()

    def _refuse(self, stream: _Stream[T], stamp_ns: int) -> Reason | None:
        """Reason to drop a frame on arrival. Resets both streams when time has jumped back."""
        if stamp_ns <= 0:
            return Reason.NO_STAMP
        if stream.newest_ns is None or stamp_ns > stream.newest_ns:
            stream.late_streak = 0
            return None
        if stamp_ns == stream.newest_ns:
            return Reason.DUPLICATE
        stream.late_streak = stream.late_streak + 1 if stamp_ns > stream.newest_late_ns else 1
        stream.newest_late_ns = stamp_ns
        if stream.newest_ns - stamp_ns <= self._reset_ns and stream.late_streak < self.LATE_STREAK:
            return Reason.OUT_OF_ORDER
        self._reset()
        return None

    def _reset(self) -> None:
        for stream in self._streams.values():
            while stream.queue:
                stream.drop(Reason.RESET)
            stream.newest_ns = None
            stream.late_streak = stream.newest_late_ns = 0

    def _settle(self, final: bool = False) -> list[Pair[T]]:
        """Decide about the oldest waiting frame until one has to wait."""
        pairs: list[Pair[T]] = []
        while (oldest := self._oldest()) is not None:
            source, at = oldest
            stream, other = self._streams[source], self._streams[source.other]
            partner = other.time(0)
            wins = self._wins(source, 0, 0, self.tolerance_ns + 1, final)
            if wins:
                pairs.append(self._pop_pair())
            elif partner is not None and wins is None:
                break
            elif partner is not None and partner - at <= self.tolerance_ns:
                stream.drop(Reason.SURPLUS)
            elif partner is None and not final and not self._passed(source.other, at + self.tolerance_ns):
                break
            else:
                self.last_miss_ns = partner - at if partner is not None else self.last_miss_ns
                stream.drop(Reason.UNMATCHED)
        return pairs

    def _wins(self, source: Source, index: int, other_index: int, limit: int, final: bool) -> bool | None:
        """Whether frame `index` of `source` pairs with the next frame of the other camera, at a gap below `limit`.

        It does unless that partner has a still smaller gap to the frame after it, and that pair wins in turn.
        None: a frame that is due may change the answer.
        """
        at = self._streams[source].time(index)
        sibling = self._streams[source].time(index + 1)
        partner = self._streams[source.other].time(other_index)
        assert at is not None, "index of a waiting frame"
        if partner is None:
            due = None if final else self._due(source.other)
            return None if due is not None and due < at + limit and (sibling is None or due < sibling) else False
        if partner - at >= limit or (sibling is not None and sibling <= partner):
            return False
        beaten = self._wins(source.other, other_index, index + 1, partner - at, final)
        return None if beaten is None else not beaten

    def _due(self, source: Source) -> int | None:
        """Earliest likely time of the camera's next frame; None if its rate is unknown or it has fallen silent."""
        stream, other = self._streams[source], self._streams[source.other]
        period = stream.period_ns
        if stream.newest_ns is None or period is None:
            return None
        other_period = other.period_ns or period
        if (other.accepted - stream.other_accepted) * other_period > 2 * max(period, other_period):
            return None
        return stream.newest_ns + stream.offset_ns + period - period // 8  # an eighth of the period for jitter

    def _passed(self, source: Source, time: int) -> bool:
        """True if the camera, in order as it is, can no longer deliver a frame as old as `time`."""
        stream = self._streams[source]
        return stream.newest_ns is not None and stream.newest_ns + stream.offset_ns >= time

    def _oldest(self) -> tuple[Source, int] | None:
        """The camera with the oldest waiting frame, and its time."""
        times = [(time, source) for source in Source if (time := self._streams[source].time(0)) is not None]
        if not times:
            return None
        time, source = min(times, key=lambda item: item[0])
        return source, time

    def _pop_pair(self) -> Pair[T]:
        visible, infrared = self._streams[Source.VISIBLE], self._streams[Source.INFRARED]
        visible.counts.paired += 1
        infrared.counts.paired += 1
        v, i = visible.queue.popleft(), infrared.queue.popleft()
        return Pair(v, i, i.stamp_ns + infrared.offset_ns - v.stamp_ns)
