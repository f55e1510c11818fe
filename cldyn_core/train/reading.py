"""What the trainings share when they read pairs."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TypeVar

from cldyn_core.data.labelled import open_labelled
from cldyn_core.types import LabelledPair, Task

T = TypeVar("T")


def hold_out_last(items: list[T], share: float) -> tuple[list[T], list[T]]:
    """Split off the last `share` of a folder -> (to train on, to judge with). One run of names: neighboring frames look
    alike.
    """
    kept = len(items) - round(len(items) * share)
    return items[:kept], items[kept:]


def read_pairs(
    folders: Sequence[str], task: Task, names: Sequence[str], hold_out: float
) -> tuple[list[LabelledPair], list[LabelledPair]]:
    """All labelled pairs of some folders -> (to train on, the last share of every folder). Raises PairError."""
    train: list[LabelledPair] = []
    held_out: list[LabelledPair] = []
    for folder in folders:
        labelled = open_labelled(Path(folder), task, names=names or None)
        kept, rest = hold_out_last([labelled.load(i) for i in range(len(labelled))], hold_out)
        train += kept
        held_out += rest
    return train, held_out
