"""`cldyn eval stream`: how far a plan that is held over frames is from one made for every frame, on sequences."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from math import inf, log10

import numpy as np
import torch

from cldyn_core.data.images import PairError
from cldyn_core.data.labelled import NoLabelsError
from cldyn_core.engine.kernels import KernelTables
from cldyn_core.evaluate.evaluation import Evaluation
from cldyn_core.evaluate.figures import Figure, Figures, fusion_columns, make_table, mean_figure
from cldyn_core.evaluate.judges import judge_of
from cldyn_core.evaluate.methods import Methods
from cldyn_core.evaluate.options import Closing, EvalRun
from cldyn_core.evaluate.parts import FLICKER, flicker_figures, fusion_figures, metric_names
from cldyn_core.evaluate.stream_records import EXACT, measure_streams
from cldyn_core.evaluate.units import DataSpec, Record
from cldyn_core.metrics.fusion import PAPER_FIVE
from cldyn_core.report import Column, Report, Table
from cldyn_core.types import EngineSettings, LoopMode, Task

_COLUMNS = (
    Column("agreement", "Same choices", True, 4, "share of branches with the configuration and vector of exact"),
    Column("sets", "Same sets", True, 4, "share of A2SI blocks with those of exact in any order of the branches"),
    Column("psnr", "PSNR, dB", True, 2, "of the 8-bit image to that of exact, from the mean error of all frames"),
    Column("least_psnr", "PSNR, worst frame", True, 2),
    Column("planned", "Planned", None, 3, "share of the frames for which a plan was made"),
    *FLICKER,
)


@dataclass(frozen=True, kw_only=True)
class StreamRun(EvalRun):
    """`cldyn eval stream`: sequences in stream mode, with several periods, against exact and open.

    Each folder is one sequence. Methods, split shares and workers do not matter here.
    """

    task: Closing = "detection"
    """Closes the loop, and judges the images where every frame has labels."""
    periods: list[int] = field(default_factory=lambda: [1, 5, 15, 30])
    """Frames that a plan is held at most."""
    frames: int = 0
    """Only the first so many of each folder; 0: all."""
    metrics: list[str] = field(default_factory=lambda: list(PAPER_FIVE))
    """Fusion metrics; doc/metrics.md explains them."""

    def __post_init__(self) -> None:
        """Raises ValueError for what a sequence cannot be measured with."""
        super().__post_init__()
        if self.limit:
            raise ValueError("a stream needs every frame. Remedy: instead of limit, frames: the first so many")
        if self.task == "none":
            raise ValueError("without a task nothing is planned. Remedy: --task detection")
        if self.frames < 0 or not self.periods or min(self.periods) < 1:
            raise ValueError(f"periods are at least 1, frames at least 0, not {self.periods} and {self.frames}")


def stream(options: StreamRun) -> Report:
    """A row for exact, for every period, and for open."""
    evaluation, task = Evaluation(options), Task(options.task)
    data, notes = _data(evaluation, task)
    metrics = metric_names(options.metrics)
    methods = Methods(torch.device(evaluation.device))
    judging = data.task is not Task.NONE
    network = methods.network(task, options.task_weights[task]) if judging else None
    records = measure_streams(data, _ways(options, task, evaluation.device), metrics, options.frames, network)
    rows = {name: _figures(of_way, metrics) for name, of_way in records.items()}
    caption = "exact plans on every frame. Brackets: 95 % bootstrap interval of the mean over the frames."
    tables = [
        make_table("stream", "Held plans", _COLUMNS, rows, reference=EXACT, rounds=options.rounds, caption=caption)
    ]
    compared = list(fusion_columns(metrics))
    if judging:
        compared += judge_of(task).columns
        for name, of_way in records.items():
            judged = judge_of(task).figures([record["task"] for record in of_way], data.names)
            rows[name] = {**rows[name], **judged}
    if compared:
        values = make_table("stream-quality", "Quality", compared, rows, reference=EXACT, rounds=options.rounds)
        tables += [values, _differences(compared, rows, options.rounds)]
    specs = evaluation.methods(["cldyn"], task)
    if KernelTables(methods.model(options.fusion)).identity:
        notes.append("The compensation of these weights is untrained: no plan changes the image.")
    return Report("Stream mode", facts=evaluation.facts(data, specs), tables=tuple(tables), notes=tuple(notes))


def _ways(options: StreamRun, task: Task, device: str) -> dict[str, EngineSettings]:
    def settings(mode: LoopMode, period: int = 1) -> EngineSettings:
        return EngineSettings(
            task,
            mode,
            period,
            weights=options.fusion,
            device=device,
            detector_weights=options.detection,
            segmentation_weights=options.segmentation,
            saliency_weights=options.saliency,
        )

    streams = {f"stream, period {period}": settings(LoopMode.STREAM, period) for period in options.periods}
    return {EXACT: settings(LoopMode.EXACT), **streams, "open": settings(LoopMode.OPEN)}


def _data(evaluation: Evaluation, task: Task) -> tuple[DataSpec, list[str]]:
    """The frames, with labels where all have them, and what is to be said about it."""
    every = evaluation.data(Task.NONE)
    count = len(every.open())
    labelled = evaluation.data(task)
    try:
        known = len(labelled.open())
    except NoLabelsError:
        return every, []
    except PairError as fault:
        return every, [f"not judged: {fault}"]
    if known < count:
        return every, [f"Not judged: {known} of {count} frames have labels."]
    return labelled, []


def _figures(records: Sequence[Record], metrics: Sequence[str]) -> Figures:
    errors = [record["error"] for record in records]
    psnr = {"psnr": float(np.mean(errors)), "least_psnr": max(errors)}
    return {
        **{key: mean_figure([record[key] for record in records]) for key in ("agreement", "sets", "planned")},
        **{key: Figure(_decibels(error), None, len(records)) for key, error in psnr.items()},
        **flicker_figures(records),
        **fusion_figures(records, metrics),
    }


def _decibels(error: float) -> float:
    return inf if error == 0 else 10 * log10(255**2 / error)


def _differences(columns: Sequence[Column], rows: Mapping[str, Figures], rounds: int) -> Table:
    """What every way gives more than exact: means of the frames' differences, or differences of whole figures."""

    def difference(ours: Figure, exact: Figure) -> Figure:
        if ours.of_images:
            return mean_figure([a - b for a, b in zip(ours.of_images, exact.of_images, strict=True)])
        return Figure(ours.value - exact.value, None, ours.count)

    keys = [column.key for column in columns]
    differing = {
        name: {key: difference(figures[key], rows[EXACT][key]) for key in keys}
        for name, figures in rows.items()
        if name != EXACT
    }
    return make_table("stream-differences", "Differences from exact", columns, differing, rounds=rounds)
