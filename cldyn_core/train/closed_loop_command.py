"""`cldyn train closed-loop`: stage 2, the compensation, with frozen fusion and task networks."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import torch

from cldyn_core.checkpoint import load_into, load_weights, resolve_weights
from cldyn_core.configuration import configure
from cldyn_core.model import CLDyN
from cldyn_core.rsc import Compensation
from cldyn_core.train.closed_loop import ClosedLoop, ClosedLoopTraining
from cldyn_core.train.cost import frame_costs
from cldyn_core.train.processes import Processes
from cldyn_core.train.start import Prepared, train
from cldyn_core.train.task_data import SeveralTasksRun, read_tasks


@dataclass(frozen=True, kw_only=True)
class ClosedLoopRun(SeveralTasksRun):
    """All that a run of stage 2 can be told."""

    out: str = "runs/closed_loop"
    """Folder of the run: configuration, environment, metrics, TensorBoard events, state, best weights."""
    compensation: Compensation = "full"
    """What is trained: full, or an ablation: fixed_choice, no_bank, convolution. Those begin with random weights."""
    task_tokens: bool | None = None
    """Give each task a learned token beside its feature, so that plans of tasks differ; null: as `fusion` has."""
    begin_with: str = ""
    """Weights whose compensation to begin with, of the same architecture but for task tokens; "": that of `fusion`."""
    recipe: ClosedLoopTraining = field(default_factory=ClosedLoopTraining)


def run_command(arguments: Sequence[str]) -> int:
    """Parse the arguments of `cldyn train closed-loop` and train. Raises what the data and the weights do."""
    options = configure(ClosedLoopRun, arguments, "cldyn train closed-loop", __doc__ or "", "folders")
    return train(options, lambda processes: _prepare(options, processes))


def _prepare(options: ClosedLoopRun, processes: Processes) -> Prepared:
    torch.manual_seed(options.recipe.seed)
    model = start_model(options.fusion, options.compensation, options.task_tokens)
    if options.begin_with:
        take_compensation(model, resolve_weights(options.begin_with, "cldyn"))
    found = read_tasks(options)
    costs = frame_costs(model, found.networks, compensated=True) if processes.first else {}
    found.to(processes.device)
    loop = ClosedLoop(
        model.to(processes.device), found.networks, found.train, found.held_out, options.recipe, processes
    )
    return Prepared(loop, {"data": found.counts(), "gigaflops_of_a_frame_640x480": costs})


def start_model(fusion: str, compensation: Compensation, task_tokens: bool | None = None) -> CLDyN:
    """The weights to start from; with another compensation than theirs, only their fusion network. Task tokens: None as
    their compensation has.
    """
    path = resolve_weights(fusion, "cldyn")
    given = load_weights(path)
    if task_tokens is None:
        task_tokens = given.architecture.task_tokens and given.architecture.compensation == compensation
    model = CLDyN(replace(given.architecture, compensation=compensation, task_tokens=task_tokens))
    load_into(model.vfn, given.vfn.state_dict(), path)
    if given.architecture.compensation == compensation:
        take_compensation(model, path)
    return model.eval()


def take_compensation(model: CLDyN, path: Path) -> None:
    """Give a model the compensation of a weight file; its fusion network stays. Task tokens that only the model has
    stay, those that only the file has are left out. Raises ValueError if they differ in more.
    """
    given = load_weights(path)
    if replace(given.architecture, task_tokens=model.architecture.task_tokens) != model.architecture:
        raise ValueError(
            f"{path} has the architecture {given.architecture.as_dict()}, not {model.architecture.as_dict()}. "
            "Remedy: begin_with weights of the same blocks, branches and compensation"
        )
    parts = given.compensation()
    for name, part in model.compensation().items():
        own = part.state_dict()
        known = {key: value for key, value in parts[name].state_dict().items() if key in own}
        part.load_state_dict({**own, **known})
