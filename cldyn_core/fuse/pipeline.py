"""Reading, fusing and writing side by side: what a worker does with one piece. At most DEPTH frames wait on a side."""

from __future__ import annotations

import os
import statistics
import time
from array import array
from collections import Counter, deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field, replace

from cldyn_core.engine import FusionEngine
from cldyn_core.engine.thermal import ThermalRange
from cldyn_core.fuse.outputs import Output
from cldyn_core.fuse.sources import Frame, FrameSequence, Load
from cldyn_core.types import EngineSettings, FramePair, StepResult

THREADS = min(4, os.cpu_count() or 1)
"""That read images, and as many that write them."""
DEPTH = 2 * THREADS + 2
"""Frames read ahead; as many wait to be written."""

Watch = Callable[[str, str], None]
"""Called after each frame with its name and why it failed, "" if it did not."""


def unwatched(_name: str, _reason: str) -> None:
    """A Watch that does nothing."""


@dataclass
class Outcome:
    """What became of the pairs of one piece, or of several."""

    done: int = 0
    """Frames, fused or failed."""
    fused: int = 0
    failures: dict[str, str] = field(default_factory=dict)
    """Name of the pair -> why it was not fused, or fused without the task's feedback."""
    left_out: Counter[str] = field(default_factory=Counter)
    """Images in no pair, by reason."""
    recorded_s: float = 0.0
    """Time that the fused frames took when they were recorded; 0 where the source does not say."""
    laps: dict[str, array[float]] = field(default_factory=dict)
    """Milliseconds of every frame by stage."""
    started: float = 0.0
    """Seconds since the epoch, after the engine was loaded; 0 before."""
    ended: float = 0.0
    engine: dict[str, str] = field(default_factory=dict)
    """What the engine says of itself."""

    def add(self, other: Outcome) -> None:
        """Take in the outcome of another piece."""
        self.done += other.done
        self.fused += other.fused
        self.failures |= other.failures
        self.left_out += other.left_out
        self.recorded_s += other.recorded_s
        for stage, times in other.laps.items():
            self.laps.setdefault(stage, array("f")).extend(times)
        self.started = min(filter(None, (self.started, other.started)), default=0.0)
        self.ended = max(self.ended, other.ended)
        self.engine = self.engine or other.engine

    def count(self, name: str, result: StepResult | None, reason: str) -> None:
        """One more frame is done; without a result it failed. reason: what went wrong."""
        self.done += 1
        if reason:
            self.failures[name] = reason
        if result is not None:
            self.fused += 1
            for stage, milliseconds in result.timings_ms.items():
                self.laps.setdefault(stage, array("f")).append(milliseconds)

    def median_ms(self) -> dict[str, float]:
        """By stage, in their order."""
        return {stage: round(statistics.median(times), 2) for stage, times in self.laps.items()}

    @property
    def seconds(self) -> float:
        """From the first frame to the last."""
        return self.ended - self.started


class Worker:
    """Fuses pieces, one after the other. Independent pairs share an engine; a sequence gets one of its own."""

    def __init__(self, settings: EngineSettings, stopped: Callable[[], bool] = lambda: False) -> None:
        """stopped: looked at before each frame; raises KeyboardInterrupt in `run` once it is true."""
        self._settings, self._stopped = settings, stopped
        self._engine: FusionEngine | None = None

    def run(self, sequence: FrameSequence, output: Output, outcome: Outcome, watch: Watch = unwatched) -> None:
        """Fuse one piece and count in `outcome`. Raises ValueError and OSError when the run cannot go on."""
        engine = self._engine_for(sequence)
        part = Outcome(started=time.time(), engine=dict(engine.describe()))
        try:
            with _Writer(output, sequence, part, watch) as writer:
                self._fuse(engine, sequence, writer, part)
        finally:
            if engine is not self._engine:
                engine.close()
            part.ended = time.time()
            part.left_out += Counter(sequence.left_out())
            part.recorded_s = part.recorded_s or part.fused / (sequence.rate or float("inf"))
            outcome.add(part)

    def _engine_for(self, sequence: FrameSequence) -> FusionEngine:
        if self._engine is not None and sequence.independent:
            return self._engine
        if self._engine is not None:
            self._engine.close()
        engine = FusionEngine(self._settings)
        self._engine = engine if sequence.independent else None
        return engine

    def _fuse(self, engine: FusionEngine, sequence: FrameSequence, writer: _Writer, outcome: Outcome) -> None:
        step = _independent_step if sequence.independent else FusionEngine.step
        span = _Span()
        for frame in read_ahead(sequence.loads(), THREADS if sequence.parallel else 1):
            if self._stopped():
                raise KeyboardInterrupt
            if frame.pair is None:
                writer.fail(frame, frame.error)
                continue
            try:
                result = step(engine, frame.pair)
            except (ValueError, MemoryError, FloatingPointError) as error:
                writer.fail(frame, str(error))
                continue
            writer.put(frame, result)
            span.add(frame.pair.stamp_ns)
        outcome.recorded_s = span.seconds


class _Span:
    """Time between the stamps of frames, with the last one's share."""

    def __init__(self) -> None:
        self._count, self._first, self._last = 0, 0, 0

    def add(self, stamp_ns: int) -> None:
        if stamp_ns:
            self._first = self._first or stamp_ns
            self._last = stamp_ns
            self._count += 1

    @property
    def seconds(self) -> float:
        return 1e-9 * (self._last - self._first) * self._count / (self._count - 1) if self._count > 1 else 0.0


class _Writer:
    """Writes behind: at most DEPTH results wait. Leaving it waits for them and closes the sink, or aborts it.

    An output of one file is opened, written and closed by one thread: SQLite insists.
    """

    def __init__(self, output: Output, sequence: FrameSequence, outcome: Outcome, watch: Watch) -> None:
        self._outcome, self._watch = outcome, watch
        self._pool = ThreadPoolExecutor(1 if output.whole else THREADS, "write")
        self._waiting: deque[tuple[Frame, StepResult, Future[None]]] = deque()
        self._sink = self._pool.submit(output.open, sequence).result()

    def put(self, frame: Frame, result: StepResult) -> None:
        """Raises OSError when an earlier result could not be written."""
        self._waiting.append((frame, result, self._pool.submit(self._sink.write, frame, result)))
        while len(self._waiting) > DEPTH or (self._waiting and self._waiting[0][2].done()):
            self._settle()

    def fail(self, frame: Frame, reason: str) -> None:
        """Count a frame that was not fused."""
        self._count(frame, None, reason)

    def _settle(self) -> None:
        frame, result, written = self._waiting[0]
        reason = f"fused without the task's feedback: {result.error}" if result.error else ""
        try:
            written.result()  # Ctrl-C while it waits: the frame is still there to be counted at the end
        except ValueError as error:
            self._waiting.popleft()
            self._count(frame, None, str(error))
            return
        except OSError:
            self._waiting.popleft()
            raise
        self._waiting.popleft()
        self._count(frame, result, reason)

    def _count(self, frame: Frame, result: StepResult | None, reason: str) -> None:
        self._outcome.count(frame.name, result, reason)
        self._watch(frame.name, reason)

    def __enter__(self) -> _Writer:
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        end = self._sink.abort
        try:
            while self._waiting:
                self._settle()
            if kind is None:
                self._pool.submit(self._sink.close).result()
                end = _nothing
        finally:
            self._pool.submit(end).result()
            self._pool.shutdown()


def _nothing() -> None:
    """The sink is closed."""


def read_ahead(loads: Iterator[Load], threads: int) -> Iterator[Frame]:
    """Frames in order, up to DEPTH of them read before they are asked for; ends with the first None."""
    pool = ThreadPoolExecutor(threads, "read")
    waiting: deque[Future[Frame | None]] = deque()
    try:
        for load in loads:
            waiting.append(pool.submit(load))
            if len(waiting) >= DEPTH:
                if (frame := waiting.popleft().result()) is None:
                    return
                yield frame
        while waiting and (frame := waiting.popleft().result()) is not None:
            yield frame
    finally:
        pool.shutdown(cancel_futures=True)


def _independent_step(engine: FusionEngine, pair: FramePair) -> StepResult:
    """Fuse a pair as if it were the only one: its thermal range is its own, not smoothed over its neighbors."""
    settings = replace(engine.settings, thermal_range="auto")
    if pair.infrared.dtype != "uint8":
        settings = replace(settings, thermal_range="fixed", thermal_limits=(0.0, 1.0))
        pair = replace(pair, infrared=ThermalRange().normalize(pair.infrared))
    if settings != engine.settings:
        engine.apply(settings)
    return engine.step(pair)
