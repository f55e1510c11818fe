"""The tables of the paper, each as a report: from options to records to figures."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np

from cldyn_core import tasks
from cldyn_core.data.degrade import DEGRADATIONS
from cldyn_core.data.labelled import NoLabelsError
from cldyn_core.engine.engine import resolve_device
from cldyn_core.evaluate.efficiency import efficiency_table
from cldyn_core.evaluate.evaluation import Evaluation, by_name, network_names
from cldyn_core.evaluate.figures import Figures, fusion_columns, make_table, mean_figure
from cldyn_core.evaluate.judges import judge_of
from cldyn_core.evaluate.options import (
    AblationRun,
    ComplexRun,
    CrossDetectorRun,
    EfficiencyRun,
    EvalRun,
    FusionRun,
    TaskRun,
)
from cldyn_core.evaluate.plans import plan_histograms
from cldyn_core.evaluate.units import Measurer, Record, Unit
from cldyn_core.metrics.fusion import FUSION_METRICS, find_metric
from cldyn_core.report import Column, Curve, Report, Row, Table, Value
from cldyn_core.types import LabelledPair, Task

CLASSICAL = ["average", "maximum", "laplacian"]
FLICKER = (
    Column("flicker_brightness", "Flicker, brightness", False, 3, "grey levels that no source explains"),
    Column("flicker_structure", "Flicker, structure", False, 3, "grey levels along the motion that no source explains"),
)
TASKS = (Task.DETECTION, Task.SEGMENTATION, Task.SALIENCY)
EVERYTHING = ["visible", "infrared", *CLASSICAL, "vfn", "cldyn"]


def fusion(options: FusionRun) -> Report:
    """Fusion metrics of every method."""
    evaluation = Evaluation(options)
    if options.flicker and options.limit:
        raise ValueError("flicker needs every frame. Remedy: leave out limit")
    task = Task(options.task)
    able = [f"cldyn-{each.value}" for each in Task if each is not Task.NONE and not _missing(options, each)]
    specs = evaluation.methods([*CLASSICAL, "vfn", *(["cldyn"] if task is not Task.NONE else able)], task)
    metrics = metric_names(options.metrics)
    data = evaluation.data(Task.NONE)
    units = [Unit(spec, metrics=metrics, flicker=options.flicker) for spec in specs]
    rows = by_name(specs, evaluation.measure(data, units))
    figures = {name: _fusion_figures(records, metrics) for name, records in rows.items()}
    if options.flicker:
        figures = {name: {**row, **_flicker_figures(rows[name])} for name, row in figures.items()}
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
    units = [Unit(spec, metrics=metrics, judge=task, judge_weights=weights) for spec in specs]
    rows = by_name(specs, evaluation.measure(data, units))
    title = task.value.capitalize()
    figures = {
        name: {**_task_figures(records, task, data.names, options.left_out), **_fusion_figures(records, metrics)}
        for name, records in rows.items()
    }
    columns = [*judge_of(task).columns, *fusion_columns(metrics)]
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
    reports: dict[Task, Report] = {}
    faults = []
    for task in TASKS:
        try:
            known = network_names(task, options.task_weights[task])
            left_out = [name for name in options.left_out if name in known]
            run = replace(options, methods=options.methods or ["vfn", "cldyn"], left_out=left_out)
            reports[task] = downstream(run, task)
        except NoLabelsError as fault:
            faults.append(str(fault))
        except ValueError as fault:
            if not _missing(options, task):
                raise
            faults.append(str(fault))
    if not reports:
        raise ValueError("nothing to compare on. " + "; ".join(faults))
    tables = [report.tables[0] for report in reports.values()]
    first = next(iter(reports.values()))
    return Report(
        "Ablation",
        facts=first.facts,
        tables=(_side_by_side("ablation", "Ablation", tables),),
        comparisons=tuple(picture for report in reports.values() for picture in report.comparisons),
        notes=tuple(faults),
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
    parts = []
    for i, condition in enumerate(conditions):
        rows = by_name(specs, records[i * len(specs) : (i + 1) * len(specs)])
        figures = {
            name: _fusion_figures(row, ["qabf"]) if task is Task.NONE else _task_figures(row, task, data.names)
            for name, row in rows.items()
        }
        figures = {name: {f"c{i}": row[column.key]} for name, row in figures.items()}
        explanation = "" if i else column.explanation
        titled = replace(column, key=f"c{i}", title=condition or "as they are", explanation=explanation)
        parts.append(
            make_table("part", "", [titled], figures, reference=evaluation.reference(specs), rounds=options.rounds)
        )
    whole = _side_by_side("complex", f"Complex scenes: {column.title}", parts, prefixed=False)
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


def metric_names(wanted: Sequence[str]) -> tuple[str, ...]:
    """Names of fusion metrics without aliases; "all" is every one but fmi. Raises ValueError for an unknown one."""
    most = [name for name in FUSION_METRICS if name != "fmi"]
    names = [each for name in wanted for each in (most if name == "all" else [find_metric(name).name])]
    return tuple(dict.fromkeys(names))


def _fusion_figures(records: Sequence[Record], metrics: Sequence[str]) -> Figures:
    return {name: mean_figure([record["fusion"][name] for record in records]) for name in metrics}


def _flicker_figures(records: Sequence[Record]) -> Figures:
    return {column.key: mean_figure([record["flicker"][column.key] for record in records]) for column in FLICKER}


def _task_figures(records: Sequence[Record], task: Task, names: Sequence[str], left_out: Sequence[str] = ()) -> Figures:
    return judge_of(task).figures([record["task"] for record in records], names, left_out)


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


def _side_by_side(key: str, title: str, tables: Sequence[Table], prefixed: bool = True) -> Table:
    """One table with the columns of all; the rows are the first one's."""
    columns = []
    values: dict[str, dict[str, Value]] = {row.name: {} for row in tables[0].rows}
    for one in tables:
        for column in one.columns:
            name = f"{one.key}.{column.key}" if prefixed else column.key
            columns.append(replace(column, key=name))
            for row in one.rows:
                values[row.name][name] = one.value(row, column)
    rows = tuple(Row(name, cells) for name, cells in values.items())
    return replace(tables[0], key=key, title=title, columns=tuple(columns), rows=rows)


def _curves(whole: Table, conditions: Sequence[str], title: str) -> tuple[Curve, ...]:
    """The figure over the intensity, where several intensities were asked for."""
    points = {f"c{i}": float(name[5:]) for i, name in enumerate(conditions) if re.fullmatch(r"alpha[\d.]+", name)}
    if len(points) < 2:
        return ()
    points["c0"] = 1.0
    series = {row.name: sorted((alpha, row.values[key].value) for key, alpha in points.items()) for row in whole.rows}
    return (Curve("Dimmed images", "intensity alpha", title, series),)


def _missing(options: EvalRun, task: Task) -> str:
    """Why a task has no network here; "" when it has one."""
    return tasks.explain(task, tasks.with_weights(task, options.task_weights[task]))
