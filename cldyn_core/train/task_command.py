"""`cldyn train task`: one task network on labelled pairs, from a YAML file and the command line."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path

from cldyn_core import tasks
from cldyn_core.checkpoint import check_target, load_weights, resolve_weights
from cldyn_core.data.synthetic import SEMANTIC_CLASSES
from cldyn_core.engine.allocator import keep_freed_memory
from cldyn_core.engine.engine import resolve_device
from cldyn_core.train.configuration import configure
from cldyn_core.train.reading import read_pairs
from cldyn_core.train.task_network import Input, TaskProgress, TaskTraining, train_network
from cldyn_core.types import M3FD_CLASSES


@dataclass(frozen=True)
class TaskRun:
    """All that the training of a task network can be told."""

    out: str
    """The .safetensors to write."""
    folders: list[str]
    """Labelled folders of pairs; `cldyn data check` tells if one is fit."""
    network: str = "ctdnet-small"
    """Which network: yolov5n, segformer-b0, ctdnet18, ctdnet-small, rtdetr-r18 ..."""
    names: list[str] = field(default_factory=list)
    """Classes to learn, by name. Empty: those of M3FD for boxes, of FMB for label maps."""
    given: Input = "fused"
    """What the network is shown: fused (the paper's retraining), visible or infrared images."""
    init: str = ""
    """Weights to start from, network and names with them; empty: random ones."""
    fusion: str = "default"
    """Weights of the fusion network."""
    device: str = "auto"
    """One of auto, cpu, cuda."""
    hold_out: float = 0.2
    """The last part of every folder: judged, not trained on."""
    recipe: TaskTraining = field(default_factory=TaskTraining)


def run_command(arguments: Sequence[str]) -> int:
    """Parse the arguments of `cldyn train task` and train. Raises what the data and the weights do."""
    return train(configure(TaskRun, arguments, "cldyn train task", __doc__ or ""))


def train(run: TaskRun) -> int:
    """Train as told, write the best weights and say how good they are."""
    check_target(run.out)
    keep_freed_memory()
    device = resolve_device(run.device)
    if run.init:
        network = tasks.load_network(Path(run.init), device)
    else:
        network = tasks.build(run.network, run.names or _default_names(run.network))
    network.module.to(device)
    fusion = load_weights(resolve_weights(run.fusion, "cldyn")).to(device)
    pairs, held_out = read_pairs(run.folders, network.task, network.names, run.hold_out)
    count = sum(parameter.numel() for parameter in network.module.parameters())
    print(f"{len(pairs)} pairs, {len(held_out)} held out; {count} trainable parameters", flush=True)
    best = train_network(network, fusion, pairs, held_out, run.given, run.recipe, _show)
    record = {
        "stage": "task",
        "data": [Path(folder).name for folder in run.folders],
        "pairs": len(pairs),
        "given": run.given,
        "recipe": asdict(run.recipe),
        "held_out": {"pairs": len(held_out), "loss": round(best, 5)},
    }
    tasks.save_network(network, Path(run.out), record)
    print(f"mean loss of the pairs held out: {best:.4f}\nwritten: {run.out}")
    return 0


def _default_names(model: str) -> tuple[str, ...]:
    return SEMANTIC_CLASSES if model.startswith("segformer") else M3FD_CLASSES


def _show(progress: TaskProgress) -> None:
    if progress.validation is not None:
        print(f"step {progress.step}  loss {progress.loss:.4f}  held out {progress.validation:.4f}", flush=True)
