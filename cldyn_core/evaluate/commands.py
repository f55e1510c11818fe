"""`cldyn eval TABLE FOLDER ...`: each table of the paper with one command."""

from __future__ import annotations

import json
import shlex
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

from cldyn_core.configuration import configure
from cldyn_core.evaluate import tables
from cldyn_core.evaluate.options import (
    AblationRun,
    ComplexRun,
    CrossDetectorRun,
    EfficiencyRun,
    EvalRun,
    FusionRun,
    RobustnessRun,
    SwitchRun,
    TaskRun,
)
from cldyn_core.evaluate.parts import TASKS
from cldyn_core.evaluate.robustness import robustness
from cldyn_core.evaluate.streaming import StreamRun, stream
from cldyn_core.evaluate.switch import switch
from cldyn_core.report import Report, write_report
from cldyn_core.report.markdown import table_markdown


def run_command(name: str, arguments: Sequence[str]) -> int:
    """Parse, evaluate, write the report, print its tables. `--method` and `--set` may be given several times."""
    kind, evaluate = EVALUATIONS[name]
    words = _gather(_gather(arguments, "method"), "set")
    options = configure(kind, words, f"cldyn eval {name}", kind.__doc__ or "", "folders")
    report = evaluate(options)
    page = write_report(replace(report, command=shlex.join(["cldyn", "eval", name, *arguments])), Path(options.out))
    print("\n\n".join(table_markdown(one) for one in report.tables))
    print(f"written: {page}")
    return 0


def _gather(arguments: Sequence[str], option: str) -> list[str]:
    """The same arguments, all values of a repeated option in one list."""
    rest, values = [], []
    words = iter(arguments)
    for word in words:
        name, equals, value = word.partition("=")
        if name != f"--{option}":
            rest.append(word)
        else:
            values.append(value if equals else next(words, ""))
    return [*rest, f"--{option}", json.dumps(values)] if values else rest


EVALUATIONS: dict[str, tuple[type[EvalRun], Callable[[Any], Report]]] = {
    "fusion": (FusionRun, tables.fusion),
    **{task.value: (TaskRun, partial(tables.downstream, task=task)) for task in TASKS},
    "cross-detector": (CrossDetectorRun, tables.cross_detector),
    "complex": (ComplexRun, tables.complex_scenes),
    "ablation": (AblationRun, tables.ablation),
    "switch": (SwitchRun, switch),
    "robustness": (RobustnessRun, robustness),
    "stream": (StreamRun, stream),
    "efficiency": (EfficiencyRun, tables.efficiency),
}
"""Tables by name: what they can be told, and how they are made."""
