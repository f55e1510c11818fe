"""Watches stamps, pairs and the node's clock, so that diagnostics can say why there are no pairs."""

from __future__ import annotations

import time
from typing import Any

from rclpy.node import Node

from cldyn_ros.explain import SyncState
from cldyn_ros.filters import Pairer
from cldyn_ros.params import NodeParams
from cldyn_ros.sync import Counts, Source
from cldyn_ros.timing import Timing

_CLOCK_PATIENCE_S = 1.0


class SyncWatch:
    """What ActiveFusion sees of time; all methods are for the executor thread."""

    def __init__(self, node: Node, pairer: Pairer[Any]) -> None:
        self._node, self._pairer = node, pairer
        self._timing = Timing()
        self._at_pair = {source: Counts() for source in Source}
        self._clock_ns, self._clock_moved = -1, time.monotonic()

    def arrived(self, source: Source, stamp_ns: int, received: float) -> None:
        """An image with this stamp came; `received`: monotonic seconds."""
        age_ns = self._node.get_clock().now().nanoseconds - stamp_ns
        self._timing.add(source, stamp_ns, round(received * 1e9), age_ns)

    def paired(self) -> None:
        """A pair was made."""
        for source in Source:
            counts = self._pairer.counts(source)
            self._at_pair[source] = Counts(offered=counts.offered, dropped=counts.dropped.copy())

    def tick(self) -> None:
        """Look at the clock; called several times a second."""
        now_ns = self._node.get_clock().now().nanoseconds
        if now_ns != self._clock_ns:
            self._clock_ns, self._clock_moved = now_ns, time.monotonic()

    def state(self, params: NodeParams) -> SyncState:
        """Everything that is known now."""
        miss = self._pairer.last_miss_ns
        return SyncState(
            tolerance_ms=params.tolerance_ns / 1e6,
            counts={source: self._pairer.counts(source) for source in Source},
            last_miss_ms=None if miss is None else miss / 1e6,
            since_pair={source: self._since_pair(source) for source in Source},
            offset_ms=params.sync_infrared_offset_ms,
            queue=params.sync_queue,
            exact=params.sync_policy == "exact",
            by_arrival=params.sync_stamp == "arrival",
            cameras={source: camera for source in Source if (camera := self._timing.camera(source)) is not None},
            lag=self._timing.lag(),
            clock_fault=self._clock_fault(),
        )

    def _since_pair(self, source: Source) -> Counts:
        now, then = self._pairer.counts(source), self._at_pair[source]
        return Counts(offered=now.offered - then.offered, dropped=now.dropped - then.dropped)

    def _clock_fault(self) -> str:
        if not self._node.get_parameter("use_sim_time").value:
            return ""
        if not self._node.count_publishers("/clock"):
            return "use_sim_time is true, but nothing publishes /clock"
        if time.monotonic() - self._clock_moved > _CLOCK_PATIENCE_S:
            return f"use_sim_time is true, but /clock stands still at {self._clock_ns / 1e9:.3f} s"
        return ""
