"""What goes between the processes of a benchmark: what to measure, and what was measured. Plain data."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from cldyn_core.types import Backend, LoopMode, Precision, Task

FUSION, LOOP = "fusion", "loop"
"""Scopes: from two luma tensors to a fused one; from 8-bit images to the bytes of a message, with the task network."""
MODES: Mapping[str, tuple[LoopMode, int]] = {
    "open": (LoopMode.OPEN, 1000),
    "exact": (LoopMode.EXACT, 1000),
    "stream_made": (LoopMode.STREAM, 1),
    "stream_held": (LoopMode.STREAM, 1000),
}
"""What an engine does, with the period that makes it do so: hold the plan on every frame, or plan on every frame."""


class UnavailableError(Exception):
    """A side that cannot run here; the text says why."""


@dataclass(frozen=True)
class Job:
    """What one process measures, as plain data."""

    weights: str
    width: int
    height: int
    task: Task
    """Whose network closes the whole loop; none: fusion alone, with a fixed feature."""
    device: str
    threads: int
    backend: Backend = Backend.AUTO
    precision: Precision = Precision.AUTO
    ways: tuple[str, ...] = tuple(MODES)


@dataclass(frozen=True)
class Lap:
    """One way in one turn: the median frame."""

    scope: str
    way: str
    total_ms: float
    stages_ms: Mapping[str, float]
    """By stage: convert, plan, execute, task, publish; those that ran."""
    frames: int = 1
