"""The pairer of `sync.policy`: nearest and exact are built in, approximate is message_filters, where installed."""

from __future__ import annotations

import importlib
from dataclasses import dataclass
from typing import Any, Generic, Protocol, TypeVar

from builtin_interfaces.msg import Time
from std_msgs.msg import Header

from cldyn_ros.params import NodeParams
from cldyn_ros.sync import Counts, Frame, NearestPairer, Pair, Source

T = TypeVar("T")

_BACKWARD_NS = 1_000_000_000


class Pairer(Protocol[T]):
    """What the node asks of any policy; see NearestPairer for the meaning."""

    tolerance_ns: int
    infrared_offset_ns: int
    last_miss_ns: int | None

    def counts(self, source: Source) -> Counts:
        """Live counters of one camera."""

    def offer(self, source: Source, stamp_ns: int, payload: T) -> list[Pair[T]]:
        """Take one frame; return the pairs it settles."""

    def flush(self) -> list[Pair[T]]:
        """Decide about what waits as if nothing more would come."""

    def take_newest(self, source: Source) -> Frame[T] | None:
        """The newest waiting frame, alone."""


def make_pairer(params: NodeParams) -> Pairer[Any]:
    """The pairer of `sync.policy`. Raises ValueError when message_filters is needed and cannot be imported."""
    asked = params.tolerance_ns, params.infrared_offset_ns, params.sync_queue
    if params.sync_policy != "approximate":
        return NearestPairer(*asked)
    try:
        importlib.import_module("message_filters")
    except ImportError as error:
        raise ValueError(
            f"sync.policy {params.sync_policy!r} needs message_filters ({error}): "
            "apt install ros-$ROS_DISTRO-message-filters, or use sync.policy 'nearest'"
        ) from error
    return FilterPairer(*asked)


@dataclass
class _Stamped(Generic[T]):
    """What message_filters wants of a message: a header. Its stamp has the offset applied."""

    header: Header
    frame: Frame[T]


class FilterPairer(Generic[T]):
    """ApproximateTimeSynchronizer as a Pairer. It does not tell which frames it dropped, nor why."""

    def __init__(self, tolerance_ns: int, infrared_offset_ns: int, queue: int) -> None:
        self.tolerance_ns, self.infrared_offset_ns = tolerance_ns, infrared_offset_ns
        self.last_miss_ns: int | None = None
        self._queue = queue
        self._counts = {source: Counts() for source in Source}
        self._newest: dict[Source, int] = {}
        self._last: dict[Source, Frame[T]] = {}
        self._pairs: list[Pair[T]] = []
        self._restart()

    def counts(self, source: Source) -> Counts:
        """Offered and paired frames; drops are not known."""
        return self._counts[source]

    def offer(self, source: Source, stamp_ns: int, payload: T) -> list[Pair[T]]:
        """Take one frame; return the pairs it settles."""
        self._counts[source].offered += 1
        jumped = stamp_ns < self._newest.get(source, stamp_ns) - _BACKWARD_NS
        if jumped or self.tolerance_ns != self._built_tolerance_ns:
            self._restart()  # after a bag loop message_filters never pairs again
        self._newest[source] = stamp_ns
        frame = self._last[source] = Frame(stamp_ns, payload)
        shifted = max(0, stamp_ns + (self.infrared_offset_ns if source is Source.INFRARED else 0))
        stamp = Time(sec=shifted // 1_000_000_000, nanosec=shifted % 1_000_000_000)
        self._inputs[source].signalMessage(_Stamped(Header(stamp=stamp), frame))
        pairs, self._pairs = self._pairs, []
        return pairs

    def flush(self) -> list[Pair[T]]:
        """Nothing to decide: message_filters keeps its own queue."""
        return []

    def take_newest(self, source: Source) -> Frame[T] | None:
        """The last frame of the camera, alone."""
        frame = self._last.pop(source, None)
        self._counts[source].alone += frame is not None
        return frame

    def _restart(self) -> None:
        filters: Any = importlib.import_module("message_filters")
        self._inputs = {source: filters.SimpleFilter() for source in Source}
        inputs = [self._inputs[Source.VISIBLE], self._inputs[Source.INFRARED]]
        synchronizer = filters.ApproximateTimeSynchronizer(inputs, self._queue, self.tolerance_ns / 1e9)
        synchronizer.registerCallback(self._on_pair)
        self._synchronizer = synchronizer
        self._built_tolerance_ns = self.tolerance_ns
        self._newest.clear()

    def _on_pair(self, visible: _Stamped[T], infrared: _Stamped[T]) -> None:
        v, i = visible.frame, infrared.frame
        for source in Source:
            self._counts[source].paired += 1
            self._last.pop(source, None)
        self._pairs.append(Pair(v, i, i.stamp_ns + self.infrared_offset_ns - v.stamp_ns))
