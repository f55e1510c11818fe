"""What the trainings for several tasks at once have in common: a batch, a gradient and a relative loss for each."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from torch import Tensor, nn

from cldyn_core.tasks.base import TaskNetwork
from cldyn_core.train.draws import Draws, Pairs
from cldyn_core.train.gradients import GradientMethod, combine
from cldyn_core.train.processes import Processes
from cldyn_core.train.recipe import Recipe
from cldyn_core.train.training import Training, check_pairs
from cldyn_core.types import Task


@dataclass(frozen=True)
class SeveralTasksRecipe(Recipe):
    """Recipe of a training for several tasks."""

    combine: GradientMethod = "cagrad"
    """How the tasks' gradients become one: cagrad, pcgrad or sum."""
    cagrad_c: float = 0.5
    """Radius of CAGrad's ball, as a share of the mean gradient."""


class SeveralTasksTraining(Training):
    """A training whose steps see a batch of each task.

    Raises ValueError when there is no task, or a task has no pair to train on or to judge with.
    """

    recipe: SeveralTasksRecipe

    def __init__(
        self,
        modules: Mapping[str, nn.Module],
        networks: Mapping[Task, TaskNetwork],
        train: Mapping[Task, Pairs],
        held_out: Mapping[Task, Pairs],
        recipe: SeveralTasksRecipe,
        processes: Processes,
    ) -> None:
        if not networks:
            raise ValueError("this training needs at least one task with data")
        for task in networks:
            check_pairs(task.value, train[task], held_out[task])
        super().__init__(modules, recipe, processes)
        self.networks = dict(networks)
        self.held_out = {task: held_out[task] for task in networks}
        self.draws = {task: Draws(train[task], recipe, processes, i) for i, task in enumerate(networks)}

    def combine(self, rows: Tensor, step: int) -> Tensor:
        """One gradient, as the recipe wants it."""
        return combine(rows, self.recipe.combine, c=self.recipe.cagrad_c, seed=self.recipe.seed + step)


def relative_losses(of_tasks: Mapping[Task, float]) -> dict[str, float]:
    """Figures of a validation: each task's relative loss, and their mean."""
    return {**{task.value: loss for task, loss in of_tasks.items()}, "mean": sum(of_tasks.values()) / len(of_tasks)}
