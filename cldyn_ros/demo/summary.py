"""The one-page summary, and the list of what the demo promises."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from cldyn_core.types import Task
from cldyn_ros.demo.examine import Evidence, FrameReport
from cldyn_ros.demo.performance import Performance
from cldyn_ros.demo.sheet import COLUMNS

_STAGES = ("prepare", "encode", "first_pass", "requirement", "plan", "execute", "task", "finish", "total")


@dataclass(frozen=True)
class Promise:
    """Something that must have happened."""

    text: str
    kept: bool


def promises(evidence: Evidence, performance: Performance) -> list[Promise]:
    """What the demo promises, and whether it happened."""
    statuses, schedule = evidence.reports, evidence.material.schedule
    stamps = [r.stamp_ns for r in statuses]
    wanted = {t.value for t in schedule}
    switched = len(evidence.switches) == len(schedule) - 1
    return [
        Promise("both processes ended cleanly", set(performance.exit_codes.values()) == {0}),
        Promise("a task that does not exist was refused with the choices", "none" in performance.refused_nonsense),
        Promise(
            "every status belongs to a published fused image", bool(stamps) and set(stamps) == evidence.fused_stamps
        ),
        Promise("stamps are those of the visible images", set(stamps) <= set(evidence.played["/visible/image_raw"])),
        Promise(f"every task ran: {', '.join(sorted(wanted))}", wanted == {r.task for r in statuses}),
        Promise(
            "every switch was accepted and showed",
            switched and all(s.switch.accepted and s.frames_until for s in evidence.switches),
        ),
        Promise("no frame was lost around a switch", switched and all(s.lost == 0 for s in evidence.switches)),
        Promise("no task network failed", not any(r.values["error"] for r in statuses)),
        Promise(
            "all pictures of the sheet were recorded", all(set(COLUMNS) <= set(row.pictures) for row in evidence.rows)
        ),
        *_promises_of_tasks(evidence, wanted - {Task.NONE.value}),
    ]


def _promises_of_tasks(evidence: Evidence, tasks: set[str]) -> list[Promise]:
    """What is promised only where a task network can run."""
    looped = [r for r in evidence.reports if r.task in tasks and not r.values["error"]]
    kept = []
    if tasks:
        planned = bool(looped) and all(r.values["plan"] for r in looped)
        kept.append(Promise("every frame with a task was compensated by a plan", planned))
    if Task.DETECTION.value in tasks:
        kept.append(Promise("detections were published", evidence.published["/cldyn/detections"] > 0))
    return kept


def write_summary(evidence: Evidence, performance: Performance, kept: list[Promise], path: Path) -> None:
    """Write the page as Markdown."""
    parts = (
        _head(evidence),
        _frames(evidence),
        _switches(evidence),
        _latency(evidence.reports),
        _answers(evidence),
        _kept(kept),
    )
    path.write_text("\n\n".join(parts) + "\n")


def _head(evidence: Evidence) -> str:
    material = evidence.material
    tasks = " -> ".join(t.value for t in material.schedule)
    return f"# Demo\n\n{material.source}; {material.frames} pairs at {material.rate:.2f} Hz; task {tasks}."


def _frames(evidence: Evidence) -> str:
    rows = [(f"{topic} played", len(stamps)) for topic, stamps in evidence.played.items()]
    rows += [(f"{side} received", evidence.counted(f"{side} input", "received")) for side in ("infrared", "visible")]
    rows += [("paired", evidence.counted("visible input", "paired")), ("fused and published", len(evidence.reports))]
    rows += [(f"dropped: {reason}", count) for reason, count in evidence.dropped.items()]
    return "## Frames\n\n" + _table(("what", "count"), rows)


def _switches(evidence: Evidence) -> str:
    rows = [
        (
            s.switch.task.value,
            f"{s.switch.answered_ms:.0f} ms",
            s.switch.after_frames,
            s.frames_until or "never",
            s.lost,
        )
        for s in evidence.switches
    ]
    head = ("task selected", "service answered in", "frames before", "frames until it showed", "frames lost around it")
    return "## Switches\n\n" + _table(head, rows)


def _latency(reports: list[FrameReport]) -> str:
    rows = []
    for task in dict.fromkeys(r.task for r in reports):
        for stage in _STAGES:
            values = [float(r.values[f"{stage} ms"]) for r in reports if r.task == task and f"{stage} ms" in r.values]
            if values:
                p50, p95 = np.percentile(values, (50, 95))
                rows.append((task, stage, len(values), f"{p50:.1f}", f"{p95:.1f}"))
    note = "`total` runs from the arrival of the later image to the published answer.\n\n"
    return "## Latency\n\n" + note + _table(("task", "stage", "frames", "p50 ms", "p95 ms"), rows)


def _answers(evidence: Evidence) -> str:
    found = ", ".join(f"{name} {count}" for name, count in evidence.found.most_common()) or "nothing"
    plans = {r.values["plan"] for r in evidence.reports if r.values["plan"]}
    example = f", for example `{sorted(plans)[0]}`" if plans else ""
    return f"## Answers\n\nDetections: {found}.\n\nDifferent compensation plans: {len(plans)}{example}."


def _kept(kept: list[Promise]) -> str:
    return "## Promises\n\n" + "\n".join(f"- [{'x' if p.kept else ' '}] {p.text}" for p in kept)


def _table(head: tuple[str, ...], rows: list[tuple]) -> str:
    lines = [head, tuple("---" for _ in head), *rows]
    return "\n".join("| " + " | ".join(str(cell) for cell in line) + " |" for line in lines)
