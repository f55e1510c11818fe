"""One evaluation: its methods, the records of its pairs, and what its report says beside the tables."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import datetime, timezone
from pathlib import Path

from cldyn_core import tasks
from cldyn_core.checkpoint import read_manifest, resolve_weights
from cldyn_core.data.images import PairError
from cldyn_core.engine import resolve_device
from cldyn_core.environment import environment
from cldyn_core.evaluate.comparisons import compare
from cldyn_core.evaluate.methods import NETWORKS, MethodSpec, parse_method
from cldyn_core.evaluate.options import EvalRun
from cldyn_core.evaluate.units import DataSpec, Measurer, Record, Unit
from cldyn_core.evaluate.work import measure_all
from cldyn_core.report import Comparison
from cldyn_core.types import Task


class Evaluation:
    """What `EvalRun` asks for. Raises ValueError, PairError and what weights raise, naming the option or the file."""

    def __init__(self, options: EvalRun, needs_pairs: bool = True) -> None:
        if needs_pairs and not options.folders:
            raise PairError("nothing to evaluate on. Remedy: name folders of pairs")
        self.options = options
        self.device = str(resolve_device(options.device))
        self.workers = options.workers or (1 if self.device.startswith("cuda") else os.cpu_count() or 1)

    def data(self, task: Task) -> DataSpec:
        """The pairs that have labels of a task, with the classes of its network."""
        names = network_names(task, self.options.task_weights[task]) if task is not Task.NONE else ()
        o = self.options
        part = None if o.split in ("all", "held_out") else o.split
        share = o.hold_out if o.split == "held_out" else 0.0
        return DataSpec(tuple(o.folders), task, names, part, share, o.scene_gap, o.limit, o.longest)

    def methods(self, default: Sequence[str], task: Task, streams: bool = False) -> list[MethodSpec]:
        """The options' methods; task: closes the loop where the name says none. streams: they may hold plans."""
        words = [*(self.options.methods or default), *self.options.method]
        run = self.options
        parsed = [parse_method(word, task, run.fusion, run.task_weights) for word in words]
        specs = [replace(spec, denoise=run.denoise) for spec in parsed]
        names = [spec.name for spec in specs]
        if twice := {name for name in names if names.count(name) > 1}:
            raise ValueError(f"method {sorted(twice)[0]!r} is there twice. Remedy: give each its own name")
        if not streams and (held := [spec.name for spec in specs if spec.kind == "stream"]):
            raise ValueError(f"{held[0]}: single pairs make no stream. Remedy: cldyn eval fusion with --flicker true")
        return specs

    def reference(self, specs: Sequence[MethodSpec]) -> str:
        """Name of the method that the others are tested against."""
        names = [spec.name for spec in specs]
        if wanted := self.options.reference:
            if wanted not in names:
                raise ValueError(f"reference {wanted!r} is no method here. Remedy: one of {', '.join(names)}")
            return wanted
        return "vfn" if "vfn" in names else names[0]

    def measure(self, data: DataSpec, units: Sequence[Unit]) -> list[list[Record]]:
        """Records by unit and pair."""
        return measure_all(data, units, Path(self.options.out) / "cache", self.workers, self.device)

    def pictures(self, data: DataSpec, units: Sequence[Unit]) -> tuple[Comparison, ...]:
        """The options' number of pairs, evenly spread."""
        measurer = Measurer(data, units, self.device)
        count = min(self.options.pictures, len(measurer)) if units else 0
        return tuple(compare(measurer, units, (2 * i + 1) * len(measurer) // (2 * count)) for i in range(count))

    def facts(self, data: DataSpec, specs: Sequence[MethodSpec]) -> dict[str, str]:
        """Date, data, weights, machine."""
        count = len(data.open())
        where = environment()
        facts = {
            "date": datetime.now(timezone.utc).strftime("%Y-%m-%d %H:%M UTC"),
            "data": f"{count} pairs of {', '.join(Path(folder).name for folder in data.folders)}" if count else "none",
            "part": self.options.split,
        }
        if data.longest:
            facts["size"] = f"longer side at most {data.longest} pixels"
        for spec in specs:
            if spec.kind in NETWORKS:
                facts[f"weights of {spec.name}"] = _named(resolve_weights(spec.source, "cldyn"))
        if data.task is not Task.NONE:
            path = tasks.weights_path(data.task, self.options.task_weights[data.task])
            facts[f"{data.task.value} network"] = f"{read_manifest(path)['architecture'].get('model')}, {_named(path)}"
        return {**facts, "commit": where["commit"], "torch": where["torch"], "machine": where["machine"]}


def network_names(task: Task, weights: str) -> tuple[str, ...]:
    """Class names of a task network, without loading it. Raises ValueError with the reason when there is none."""
    if reason := tasks.explain(task, tasks.with_weights(task, weights)):
        raise ValueError(f"{reason}; for this table: --{task.value} FILE")
    return tuple(read_manifest(tasks.weights_path(task, weights))["architecture"].get("names", ()))


def by_name(specs: Sequence[MethodSpec], records: Sequence[Sequence[Record]]) -> Mapping[str, Sequence[Record]]:
    """Records by the method's name, one unit a method."""
    return {spec.name: of_unit for spec, of_unit in zip(specs, records, strict=True)}


def _named(path: Path) -> str:
    return f"{path.name} (sha256 {read_manifest(path)['sha256'][:12]})"
