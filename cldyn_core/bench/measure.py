"""What a benchmark is made of: the sides at each size, in turns, and one document of their figures."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import torch

from cldyn_core import tasks
from cldyn_core.bench.laps import Job
from cldyn_core.bench.machine import hardware, versions
from cldyn_core.bench.results import EAGER, PROBE, REFERENCE, SizeResult
from cldyn_core.bench.rounds import Record, take_turns
from cldyn_core.bench.sides import EngineSide, ProbeSide, ReferenceSide
from cldyn_core.bench.subject import write_subject
from cldyn_core.engine import resolve_device
from cldyn_core.engine.executors import choose
from cldyn_core.environment import environment
from cldyn_core.types import Backend, Precision, Task

_PRECISIONS = [precision for precision in Precision if precision is not Precision.AUTO]
_NOTES = (
    "reference: the paper's order in eager torch fp32 with glibc's own allocator (cldyn_core/bench/reference_loop.py).",
    "weights: the bundled fusion network with a random compensation, so that nothing is skipped; images: a rendered"
    " street.",
)
Sides = dict[str, tuple[Any, Job]]


@dataclass(frozen=True)
class Wishes:
    """What `cldyn bench` was told."""

    sizes: Sequence[tuple[int, int]]
    """(width, height) each."""
    backends: Sequence[Backend]
    task: Task
    """Closes the whole loop; none: fusion alone is measured."""
    period: int
    """Frames that a stream holds its plan, for the average frame."""
    seconds: float
    """A size may take, with the start of its processes; more where `rounds` need it."""
    rounds: int
    """At least, after the warm-up."""
    threads: int
    device: str

    def __post_init__(self) -> None:
        """Raises ValueError for a number that is out of its range."""
        for name in ("period", "rounds", "threads"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be at least 1, not {getattr(self, name)}")


def measure(wishes: Wishes, progress: Callable[[str], None]) -> dict[str, Any]:
    """Where, what, and the figures of every size, as plain data (bench/README.md explains it).

    progress: told one line at a time. Raises ValueError for an unknown device, RuntimeError naming a side that fails.
    """
    device = resolve_device(wishes.device)
    left_out: dict[str, str] = {}
    task = wishes.task
    if reason := tasks.explain(task):
        task, left_out["whole loop"] = Task.NONE, reason
    results = {}
    with tempfile.TemporaryDirectory() as folder:
        weights = Path(folder) / "bench.safetensors"
        write_subject(weights)
        for width, height in wishes.sizes:
            job = Job(str(weights), width, height, task, str(device), wishes.threads)
            progress(f"{width}x{height}: starting")
            sides = _sides(job, wishes.backends, left_out)
            records = _named(take_turns(sides, wishes.seconds, wishes.rounds, progress))
            left_out |= {name: record.unavailable for name, record in records.items() if record.unavailable}
            results[f"{width}x{height}"] = SizeResult(
                records, width * height, wishes.period, "fp16" if device.type == "cuda" else "fp32"
            ).as_json()
    return {
        "date": datetime.now(timezone.utc).strftime("%Y-%m-%d %H:%M UTC"),
        "commit": environment()["commit"],
        "hardware": hardware(),
        "versions": versions(),
        "conditions": {
            "threads": wishes.threads,
            "device": str(device),
            "task": task.value,
            "period": wishes.period,
            "sizes": list(results),
        },
        "notes": list(_NOTES),
        "left_out": left_out,
        "ratios": next(iter(results.values()))["ratios"],
        "sizes": results,
    }


def _sides(job: Job, backends: Sequence[Backend], left_out: dict[str, str]) -> Sides:
    """The reference, the machine, and the engines that were asked for; eager torch is always there to compare with.

    left_out: told what cannot run here.
    """
    sides: Sides = {REFERENCE: (ReferenceSide, job), PROBE: (ProbeSide, job)}
    for backend in backends:
        for precision in [Precision.AUTO] if backend is Backend.AUTO else _PRECISIONS:
            name = backend.value if backend is Backend.AUTO else f"{backend.value} {precision.value}"
            if reason := _unavailable(backend, precision, torch.device(job.device)):
                left_out[name] = reason
            else:
                sides[name] = EngineSide, replace(job, backend=backend, precision=precision)
    eager = replace(job, task=Task.NONE, backend=Backend.TORCH, precision=Precision.FP32, ways=("stream_held",))
    sides.setdefault(EAGER, (EngineSide, eager))
    return sides


def _unavailable(backend: Backend, precision: Precision, device: torch.device) -> str:
    if backend is Backend.AUTO:
        return ""
    kind, reason = choose._class_of(backend)
    return reason or kind.unavailable(device, precision)


def _named(records: dict[str, Record]) -> dict[str, Record]:
    """The automatic engine under the name of what it turned out to be."""
    automatic = records.pop(Backend.AUTO.value, None)
    if automatic is not None:
        records["{backend} {precision}".format(**automatic.facts)] = automatic
    return records
