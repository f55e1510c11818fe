"""A training from its first or its last saved step to its end: validation, best weights, early stop, exact resume."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch

from cldyn_core.train.draws import torch_seed
from cldyn_core.train.optimization import Optimization
from cldyn_core.train.run_folder import RunFolder
from cldyn_core.train.training import Training


@dataclass(frozen=True)
class Progress:
    """The state of a run after a step; `validation` after those that judged."""

    step: int
    figures: Mapping[str, float]
    validation: Mapping[str, float] | None


@dataclass(frozen=True)
class _Best:
    """The best validation so far, and how many came after it."""

    figures: dict[str, float]
    stale: int = 0

    def after(self, validation: dict[str, float]) -> _Best:
        better = validation["mean"] < self.figures["mean"]
        return _Best(validation) if better else _Best(self.figures, self.stale + 1)


def run(
    training: Training,
    folder: RunFolder,
    report: Callable[[Progress], None] = lambda _: None,
    record: Mapping[str, Any] | None = None,
    stop_after: int | None = None,
) -> dict[str, float]:
    """Train to the end, or up to step `stop_after`, and return the best validation; its weights are in the folder.

    record: what the manifest of the weights says of the run. A loss or gradient that is not finite raises
    FloatingPointError; the state of the last validation stays.
    """
    recipe, optimization = training.recipe, Optimization(training)
    training.measure()
    if folder.resumed:
        tensors, first, values = folder.load_state()
        optimization.load(tensors, values)
        figures = {k.removeprefix("best/"): v for k, v in values.items() if k.startswith("best/")}
        best = _Best(figures, int(values["stale"]))
    else:
        first, best = 0, _Best(training.validate())
        _keep(training, folder, 0, best, best.figures, record or {})
        _save_state(optimization, folder, 0, best)
    last = min(recipe.steps, stop_after or recipe.steps)
    for step in range(first + 1, last + 1):
        if recipe.patience and best.stale >= recipe.patience:
            break
        torch.manual_seed(torch_seed(recipe.seed, step, training.processes.rank))  # dropout
        figures = optimization.step(step)
        folder.log(step, figures)
        validation = None
        if step % recipe.validate_every == 0 or step == last:
            with optimization.averaged():
                validation = training.validate()
                best = best.after(validation)
                _keep(training, folder, step, best, validation, record or {})
            _save_state(optimization, folder, step, best)
        report(Progress(step, figures, validation))
    return best.figures


def _keep(
    training: Training,
    folder: RunFolder,
    step: int,
    best: _Best,
    validation: Mapping[str, float],
    record: Mapping[str, Any],
) -> None:
    """After a validation: figures, pictures, and the weights that were judged if none were better."""
    if training.processes.first:
        folder.log(step, {f"validation/{name}": value for name, value in validation.items()})
        training.show(folder, step)
        if not best.stale:
            rounded = {name: round(value, 5) for name, value in best.figures.items()}
            known = {**record, "stage": training.stage, "step": step, "held_out": rounded}
            training.save(folder.folder / training.weights_file, known)
    training.processes.wait()


def _save_state(optimization: Optimization, folder: RunFolder, step: int, best: _Best) -> None:
    figures = {f"best/{name}": value for name, value in best.figures.items()}
    folder.save_state(optimization.tensors(), step, {**optimization.values(), **figures, "stale": best.stale})
