"""Counters, rates and latencies of the node, and what diagnostics say of them. Plain data, no ROS types.

All methods may be called from any thread.
"""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from enum import IntEnum

from cldyn_ros.explain import SyncState, explain_no_match, lag_hint
from cldyn_ros.meters import Rate, Window
from cldyn_ros.sync import Counts, Source

ALARM_FAILURES = 3
"""So many pairs in a row without a fused image are an error, not an accident."""
HANG_S = 60.0
"""Without a fused image for this long, although pairs come, the engine is taken to hang."""


class Level(IntEnum):
    """Values of diagnostic_msgs/DiagnosticStatus.level."""

    OK = 0
    WARN = 1
    ERROR = 2


@dataclass(frozen=True)
class Report:
    """Content of one DiagnosticStatus."""

    name: str
    level: Level
    message: str
    values: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class InputState:
    """What the ROS graph says of one input."""

    topic: str
    publishers: int
    incompatible_qos: bool = False
    other_type: str = ""
    """What is published there instead of the type that is subscribed."""


@dataclass
class _Input:
    rate: Rate = field(default_factory=Rate)
    received: int = 0
    passed_over: int = 0
    refused: int = 0
    last_error: str = ""
    suspicion: str = ""
    last_good: float | None = None


class Health:
    """What happened since activation."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        self._started = clock()
        self._inputs = {source: _Input() for source in Source}
        self._fused_rate = Rate()
        self._fused = 0
        self._failed_in_a_row = 0
        self._last_fused: float | None = None
        self._events: Counter[str] = Counter()
        self._last_error = self._without_task = ""
        self._misregistration = self._misregistered = ""
        self._last_pair: float | None = None
        self._pause, self._pause_level = "", Level.OK
        self._latency: dict[str, Window] = {}
        self._gap = Window()

    def received(self, source: Source, error: str = "", suspicion: str = "") -> None:
        """An image arrived; `error` is the converter's reason when it was refused, `suspicion` what looks wrong."""
        with self._lock:
            state = self._inputs[source]
            state.received += 1
            state.rate.add(self._clock())
            if error:
                state.refused += 1
                state.last_error = error
            else:
                state.last_good, state.suspicion = self._clock(), suspicion

    def passed_over(self, source: Source) -> None:
        """An image arrived during a pause."""
        self.received(source)
        with self._lock:
            self._inputs[source].passed_over += 1

    def pause(self, reason: str, level: Level = Level.OK) -> bool:
        """No frame is to be fused, and why; "" goes on, with all patience anew. True if that is a change."""
        with self._lock:
            changed = reason != self._pause
            self._pause, self._pause_level = reason, level
            if changed and not reason:
                self._started, self._failed_in_a_row = self._clock(), 0
                self._last_pair = self._last_fused = None
            return changed

    def paired(self, gap_ms: float) -> None:
        """A pair was made."""
        with self._lock:
            self._last_pair = self._clock()
            self._gap.add(abs(gap_ms))

    def count(self, event: str, error: str = "") -> None:
        """Count a named event ("superseded", "task errors" ...)."""
        with self._lock:
            self._events[event] += 1
            self._last_error = error or self._last_error

    def failed(self, event: str, error: str) -> None:
        """Count a named event that cost a pair its fused image ("failures", "refused by engine")."""
        self.count(event, error)
        with self._lock:
            self._failed_in_a_row += 1

    def fused(self, timings_ms: Mapping[str, float], total_ms: float, error: str = "") -> int:
        """A fused image was published; `error` is why without the task's feedback. Returns its number, from 1."""
        with self._lock:
            self._fused += 1
            self._without_task = error
            self._failed_in_a_row = 0
            self._last_fused = self._clock()
            self._fused_rate.add(self._clock())
            for stage, value in (*timings_ms.items(), ("total", total_ms)):
                self._latency.setdefault(stage, Window()).add(value)
            return self._fused

    def registered(self, misregistration: str, warning: str) -> None:
        """How far the infrared images lie beside the visible ones, and what is wrong with that; "" where nothing is."""
        with self._lock:
            self._misregistration, self._misregistered = misregistration, warning

    def fused_rate(self) -> float:
        """Fused images per second."""
        with self._lock:
            return self._fused_rate.hertz(self._clock())

    def events(self) -> dict[str, int]:
        """Counted events by name."""
        with self._lock:
            return dict(self._events)

    def silent(self, source: Source, timeout_ms: float) -> bool:
        """True if the camera has not delivered one usable image for that long."""
        with self._lock:
            return self._silence_s(source) * 1e3 > timeout_ms

    def starving(self, timeout_ms: float) -> bool:
        """True without a pair for `timeout_ms`; not in a pause."""
        with self._lock:
            return not self._pause and self._waited_s() * 1e3 > timeout_ms

    def starvation(self, timeout_ms: float, inputs: Mapping[Source, InputState], sync: SyncState) -> str:
        """Why there was no pair for `timeout_ms`: the missing camera, counts, likely cause. "" if there was one."""
        with self._lock:
            waited = self._waited_s()
            if self._pause or waited * 1e3 <= timeout_ms:
                return ""
            missing = [s for s in Source if self._silence_s(s) * 1e3 > timeout_ms]
            causes = [f"{s.value} missing: {self._explain(s, inputs[s])}" for s in missing]
        if not missing:
            causes = [explain_no_match(sync)]
        causes += [sync.clock_fault] if sync.clock_fault else []
        since = " and ".join(_counted(source, counts) for source, counts in sync.since_pair.items())
        return f"no pair for {waited:.1f} s; " + "; ".join(causes) + (f"; since then {since}" if since else "")

    def reports(
        self, starvation: str, inputs: Mapping[Source, InputState], sync: SyncState, engine: Mapping[str, str]
    ) -> list[Report]:
        """Everything for /diagnostics: one report for each camera, the fusion and the engine."""
        with self._lock:
            now = self._clock()
            reports = [self._input_report(s, inputs[s], sync, now) for s in Source]
            reports.append(self._fusion_report(starvation, sync, now))
        return [*reports, Report("engine", Level.OK, "loaded", dict(engine))]

    def _waited_s(self) -> float:
        return self._clock() - (self._started if self._last_pair is None else self._last_pair)

    def _silence_s(self, source: Source) -> float:
        last = self._inputs[source].last_good
        return self._clock() - (self._started if last is None else last)

    def _explain(self, source: Source, graph: InputState) -> str:
        state = self._inputs[source]
        if graph.publishers == 0:
            return f"no publisher on {graph.topic} ({state.received} frames received so far)"
        if graph.other_type:
            return f"{graph.topic} is published as {graph.other_type} (image_transport, or another topic)"
        if graph.incompatible_qos:
            return f"{graph.topic} is published best effort, the subscription asks for reliable (qos.reliability)"
        if state.last_error:
            return f"{state.refused} of {state.received} frames of {graph.topic} were refused, last: {state.last_error}"
        if state.received:
            silence = f"no frame came for {self._silence_s(source):.1f} s ({state.received} received before)"
            return f"{graph.topic} has a publisher, but {silence}"
        return (
            f"{graph.topic} has {graph.publishers} publisher(s), but no frame arrived; large best-effort images need "
            "a publisher with a larger shared-memory segment"
        )

    def _input_report(self, source: Source, graph: InputState, sync: SyncState, now: float) -> Report:
        state, counts, camera = self._inputs[source], sync.counts[source], sync.cameras.get(source)
        values = {
            "topic": graph.topic,
            "publishers": str(graph.publishers),
            "rate Hz": f"{state.rate.hertz(now):.1f}",
            "received": str(state.received),
            "passed over": str(state.passed_over),
            "refused by converter": str(state.refused),
            "last converter error": state.last_error,
            "paired": str(counts.paired),
            **({"stamp age ms": f"{camera.age_ms:.0f}"} if camera is not None else {}),
            **{f"dropped {reason.value}": str(n) for reason, n in sorted(counts.dropped.items())},
        }
        if state.last_good is None or self._silence_s(source) > 1.0:
            return Report(f"{source.value} input", Level.WARN, self._explain(source, graph), values)
        if state.suspicion:
            return Report(f"{source.value} input", Level.WARN, state.suspicion, values)
        return Report(f"{source.value} input", Level.OK, "receiving", values)

    def _fusion_report(self, starvation: str, sync: SyncState, now: float) -> Report:
        values = {"fused": str(self._fused), "rate Hz": f"{self._fused_rate.hertz(now):.1f}"}
        for percent in (50, 95):
            values |= {
                f"{stage} p{percent} ms": f"{window.percentile(percent):.1f}" for stage, window in self._latency.items()
            }
            gap = self._gap.percentile(percent)
            values |= {f"pair gap p{percent} ms": f"{gap:.1f}"} if gap is not None else {}
        values |= {event: str(n) for event, n in sorted(self._events.items())}
        values |= {} if sync.lag is None else {"infrared stamp lag ms": f"{sync.lag.ms:.1f}"}
        values |= {"misregistration px": self._misregistration} if self._misregistration else {}
        values["last error"] = self._last_error
        if self._pause:
            return Report("fusion", self._pause_level, self._pause, values)
        if fault := starvation or self._stall(now):
            return Report("fusion", Level.ERROR, fault, values)
        if sync.clock_fault:
            return Report("fusion", Level.WARN, sync.clock_fault, values)
        if self._without_task:
            return Report("fusion", Level.WARN, f"fusing without the task's feedback: {self._without_task}", values)
        if self._misregistered:
            return Report("fusion", Level.WARN, self._misregistered, values)
        state = "fusing" if self._fused else "waiting for the first pair"
        hint = lag_hint(sync)
        return Report("fusion", Level.OK, f"{state}; {hint}" if hint else state, values)

    def _stall(self, now: float) -> str:
        """Why pairs give no fused images; "" while they do."""
        if self._failed_in_a_row >= ALARM_FAILURES:
            return f"the last {self._failed_in_a_row} pairs failed: {self._last_error}"
        silence = now - (self._started if self._last_fused is None else self._last_fused)
        if self._last_pair is not None and silence > HANG_S and now - self._last_pair < HANG_S:
            return f"pairs come, but none was fused for {silence:.0f} s: the engine hangs, or is far too slow"
        return ""


def _counted(source: Source, counts: Counts) -> str:
    """How many images of a camera came, and where they went."""
    drops = ", ".join(f"{n} {reason.value}" for reason, n in sorted(counts.dropped.items()))
    return f"{counts.offered} {source.value} images" + (f" ({drops})" if drops else "")
