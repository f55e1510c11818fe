"""`cldyn train closed-loop`: stage 2 from a YAML file and the command line."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path

import torch

from cldyn_core import tasks
from cldyn_core.checkpoint import load_weights, resolve_weights
from cldyn_core.engine.allocator import keep_freed_memory
from cldyn_core.engine.engine import resolve_device
from cldyn_core.model import CLDyN
from cldyn_core.tasks.base import TaskNetwork
from cldyn_core.train.closed_loop import ClosedLoop, ClosedLoopTraining, Pairs
from cldyn_core.train.closed_loop_run import BEST, Progress, run_closed_loop
from cldyn_core.train.configuration import configure
from cldyn_core.train.reading import read_pairs
from cldyn_core.train.run_folder import RunFolder
from cldyn_core.types import Task


@dataclass(frozen=True)
class TaskData:
    """What one task brings to stage 2. Without folders the task is left out."""

    weights: str = "default"
    """Of its network: default (the bundled ones) or path of a .safetensors file."""
    folders: list[str] = field(default_factory=list)
    """Labelled folders of pairs; `cldyn data check` tells if one is fit."""
    hold_out: float = 0.2
    """The last part of every folder: judged, not trained on."""


@dataclass(frozen=True)
class ClosedLoopRun:
    """All that a run of stage 2 can be told."""

    out: str = "runs/closed_loop"
    """Folder of the run: configuration, metrics, TensorBoard events, state, best weights."""
    fusion: str = "default"
    """Weights to start from: default (the bundled ones) or path of a .safetensors file."""
    device: str = "auto"
    """One of auto, cpu, cuda."""
    resume: bool = False
    """Go on with the run that is in `out`."""
    detection: TaskData = field(default_factory=TaskData)
    segmentation: TaskData = field(default_factory=TaskData)
    saliency: TaskData = field(default_factory=TaskData)
    recipe: ClosedLoopTraining = field(default_factory=ClosedLoopTraining)


def run_command(arguments: Sequence[str]) -> int:
    """Parse the arguments of `cldyn train closed-loop` and train. Raises what the data and the weights do."""
    return train(configure(ClosedLoopRun, arguments, "cldyn train closed-loop", __doc__ or ""))


def train(run: ClosedLoopRun) -> int:
    """Train as told and say what came of it."""
    keep_freed_memory()
    device = resolve_device(run.device)
    model = load_weights(resolve_weights(run.fusion, "cldyn")).to(device)
    loop = _prepare(run, model, device)
    config = asdict(replace(run, resume=False))
    folder = RunFolder(Path(run.out), config, run.resume)
    best = run_closed_loop(loop, folder, run.resume, _bar(run.recipe.steps))
    folder.close()
    figures = ", ".join(f"{name} {value:.4f}" for name, value in best.items())
    print(f"\nloss of the held-out pairs, relative to no compensation: {figures}\nwritten: {Path(run.out) / BEST}")
    return 0


def _prepare(run: ClosedLoopRun, model: CLDyN, device: torch.device) -> ClosedLoop:
    networks: dict[Task, TaskNetwork] = {}
    train_pairs: dict[Task, Pairs] = {}
    held_out: dict[Task, Pairs] = {}
    sources = {Task.DETECTION: run.detection, Task.SEGMENTATION: run.segmentation, Task.SALIENCY: run.saliency}
    for task, source in sources.items():
        if source.folders:
            networks[task] = tasks.create(task, tasks.with_weights(task, source.weights), device)
            train_pairs[task], held_out[task] = read_pairs(source.folders, task, networks[task].names, source.hold_out)
            print(f"{task.value}: {len(train_pairs[task])} pairs, {len(held_out[task])} held out", flush=True)
    return ClosedLoop(model, networks, train_pairs, held_out, run.recipe)


def _bar(steps: int) -> Callable[[Progress], None]:
    try:
        from tqdm import tqdm
    except ImportError as error:
        raise ImportError("stage 2 shows its progress with tqdm: pip install tqdm") from error

    bar = tqdm(total=steps, unit="step")

    def report(progress: Progress) -> None:
        bar.update(progress.step - bar.n)
        shown = progress.validation or {k: v for k, v in progress.figures.items() if "/" in k}
        bar.set_postfix({name: f"{value:.3f}" for name, value in shown.items()})

    return report
