"""A run of `cldyn fuse` from plan to summary."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from cldyn_core.fuse.outputs import Output
from cldyn_core.fuse.pieces import Piece, fuse_here, fuse_in_processes, fuse_on_ray
from cldyn_core.fuse.pipeline import Outcome
from cldyn_core.fuse.progress import Progress
from cldyn_core.fuse.record import Earlier, Recipe, make_recipe, read_earlier, summary, write_record
from cldyn_core.fuse.sources import FrameSequence, PairSequence
from cldyn_core.types import EngineSettings


@dataclass(frozen=True)
class Run:
    """What is to be done, and by whom."""

    source: tuple[Path, ...]
    sequences: tuple[FrameSequence, ...]
    output: Output
    settings: EngineSettings
    workers: int = 0
    """Processes, or actors of Ray; 0: one, or what Ray's cluster offers."""
    ray: str | None = None
    """Address of a Ray cluster, "" for one of this machine; None: without Ray."""
    existing: str = "refuse"
    """What becomes of an earlier output: "refuse", "resume" or "overwrite"."""


def execute(run: Run) -> int:
    """Fuse everything that is not there yet. Returns 0, or 1 when a pair failed; raises ValueError and OSError.

    However it ends, the record beside the output says what is there.
    """
    recipe = make_recipe(run.source, run.sequences, run.settings, run.output)
    earlier = _earlier(run, recipe)
    sequences, present = _missing(run, earlier)
    outcome = Outcome(failures=_still_failed(earlier, sequences))
    if not sequences and earlier and earlier.complete:
        print(f"{run.output.path}: nothing is left to do")
        return 1 if outcome.failures else 0
    complete = False
    write_record(run.output.record, recipe, outcome, complete=False, present=present)
    try:
        _fuse(run, sequences, outcome)
        complete = True
    finally:
        record = write_record(run.output.record, recipe, outcome, complete=complete, present=present)
    print(f"{run.output.path}: {summary(record)}")
    return 1 if outcome.failures else 0


def _fuse(run: Run, sequences: Sequence[FrameSequence], outcome: Outcome) -> None:
    pieces = [Piece(part, run.output) for sequence in sequences for part in _pieces(sequence)]
    if not pieces:
        return
    with Progress(sum(len(sequence) for sequence in sequences)) as progress:

        def watch(name: str, reason: str) -> None:
            if reason:
                progress.note(f"{name}: {reason}")
            progress.update()

        if run.ray is None and min(run.workers, len(pieces)) <= 1:
            fuse_here(pieces, run.settings, outcome, watch)
            return
        if run.ray is None:
            found = fuse_in_processes(pieces, run.settings, min(run.workers, len(pieces)))
        else:
            found = fuse_on_ray(pieces, run.settings, run.workers, run.ray)
        for part in found:
            outcome.add(part)
            for name, reason in part.failures.items():
                progress.note(f"{name}: {reason}")
            progress.update(part.done)


def _pieces(sequence: FrameSequence) -> list[FrameSequence]:
    return list(sequence.pieces()) if isinstance(sequence, PairSequence) else [sequence]


def _earlier(run: Run, recipe: Recipe) -> Earlier | None:
    """What is there already and may stay. Raises ValueError where something is in the way."""
    path = run.output.path
    if run.existing == "overwrite":
        return None
    there = path.exists() and not (path.is_dir() and not any(path.iterdir()))
    if run.existing == "resume":
        earlier = read_earlier(run.output.record, recipe)
        if there and earlier is None:
            raise ValueError(f"{path}: was not made by `cldyn fuse`. Remedy: another -o, or --overwrite")
        return earlier
    if there:
        what = "exists" if run.output.whole else "is not empty"
        raise ValueError(f"{path}: {what}. Remedy: --resume, --overwrite, or another -o")
    return None


def _missing(run: Run, earlier: Earlier | None) -> tuple[list[FrameSequence], int]:
    """The sequences with what is left of them, and how many frames are there.

    A sequence whose frames depend on each other is there as a whole or is done again from its start.
    """
    if earlier is None:
        return list(run.sequences), 0
    if run.output.whole:
        return ([], 0) if earlier.complete and run.output.path.exists() else (list(run.sequences), 0)
    left: list[FrameSequence] = []
    present = 0
    for sequence in run.sequences:
        if sequence.names is None and earlier.complete:
            continue
        there = [name for name in sequence.names or () if run.output.has(name)]
        if len(there) < len(sequence) or not there:
            if isinstance(sequence, PairSequence) and sequence.independent:
                sequence = sequence.only(lambda name: not run.output.has(name))
                present += len(there)
            left.append(sequence)
        else:
            present += len(there)
    return left, present


def _still_failed(earlier: Earlier | None, sequences: Sequence[FrameSequence]) -> dict[str, str]:
    """Failures of the earlier run that this one does not try again."""
    if earlier is None or any(sequence.names is None for sequence in sequences):
        return {}
    again = {name for sequence in sequences for name in sequence.names or ()}
    return {name: reason for name, reason in earlier.failures.items() if name not in again}
