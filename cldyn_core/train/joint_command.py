"""`cldyn train joint`: fusion network and task networks together, the paper's baseline without compensation."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import torch

from cldyn_core.checkpoint import load_weights, resolve_weights
from cldyn_core.configuration import configure
from cldyn_core.train.cost import frame_costs
from cldyn_core.train.joint import Joint, JointTraining
from cldyn_core.train.processes import Processes
from cldyn_core.train.start import Prepared, train
from cldyn_core.train.task_data import SeveralTasksRun, read_tasks


@dataclass(frozen=True, kw_only=True)
class JointRun(SeveralTasksRun):
    """All that a joint training can be told."""

    out: str = "runs/joint"
    """Folder of the run: configuration, environment, metrics, TensorBoard events, state, best weights."""
    recipe: JointTraining = field(default_factory=JointTraining)


def run_command(arguments: Sequence[str]) -> int:
    """Parse the arguments of `cldyn train joint` and train. Raises what the data and the weights do."""
    options = configure(JointRun, arguments, "cldyn train joint", __doc__ or "", "folders")
    return train(options, lambda processes: _prepare(options, processes))


def _prepare(options: JointRun, processes: Processes) -> Prepared:
    torch.manual_seed(options.recipe.seed)
    model = load_weights(resolve_weights(options.fusion, "cldyn"))
    found = read_tasks(options)
    costs = frame_costs(model, found.networks, compensated=False) if processes.first else {}
    found.to(processes.device)
    joint = Joint(model.to(processes.device), found.networks, found.train, found.held_out, options.recipe, processes)
    return Prepared(joint, {"data": found.counts(), "gigaflops_of_a_frame_640x480": costs})
