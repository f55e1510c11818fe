"""`cldyn eval robustness`: what sets of weights lose in worse conditions, each with its own closed loop and judges."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cldyn_core.checkpoint import variants
from cldyn_core.data.labelled import NoLabelsError
from cldyn_core.evaluate.evaluation import Evaluation
from cldyn_core.evaluate.figures import Figure, combined
from cldyn_core.evaluate.judges import judge_of
from cldyn_core.evaluate.methods import parse_method
from cldyn_core.evaluate.options import RobustnessRun
from cldyn_core.evaluate.parts import TASKS, condition_table, labelled_folders, task_figures
from cldyn_core.evaluate.units import Unit
from cldyn_core.report import Report, Table
from cldyn_core.types import Task

_FILES = {"fusion": "cldyn", "detection": "detector", "segmentation": "segmenter", "saliency": "saliency"}
"""Name of the file in the folder of a set, by option."""
_LOST = "The figure of the pairs as they are minus that of the condition."


@dataclass(frozen=True)
class _Measured:
    """One set's headline figure of one task in every condition."""

    figures: list[Figure]
    facts: Mapping[str, str]


def robustness(options: RobustnessRun) -> Report:
    """For every task: headline figures, what each set loses of its own, and that as a share of the first set's loss."""
    sets = {name: run for name, run in (_weight_set(options, text) for text in options.set)}
    if not sets or len(sets) < len(options.set):
        raise ValueError("sets need names of their own, at least one. Remedy: --set clean=FOLDER --set rain=FOLDER")
    conditions = list(dict.fromkeys(["", *options.degradations]))
    tables: list[Table] = []
    facts: dict[str, str] = {}
    notes = []
    for task in TASKS:
        able = {name: run for name, run in sets.items() if _network(run, task).is_file()}
        notes += [f"{name}: no {_network(run, task).name}" for name, run in sets.items() if name not in able]
        try:
            found = {name: _measure(name, run, task, conditions) for name, run in able.items()}
        except NoLabelsError as fault:
            notes.append(str(fault))
            continue
        if found:
            tables += _tables(task, conditions, found, next(iter(sets)), options.rounds)
        facts.update(fact for measured in found.values() for fact in measured.facts.items())
    if not tables:
        raise ValueError("nothing to compare on. " + "; ".join(notes))
    return Report("Robustness", facts=facts, tables=tuple(tables), notes=tuple(notes))


def _weight_set(options: RobustnessRun, text: str) -> tuple[str, RobustnessRun]:
    """Name of a set, and the options with its weights."""
    name, equals, folder = text.partition("=")
    if not (name and equals and folder):
        raise ValueError(
            f"set {text!r}: expected NAME=FOLDER. Remedy: --set clean=runs/clean, or --set bundled=default"
        )
    root = variants().get(folder, Path(folder).expanduser())
    chosen: dict[str, Any] = {option: str(root / f"{file}.safetensors") for option, file in _FILES.items()}
    if not Path(chosen["fusion"]).is_file():
        raise FileNotFoundError(f"{chosen['fusion']}: set {name!r} has no fusion network. Remedy: put it there")
    return name, replace(options, **chosen)


def _network(run: RobustnessRun, task: Task) -> Path:
    return Path(run.task_weights[task])


def _measure(name: str, run: RobustnessRun, task: Task, conditions: Sequence[str]) -> _Measured:
    """Raises NoLabelsError when no folder has labels of the task."""
    evaluation = Evaluation(replace(run, folders=labelled_folders(run, task)))
    spec = replace(parse_method("cldyn", task, run.fusion, run.task_weights), name=name, denoise=run.denoise)
    data = evaluation.data(task)
    units = [Unit(spec, condition, judge=task, judge_weights=run.task_weights[task]) for condition in conditions]
    headline = judge_of(task).columns[0].key
    records = evaluation.measure(data, units)
    titles = {"data": f"data of {task.value}", f"{task.value} network": f"{task.value} network of {name}"}
    facts = {titles.get(title, title): fact for title, fact in evaluation.facts(data, [spec]).items()}
    return _Measured([task_figures(of_unit, task, data.names)[headline] for of_unit in records], facts)


def _tables(
    task: Task, conditions: Sequence[str], found: Mapping[str, _Measured], baseline: str, rounds: int
) -> list[Table]:
    """The figures, what is lost of them, and its share of what the baseline loses."""
    column = judge_of(task).columns[0]
    title = f"{task.value.capitalize()}: {column.title}"
    lower = replace(column, higher_is_better=False, explanation="")
    figures = {name: measured.figures for name, measured in found.items()}
    lost = {name: [combined(np.subtract, whole, one) for one in rest] for name, (whole, *rest) in figures.items()}
    tested = partial(condition_table, reference=baseline, rounds=rounds)
    made = [
        tested(task.value, column, conditions, figures, title=title),
        tested(f"{task.value}-lost", lower, conditions[1:], lost, title=f"{title}, lost", caption=_LOST),
    ]
    if others := _shares(lost, baseline):
        caption = f"Below 1: loses less than {baseline}. A dash: {baseline} loses nothing there."
        title = f"{title}, loss as a share of that of {baseline}"
        shown = replace(lower, digits=2)
        made.append(
            condition_table(
                f"{task.value}-share", shown, conditions[1:], others, title=title, rounds=rounds, caption=caption
            )
        )
    return [replace(table, row_title="Weights") for table in made]


def _shares(lost: Mapping[str, Sequence[Figure]], baseline: str) -> dict[str, list[Figure]]:
    """Of the sets but the baseline; none without it."""
    if baseline not in lost:
        return {}
    return {
        name: [combined(_share, ours, theirs) for ours, theirs in zip(losses, lost[baseline], strict=True)]
        for name, losses in lost.items()
        if name != baseline
    }


def _share(ours: NDArray[np.float64], theirs: NDArray[np.float64]) -> NDArray[np.float64]:
    """nan where the others lose nothing."""
    return np.divide(ours, theirs, out=np.full_like(ours, np.nan), where=theirs > 0)
