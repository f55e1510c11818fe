"""What several tables are made of: figures of records, columns that are put together, a task at a time."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TypeVar

from cldyn_core import tasks
from cldyn_core.data.labelled import NoLabelsError, open_labelled
from cldyn_core.evaluate.evaluation import network_names
from cldyn_core.evaluate.figures import Figure, Figures, make_table, mean_figure
from cldyn_core.evaluate.judges import judge_of
from cldyn_core.evaluate.options import EvalRun
from cldyn_core.evaluate.units import Record
from cldyn_core.metrics.fusion import FUSION_METRICS, find_metric
from cldyn_core.report import Column, Report, Row, Table, Value
from cldyn_core.types import Task

TASKS = (Task.DETECTION, Task.SEGMENTATION, Task.SALIENCY)
FLICKER = (
    Column("flicker_brightness", "Flicker, brightness", False, 3, "grey levels that no source explains"),
    Column("flicker_structure", "Flicker, structure", False, 3, "grey levels along the motion that no source explains"),
)
LOSS = Column("loss", "Loss", False, 4, "the network's own, mean over the images: moves even where no answer changes")

Run = TypeVar("Run", bound=EvalRun)


def metric_names(wanted: Sequence[str]) -> tuple[str, ...]:
    """Names of fusion metrics without aliases; "all" is every one but fmi. Raises ValueError for an unknown one."""
    most = [name for name in FUSION_METRICS if name != "fmi"]
    names = [each for name in wanted for each in (most if name == "all" else [find_metric(name).name])]
    return tuple(dict.fromkeys(names))


def fusion_figures(records: Sequence[Record], metrics: Sequence[str]) -> Figures:
    """Means of fusion metrics."""
    return {name: mean_figure([record["fusion"][name] for record in records]) for name in metrics}


def flicker_figures(records: Sequence[Record]) -> Figures:
    """Of `FLICKER`."""
    return {column.key: mean_figure([record["flicker"][column.key] for record in records]) for column in FLICKER}


def task_figures(records: Sequence[Record], task: Task, names: Sequence[str], left_out: Sequence[str] = ()) -> Figures:
    """Of the task's judge, and of `LOSS` where it was recorded."""
    figures = judge_of(task).figures([record["task"] for record in records], names, left_out)
    if not all(LOSS.key in record for record in records):
        return figures
    return {**figures, LOSS.key: mean_figure([record[LOSS.key] for record in records])}


def condition_table(
    key: str,
    column: Column,
    conditions: Sequence[str],
    rows: Mapping[str, Sequence[Figure]],
    *,
    title: str,
    reference: str = "",
    rounds: int = 1000,
    caption: str = "",
) -> Table:
    """A column a condition, all of one measure; rows: a figure a condition. "": the pairs as they are."""
    columns = [
        replace(column, key=f"c{i}", title=condition or "as they are", explanation="" if i else column.explanation)
        for i, condition in enumerate(conditions)
    ]
    cells = {name: {f"c{i}": figure for i, figure in enumerate(figures)} for name, figures in rows.items()}
    return make_table(key, title, columns, cells, reference=reference, rounds=rounds, caption=caption)


def side_by_side(key: str, title: str, tables: Sequence[Table]) -> Table:
    """One table with the columns of all; the rows are the first one's."""
    columns = []
    values: dict[str, dict[str, Value]] = {row.name: {} for row in tables[0].rows}
    for one in tables:
        for column in one.columns:
            name = f"{one.key}.{column.key}"
            columns.append(replace(column, key=name))
            for row in one.rows:
                values[row.name][name] = one.value(row, column)
    rows = tuple(Row(name, cells) for name, cells in values.items())
    return replace(tables[0], key=key, title=title, columns=tuple(columns), rows=rows)


def each_task(options: Run, make: Callable[[Run, Task], Report]) -> tuple[dict[Task, Report], tuple[str, ...]]:
    """A report for every task that has a network and a folder with labels, made of these folders alone; why the other
    tasks have none. Raises ValueError when no task has one.
    """
    reports: dict[Task, Report] = {}
    notes = []
    for task in TASKS:
        if reason := missing(options, task):
            notes.append(f"{reason}; for this table: --{task.value} FILE")
            continue
        try:
            reports[task] = make(replace(options, folders=labelled_folders(options, task)), task)
        except NoLabelsError as fault:
            notes.append(str(fault))
    if not reports:
        raise ValueError("nothing to compare on. " + "; ".join(notes))
    return reports, tuple(notes)


def labelled_folders(options: EvalRun, task: Task) -> list[str]:
    """The options' folders that have labels of a task. Raises NoLabelsError when none has; PairError for no pairs."""
    names = network_names(task, options.task_weights[task])
    found, faults = [], []
    for folder in options.folders:
        try:
            open_labelled(Path(folder), task, names=names or None)
            found.append(folder)
        except NoLabelsError as fault:
            faults.append(str(fault))
    if faults and not found:
        raise NoLabelsError("; ".join(faults))
    return found


def merged_facts(reports: Mapping[Task, Report]) -> dict[str, str]:
    """Facts of several tasks' reports: what pairs each was judged on, and what they have in common."""
    return {
        f"data of {task.value}" if name == "data" else name: fact
        for task, report in reports.items()
        for name, fact in report.facts.items()
    }


def missing(options: EvalRun, task: Task) -> str:
    """Why a task has no network here; "" when it has one."""
    return tasks.explain(task, tasks.with_weights(task, options.task_weights[task]))
