"""From the options of a run to its end: processes, run folder, progress, report. All trainings go through here."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from cldyn_core.engine.allocator import keep_freed_memory
from cldyn_core.train.cost import trainable
from cldyn_core.train.processes import Processes, start
from cldyn_core.train.run import Progress, run
from cldyn_core.train.run_folder import RunFolder, check_run
from cldyn_core.train.training import Training

_HOW = ("device", "devices", "nodes", "resume")  # what may differ when a run is resumed


@dataclass(frozen=True, kw_only=True)
class RunOptions:
    """Where and how a training runs."""

    out: str
    """Folder of the run: configuration, environment, metrics, TensorBoard events, state, best weights."""
    device: str = "auto"
    """One of auto, cpu, cuda."""
    devices: int = 1
    """Processes on each machine, one a GPU; they share every batch."""
    nodes: int = 1
    """Machines; with several, start the command on each of them with torchrun."""
    resume: bool = False
    """Go on with the run that is in `out`."""


@dataclass(frozen=True)
class Prepared:
    """A training and what the manifest of its weights tells of it; the first process writes it."""

    training: Training
    record: Mapping[str, Any]


def train(options: RunOptions, prepare: Callable[[Processes], Prepared]) -> int:
    """Start the processes, prepare, train, and say what came of it. Returns the exit status."""
    keep_freed_memory()
    processes = start(options.device, options.devices, options.nodes)
    config = {name: value for name, value in asdict(options).items() if name not in _HOW}
    if processes.first:
        check_run(Path(options.out), config, options.resume)  # before the data are read
    prepared = prepare(processes)
    training = prepared.training
    folder = RunFolder(Path(options.out), config, options.resume, processes.first)
    count = trainable(training.parameters)
    record = {**prepared.record, "recipe": asdict(training.recipe), "trainable_parameters": count}
    if processes.first:
        print(f"{training.stage}: {count} trainable parameters; follow it with: tensorboard --logdir {options.out}")
        for name, value in prepared.record.items():
            print(f"  {name}: {value}", flush=True)
    bar = _bar(training.recipe.steps) if processes.first else lambda _: None
    best = run(training, folder, bar, record)
    folder.close()
    if processes.first:
        figures = ", ".join(f"{name} {value:.4f}" for name, value in best.items())
        print(f"\nheld-out pairs, best: {figures}\nwritten: {folder.folder / training.weights_file}")
    return 0


def _bar(steps: int) -> Callable[[Progress], None]:
    try:
        from tqdm import tqdm
    except ImportError as error:
        raise ImportError("the trainings show their progress with tqdm: pip install tqdm") from error
    bar = tqdm(total=steps, unit="step")
    judged: dict[str, str] = {}

    def report(progress: Progress) -> None:
        bar.update(progress.step - bar.n)
        judged.update({f"held out {k}": f"{v:.3f}" for k, v in (progress.validation or {}).items() if k == "mean"})
        losses = {k: f"{v:.3f}" for k, v in progress.figures.items() if k.endswith(("loss", "gain"))}
        bar.set_postfix({**losses, **judged})

    return report
