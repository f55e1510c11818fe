"""`cldyn eval switch`: does the plan that a task asks for suit this task best, and how far do the images differ?"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from cldyn_core.evaluate.evaluation import Evaluation, by_name
from cldyn_core.evaluate.figures import make_table, mean_figure
from cldyn_core.evaluate.judges import judge_of
from cldyn_core.evaluate.options import SwitchRun
from cldyn_core.evaluate.parts import LOSS, TASKS, each_task, merged_facts, missing, side_by_side, task_figures
from cldyn_core.evaluate.units import Record, Unit
from cldyn_core.report import Column, Report, Table
from cldyn_core.types import Task

_DISTANCES = (
    "On each task's own pairs: mean absolute difference of the image of its own loop and that of another one, in grey "
    "levels."
)


def switch(options: SwitchRun) -> Report:
    """A row a loop, and vfn: headline figure and loss of every task. A row a task: how far the images are apart."""
    loops = [f"cldyn-{task.value}" for task in TASKS if not missing(options, task)]
    chosen = replace(options, methods=options.methods or ["vfn", *loops])
    reports, notes = each_task(chosen, _judged)
    judged, distances = zip(*(report.tables for report in reports.values()), strict=True)
    whole = replace(side_by_side("switch", "Whose plan suits which task", judged), row_title="Plan for")
    apart = replace(distances[0], rows=tuple(row for one in distances for row in one.rows))
    return Report(
        "Switch",
        facts=merged_facts(reports),
        tables=(whole, apart),
        comparisons=tuple(picture for report in reports.values() for picture in report.comparisons),
        notes=notes,
    )


def _judged(options: SwitchRun, task: Task) -> Report:
    """One task: its columns of the one table, its row of the other."""
    evaluation = Evaluation(options)
    specs = evaluation.methods([], task)
    data = evaluation.data(task)
    own = f"cldyn-{task.value}"
    others = tuple(spec for spec in specs if spec.kind in ("vfn", "cldyn") and spec.name != own)
    weights = options.task_weights[task]
    units = [
        Unit(spec, judge=task, judge_weights=weights, loss=True, compared=others if spec.name == own else ())
        for spec in specs
    ]
    rows = by_name(specs, evaluation.measure(data, units))
    left_out = [name for name in options.left_out if name in data.names]
    figures = {name: task_figures(records, task, data.names, left_out) for name, records in rows.items()}
    columns = [judge_of(task).columns[0], replace(LOSS, title=f"Loss, {task.value}")]
    judged = make_table(
        task.value, task.value, columns, figures, reference=evaluation.reference(specs), rounds=options.rounds
    )
    apart = _distances(task, [spec.name for spec in specs], rows.get(own, ()), options.rounds)
    return Report(
        task.value,
        facts=evaluation.facts(data, specs),
        tables=(judged, apart),
        comparisons=evaluation.pictures(data, units),
    )


def _distances(task: Task, names: Sequence[str], records: Sequence[Record], rounds: int) -> Table:
    """The row of one task; records: of its own loop."""
    columns = [Column(f"m{i}", name, None, 3) for i, name in enumerate(names)]
    known = records[0]["compared"] if records else {}
    figures = {
        column.key: mean_figure([record["compared"][column.title] for record in records])
        for column in columns
        if column.title in known
    }
    made = make_table(
        "switch-images", "How far the images differ", columns, {task.value: figures}, rounds=rounds, caption=_DISTANCES
    )
    return replace(made, row_title="Plan for")
