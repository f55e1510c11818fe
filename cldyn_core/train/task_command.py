"""`cldyn train task`: one task network on labelled pairs; on fused images it is the paper's "retraining"."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file

from cldyn_core import tasks
from cldyn_core.checkpoint import load_weights, manifest_path, resolve_weights
from cldyn_core.configuration import configure
from cldyn_core.data.synthetic import SEMANTIC_CLASSES
from cldyn_core.engine import resolve_device
from cldyn_core.engine.engine import FusionEngine
from cldyn_core.tasks.base import TaskNetwork
from cldyn_core.train.cost import frame_costs
from cldyn_core.train.draws import Pairs
from cldyn_core.train.fused_pairs import FusedPairs
from cldyn_core.train.processes import Processes
from cldyn_core.train.reading import PairsRun, read_pairs
from cldyn_core.train.start import Prepared, train
from cldyn_core.train.task_data import set_balance
from cldyn_core.train.task_network import Input, TaskNetworkTraining, TaskTraining
from cldyn_core.types import M3FD_CLASSES, Backend, EngineSettings, Task

_DEFAULT_NAMES: dict[Task, tuple[str, ...]] = {Task.DETECTION: M3FD_CLASSES, Task.SEGMENTATION: SEMANTIC_CLASSES}


@dataclass(frozen=True, kw_only=True)
class TaskRun(PairsRun):
    """All that the training of a task network can be told."""

    out: str = "runs/task"
    """Folder of the run: configuration, environment, metrics, TensorBoard events, state, best weights."""
    network: str = "ctdnet-small"
    """Which network: yolov5n, rtdetr-r18, detr-r18, segformer-b0, ctdnet18, ctdnet-small ..."""
    names: list[str] = field(default_factory=list)
    """Classes to learn, by name. Empty: those of M3FD for boxes, of FMB for label maps."""
    given: Input = "fused"
    """What the network is shown: fused (the paper's retraining), visible or infrared images, or all three (mixed).
    compensated: what the closed loop of `fusion` around `init` makes, so that the network follows its compensation."""
    init: str = ""
    """Weights to start from. With a manifest: network and names come with them. Without: whatever tensors fit."""
    fusion: str = "default"
    """Weights of the fusion network."""
    background: list[str] = field(default_factory=list)
    """Classes of label maps that count as background; others that the network lacks are ignored."""
    balance: float = 0.0
    """Of a segmenter's loss: 0 counts every pixel alike, 1 every class of an image; 0.5 lies between."""
    note: str = ""
    """Kept in the manifest: the license of `init`, say."""
    recipe: TaskTraining = field(default_factory=TaskTraining)


def run_command(arguments: Sequence[str]) -> int:
    """Parse the arguments of `cldyn train task` and train. Raises what the data and the weights do."""
    options = configure(TaskRun, arguments, "cldyn train task", __doc__ or "", "folders")
    return train(options, lambda processes: _prepare(options, processes))


def start_from(network: TaskNetwork, path: Path) -> int:
    """Take over every tensor of a .safetensors file that fits by name and shape (a backbone trained on other classes);
    returns their number. Raises ValueError if fewer than half of the network's do.
    """
    own = network.module.state_dict()
    try:
        theirs = load_file(path)
    except SafetensorError as error:
        raise ValueError(f"{path}: not a readable safetensors file: {error}") from error
    fitting = {k: v.to(own[k].dtype) for k, v in theirs.items() if k in own and own[k].shape == v.shape}
    if len(fitting) < len(own) / 2:
        raise ValueError(f"{path}: only {len(fitting)} of the {len(own)} tensors of {network.model} fit")
    network.module.load_state_dict({**own, **fitting})
    return len(fitting)


def _prepare(options: TaskRun, processes: Processes) -> Prepared:
    torch.manual_seed(options.recipe.seed)
    network = _network(options)
    set_balance(network, options.balance)
    fusion = load_weights(resolve_weights(options.fusion, "cldyn"))
    pairs, held_out = read_pairs(options.data(), network.task, network.names, options.background)
    network.module.eval()
    cost = frame_costs(fusion, {network.task: network}, compensated=False) if processes.first else {}
    network.module.to(processes.device)
    counts = f"{len(pairs)} pairs, {len(held_out)} held out"
    given: Input = options.given
    if options.recipe.fuse_once or given == "compensated":
        engine = _engine(options, network.task)
        pairs, held_out, given = _fuse(pairs, options, engine), _fuse(held_out, options, engine), "visible"
    training = TaskNetworkTraining(
        network, fusion.to(processes.device), pairs, held_out, given, options.recipe, processes
    )
    record = {
        "network": network.model,
        "given": options.given,
        "data": counts,
        "init": Path(options.init).name,
        "balance": options.balance,
        "note": options.note,
        "gigaflops_of_a_frame_640x480": cost,
    }
    return Prepared(training, record)


def _engine(options: TaskRun, task: Task) -> FusionEngine:
    """Fuses, with given compensated in the closed loop of `init`. Raises ValueError for other images, and where
    nothing closes the loop.
    """
    if options.given == "fused":
        # compiled anew for each size of the folders it would take longer than it saves
        backend = Backend.TORCH if resolve_device(options.device).type == "cuda" else Backend.AUTO
        return FusionEngine(EngineSettings(weights=options.fusion, device=options.device, backend=backend))
    if options.given != "compensated":
        raise ValueError(f"recipe.fuse_once is for given fused, not {options.given}")
    if not (options.recipe.fuse_once and _whole(options.init)):
        raise ValueError("given compensated wants recipe.fuse_once, and for init a network that closes the loop")
    settings = tasks.with_weights(task, options.init)
    return FusionEngine(replace(settings, task=task, weights=options.fusion, device=options.device))


def _fuse(pairs: Pairs, options: TaskRun, engine: FusionEngine) -> Pairs:
    """Fused images in the place of the visible ones."""
    return FusedPairs(pairs, engine, options.recipe, options.recipe.worse_copies if options.recipe.degraded else 0)


def _network(options: TaskRun) -> TaskNetwork:
    init = Path(options.init)
    if _whole(options.init):
        return tasks.load_network(init, torch.device("cpu"))
    network = tasks.build(options.network, options.names or _DEFAULT_NAMES.get(tasks.task_of(options.network), ()))
    if options.init:
        print(f"{start_from(network, init)} tensors from {init}", flush=True)
    return network


def _whole(init: str) -> bool:
    """Whether these weights say of which network they are."""
    return bool(init) and manifest_path(Path(init)).is_file()
