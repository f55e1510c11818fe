"""One frame's job, and what its status message and caption say."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from numpy.typing import NDArray
from std_msgs.msg import Header

from cldyn_core.types import Detections, FramePair, StepResult
from cldyn_ros.health import Level, Report
from cldyn_ros.stamps import stamp_ns
from cldyn_ros.sync import Counts, Source


@dataclass(frozen=True)
class Shot:
    """One converted image, its header, and when it arrived (monotonic seconds)."""

    header: Header
    image: NDArray[Any]
    received: float

    @property
    def stamp_ns(self) -> int:
        """Stamp of the header in nanoseconds."""
        return stamp_ns(self.header)


@dataclass(frozen=True)
class Job:
    """A pair to fuse, or one image that goes out alone (`sync.on_missing`)."""

    visible: Shot | None = None
    infrared: Shot | None = None
    gap_ms: float | None = None

    @property
    def header(self) -> Header:
        """Of the visible image; of the infrared one when that is alone."""
        shot = self.visible or self.infrared
        assert shot is not None, "a job has at least one image"
        return shot.header

    @property
    def pair(self) -> FramePair | None:
        """What the engine fuses; None for one image alone."""
        if self.visible is None or self.infrared is None:
            return None
        return FramePair(self.visible.image, self.infrared.image, self.visible.stamp_ns)

    @property
    def received(self) -> float:
        """When the later image arrived."""
        return max(shot.received for shot in (self.visible, self.infrared) if shot is not None)

    def mode(self, result: StepResult) -> str:
        """Loop mode, or which camera is shown alone."""
        if self.visible is None:
            return "infrared only"
        return "visible only" if self.infrared is None else result.mode.value


def frame_report(
    result: StepResult,
    job: Job,
    number: int,
    total_ms: float,
    counts: Mapping[Source, Counts],
    events: Mapping[str, int],
) -> Report:
    """Content of ~/status: how this frame came about, and what was dropped before it since activation."""
    values = {
        "frame": str(number),
        "task": result.task.value,
        "mode": job.mode(result),
        "plan": result.plan.describe() if result.plan is not None else "",
        "plan_age": str(result.plan_age),
        **{f"{stage} ms": f"{value:.2f}" for stage, value in result.timings_ms.items()},
        "total ms": f"{total_ms:.2f}",
        **{f"noise {of}": f"{level:.1f}" for of, level in zip(("visible", "infrared"), result.noise, strict=True)},
        "pair gap ms": "" if job.gap_ms is None else f"{job.gap_ms:.3f}",
        **{
            f"{source.value} dropped {reason.value}": str(dropped)
            for source, count in counts.items()
            for reason, dropped in sorted(count.dropped.copy().items())
        },
        **{event: str(n) for event, n in events.items()},
        "error": result.error,
    }
    message = result.error or f"task {result.task.value}, {values['mode']}"
    return Report("frame", Level.WARN if result.error else Level.OK, message, values)


def caption(result: StepResult, job: Job, rate_hz: float) -> str:
    """The line below the overlay."""
    parts = [result.task.value, job.mode(result)]
    if rate_hz:
        parts.append(f"{rate_hz:.1f} Hz")
    if result.timings_ms:
        parts.append(f"{sum(result.timings_ms.values()):.0f} ms")
    if isinstance(result.output, Detections):
        parts.append(f"{len(result.output.boxes)} found")
    return " | ".join(parts) + (f" | {result.error}" if result.error else "")
