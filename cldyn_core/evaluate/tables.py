"""The tables of the paper, each as a report: from options to records to figures."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np

from cldyn_core.data.degrade import DEGRADATIONS
from cldyn_core.engine import resolve_device
from cldyn_core.evaluate.efficiency import efficiency_table
from cldyn_core.evaluate.evaluation import Evaluation, by_name, network_names
from cldyn_core.evaluate.figures import Figure, fusion_columns, make_table
from cldyn_core.evaluate.judges import judge_of
from cldyn_core.evaluate.methods import stream_settings
from cldyn_core.evaluate.options import (
    AblationRun,
    ComplexRun,
    CrossDetectorRun,
    EfficiencyRun,
    FusionRun,
    TaskRun,
)
from cldyn_core.evaluate.parts import (
    FLICKER,
    LOSS,
    TASKS,
    condition_table,
    each_task,
    flicker_figures,
    fusion_figures,
    merged_facts,
    metric_names,
    missing,
    side_by_side,
    task_figures,
)
from cldyn_core.evaluate.plans import plan_histograms
from cldyn_core.evaluate.stream_records import measure_streams
from cldyn_core.evaluate.units import Measurer, Record, Unit
from cldyn_core.report import Column, Curve, Report, Row, Table, Value
from cldyn_core.types import LabelledPair, Task

CLASSICAL = ["average", "maximum", "laplacian"]
EVERYTHING = ["visible", "infrared", *CLASSICAL, "vfn", "cldyn"]


def fusion(options: FusionRun) -> Report:
    """Fusion metrics of every method."""
    evaluation = Evaluation(options)
    if options.flicker and options.limit:
        raise ValueError("flicker needs every frame. Remedy: leave out limit")
    task = Task(options.task)
    able = [f"cldyn-{each.value}" for each in TASKS if not missing(options, each)]
    default = [*CLASSICAL, "vfn", *(["cldyn"] if task is not Task.NONE else able)]
    specs = evaluation.methods(default, task, streams=options.flicker)
    metrics = metric_names(options.metrics)
    data = evaluation.data(Task.NONE)
    units = [Unit(spec, metrics=metrics, flicker=options.flicker) for spec in specs if spec.kind != "stream"]
    streams = {spec.name: stream_settings(spec, evaluation.device) for spec in specs if spec.kind == "stream"}
    measured = {
        **by_name([unit.method for unit in units], evaluation.measure(data, units)),
        **measure_streams(data, streams, metrics),
    }
    rows = {spec.name: measured[spec.name] for spec in specs}
    figures = {
        name: {**fusion_figures(records, metrics), **(flicker_figures(records) if options.flicker else {})}
        for name, records in rows.items()
    }
    caption = "On 8-bit luma. Brackets: 95 % bootstrap interval of the mean over the pairs."
    made = make_table(
        "fusion",
        "Fusion metrics",
        (*fusion_columns(metrics), *(FLICKER if options.flicker else ())),
        figures,
        reference=evaluation.reference(specs),
        rounds=options.rounds,
        caption=caption,
    )
    return Report(
        "Fusion metrics",
        facts=evaluation.facts(data, specs),
        tables=(made,),
        comparisons=evaluation.pictures(data, units),
        histograms=plan_histograms(rows),
    )


def downstream(options: TaskRun, task: Task) -> Report:
    """What the task's network makes of every method's images."""
    evaluation = Evaluation(options)
    specs = evaluation.methods(EVERYTHING, task)
    data = evaluation.data(task)
    if unknown := [name for name in options.left_out if name not in data.names]:
        raise ValueError(f"left_out: {unknown[0]!r} is no class. Remedy: some of {', '.join(data.names) or 'none'}")
    metrics = metric_names(options.metrics)
    weights = options.task_weights[task]
    units = [Unit(spec, metrics=metrics, judge=task, judge_weights=weights, loss=options.loss) for spec in specs]
    rows = by_name(specs, evaluation.measure(data, units))
    title = task.value.capitalize()
    figures = {
        name: {**task_figures(records, task, data.names, options.left_out), **fusion_figures(records, metrics)}
        for name, records in rows.items()
    }
    columns = [*judge_of(task).columns, *([LOSS] if options.loss else []), *fusion_columns(metrics)]
    made = [
        make_table(task.value, title, columns, figures, reference=evaluation.reference(specs), rounds=options.rounds)
    ]
    if judge_of(task).of_class:
        made.append(_class_table(rows, task, data.names))
    return Report(
        title,
        facts=evaluation.facts(data, specs),
        tables=tuple(made),
        comparisons=evaluation.pictures(data, units),
        histograms=plan_histograms(rows),
        curves=_task_curves(rows, task, data.names),
    )


def cross_detector(options: CrossDetectorRun) -> Report:
    """VFN and CLDyN in front of several detectors, a table each."""
    if not options.detectors:
        raise ValueError("no detectors to compare. Remedy: --detectors '[default, mine.safetensors]'")
    parts: list[Report] = []
    for weights in options.detectors:
        run = replace(options, detection=weights, methods=options.methods or ["vfn", "cldyn"])
        part = downstream(run, Task.DETECTION)
        name = f"{Path(weights).stem} ({part.facts['detection network']})"
        parts.append(replace(part, tables=(replace(part.tables[0], title=name, key=f"detector-{len(parts)}"),)))
    return Report(
        "Cross-detector",
        facts=parts[0].facts,
        tables=tuple(part.tables[0] for part in parts),
        comparisons=parts[0].comparisons,
    )


def ablation(options: AblationRun) -> Report:
    """Methods by the figures of every task that the folders have labels for and that has a network."""

    def judged(run: AblationRun, task: Task) -> Report:
        known = network_names(task, run.task_weights[task])
        left_out = [name for name in run.left_out if name in known]
        return downstream(replace(run, methods=run.methods or ["vfn", "cldyn"], left_out=left_out), task)

    reports, notes = each_task(options, judged)
    return Report(
        "Ablation",
        facts=merged_facts(reports),
        tables=(side_by_side("ablation", "Ablation", [report.tables[0] for report in reports.values()]),),
        comparisons=tuple(picture for report in reports.values() for picture in report.comparisons),
        notes=notes,
    )


def complex_scenes(options: ComplexRun) -> Report:
    """The headline figure of every method in every condition."""
    evaluation = Evaluation(options)
    task = Task(options.task)
    specs = evaluation.methods(EVERYTHING if task is not Task.NONE else [*CLASSICAL, "vfn"], task)
    data = evaluation.data(task)
    conditions = list(dict.fromkeys(["", *(options.degradations or DEGRADATIONS)]))
    if task is Task.NONE:
        unit, (column,) = partial(Unit, metrics=("qabf",)), fusion_columns(["qabf"])
    else:
        unit = partial(Unit, judge=task, judge_weights=options.task_weights[task])
        column = judge_of(task).columns[0]
    units = [unit(spec, condition) for condition in conditions for spec in specs]
    records = evaluation.measure(data, units)

    def headline(of_unit: Sequence[Record]) -> Figure:
        none = task is Task.NONE
        figures = fusion_figures(of_unit, ["qabf"]) if none else task_figures(of_unit, task, data.names)
        return figures[column.key]

    whole = condition_table(
        "complex",
        column,
        conditions,
        {spec.name: [headline(one) for one in records[i :: len(specs)]] for i, spec in enumerate(specs)},
        title=f"Complex scenes: {column.title}",
        reference=evaluation.reference(specs),
        rounds=options.rounds,
    )
    return Report(
        "Complex scenes",
        facts=evaluation.facts(data, specs),
        tables=(whole,),
        comparisons=evaluation.pictures(data, units[-len(specs) :]),
        curves=_curves(whole, conditions, column.title),
    )


def efficiency(options: EfficiencyRun) -> Report:
    """Parameters, arithmetic, latency and memory, on the first pair of the folders, or on noise without folders."""
    task = Task(options.task)
    random = np.random.default_rng(0)
    noise = LabelledPair(
        random.integers(0, 256, (480, 640, 3), np.uint8), random.integers(0, 256, (480, 640), np.uint8), None, "noise"
    )
    evaluation = Evaluation(options, needs_pairs=False)
    specs = evaluation.methods([*CLASSICAL, "vfn", "cldyn"], task)
    data = evaluation.data(Task.NONE)
    pair = Measurer(data, (), evaluation.device).load(0) if options.folders else noise
    made = efficiency_table(specs, pair, resolve_device(options.device), options.repeats)
    return Report("Efficiency", facts=evaluation.facts(data, specs), tables=(made,))


def _task_curves(rows: Mapping[str, Sequence[Record]], task: Task, names: Sequence[str]) -> tuple[Curve, ...]:
    judge = judge_of(task)
    if not judge.curve[0]:
        return ()
    lines = {name: judge.points([record["task"] for record in records], names) for name, records in rows.items()}
    return (Curve(*judge.curve, lines),)


def _class_table(rows: Mapping[str, Sequence[Record]], task: Task, names: Sequence[str]) -> Table:
    judge = judge_of(task)
    columns = tuple(Column(f"k{i}", name, True) for i, name in enumerate(names))
    made = []
    for name, records in rows.items():
        values = judge.of_classes([record["task"] for record in records], names)
        made.append(Row(name, {f"k{i}": Value(values[each]) for i, each in enumerate(names)}))
    return Table(f"{task.value}-classes", f"{judge.of_class} of each class", columns, tuple(made))


def _curves(whole: Table, conditions: Sequence[str], title: str) -> tuple[Curve, ...]:
    """The figure over the intensity, where several intensities were asked for."""
    points = {f"c{i}": float(name[5:]) for i, name in enumerate(conditions) if re.fullmatch(r"alpha[\d.]+", name)}
    if len(points) < 2:
        return ()
    points["c0"] = 1.0
    series = {row.name: sorted((alpha, row.values[key].value) for key, alpha in points.items()) for row in whole.rows}
    return (Curve("Dimmed images", "intensity alpha", title, series),)
