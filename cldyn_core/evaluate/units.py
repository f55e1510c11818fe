"""What is measured on each pair, as plain data, and the measuring of one pair in one process."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import nan
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from cldyn_core import tasks
from cldyn_core.checkpoint import read_manifest
from cldyn_core.data.degrade import degradation
from cldyn_core.data.images import PairError
from cldyn_core.data.labelled import LabelledFolder, open_labelled
from cldyn_core.data.pair_views import shrink_pair
from cldyn_core.engine.allocator import keep_freed_memory
from cldyn_core.evaluate.judges import judge_of
from cldyn_core.evaluate.methods import Fused, Method, Methods, MethodSpec, plan_choices
from cldyn_core.metrics.fusion import luma8, score
from cldyn_core.metrics.temporal import Luma, brightness_step, structure_step
from cldyn_core.types import LabelledPair, Task, as_batch

_VERSION = 2
"""Of the records: another one makes the cached ones void."""

_STEPS = 3  # frames that a flicker needs

Record = dict[str, Any]
Frame = tuple[NDArray[np.uint8], NDArray[np.uint8], NDArray[np.uint8]]
"""Infrared, visible, fused luma."""


@dataclass(frozen=True)
class DataSpec:
    """Labelled pairs as plain data, to be opened in any process."""

    folders: tuple[str, ...]
    task: Task = Task.NONE
    names: tuple[str, ...] = ()
    split: str | None = None
    hold_out: float = 0.0
    """Only what a training with this share held out of every folder; 0: all."""
    scene_gap: int = 0
    """As that training had it, see LabelledFolder.held_out."""
    limit: int = 0
    """At most so many pairs, evenly spread; 0: all."""
    longest: int = 0
    """Larger pairs are made smaller to this side in pixels; 0: none."""

    def open(self) -> list[tuple[LabelledFolder, int]]:
        """Folder and index of every pair. Raises PairError, also when folders have none to hold out."""
        items = []
        for root in self.folders:
            folder = open_labelled(Path(root), self.task, names=self.names or None, split=self.split)
            held_out = folder.held_out(self.hold_out, self.scene_gap) if self.hold_out else range(len(folder))
            items += [(folder, index) for index in held_out]
        if self.folders and not items:
            names = ", ".join(self.folders)
            raise PairError(f"{names}: nothing is held out. Remedy: a smaller scene_gap, or split all")
        if self.limit and len(items) > self.limit:
            items = [items[i * len(items) // self.limit] for i in range(self.limit)]
        return items


@dataclass(frozen=True)
class Unit:
    """One column of work: a method, on degraded pairs or not, scored by metrics and by a task network or not."""

    method: MethodSpec
    degradation: str = ""
    metrics: tuple[str, ...] = ()
    judge: Task = Task.NONE
    judge_weights: str = "default"
    flicker: bool = False
    """The pairs are frames of sequences, one a folder."""
    loss: bool = False
    """The judge's loss is recorded, too."""
    compared: tuple[MethodSpec, ...] = ()
    """Networks of which it is recorded how far their images are from this one."""

    def identity(self, data: DataSpec) -> dict[str, Any]:
        """All that decides a record beside the pair's files."""
        judged = self.judge is not Task.NONE
        network = read_manifest(tasks.weights_path(self.judge, self.judge_weights))["sha256"] if judged else ""
        return {
            "version": _VERSION,
            "method": self.method.identity(),
            "source": self.method.source if self.method.kind == "folder" else "",
            "degradation": repr(degradation(self.degradation)) if self.degradation else "",
            "metrics": list(self.metrics),
            "judge": [self.judge.value, network],
            "flicker": self.flicker,
            "loss": self.loss,
            "compared": [[spec.name, spec.identity()] for spec in self.compared],
            "names": list(data.names),
            "longest": data.longest,
        }


class Measurer:
    """Measures single pairs; networks and folders are opened once a process."""

    def __init__(self, data: DataSpec, units: Sequence[Unit], device: str) -> None:
        keep_freed_memory()
        self._data, self._units = data, units
        self._items = data.open()
        self._methods = Methods(torch.device(device))
        self._built: dict[MethodSpec, Method] = {}
        self._recent: dict[tuple[Unit, int], Frame] = {}
        self._degraded: tuple[LabelledPair, str, LabelledPair] | None = None
        self._images: tuple[LabelledPair | None, dict[MethodSpec, Fused]] = (None, {})

    def __len__(self) -> int:
        return len(self._items)

    def load(self, index: int) -> LabelledPair:
        """One pair, no larger than wanted."""
        folder, number = self._items[index]
        pair = folder.load(number)
        return shrink_pair(pair, self._data.longest) if self._data.longest else pair

    def fused(self, unit: Unit, pair: LabelledPair) -> tuple[LabelledPair, Fused]:
        """The pair as the method sees it, and what it makes of it."""
        seen = self.seen(unit, pair)
        return seen, self._fuse(unit.method, seen)

    def seen(self, unit: Unit, pair: LabelledPair) -> LabelledPair:
        """The pair as the unit wants it degraded; made once for the units that follow each other."""
        if not unit.degradation:
            return pair
        if self._degraded is None or self._degraded[0] is not pair or self._degraded[1] != unit.degradation:
            self._degraded = (pair, unit.degradation, degradation(unit.degradation)(pair))
        return self._degraded[2]

    def answer(self, unit: Unit, fused: Fused) -> Any:
        """What the judging network says of a fused image."""
        network = self._methods.network(unit.judge, unit.judge_weights)
        judge_of(unit.judge).prepare(network)
        return network.predict(as_batch(fused.image, self._methods.device))[0]

    def _fuse(self, method: MethodSpec, seen: LabelledPair) -> Fused:
        """Once a pair, for the units that follow each other."""
        if self._images[0] is not seen:
            self._images = (seen, {})
        images = self._images[1]
        if method not in images:
            if method not in self._built:
                self._built[method] = self._methods.build(method)
            images[method] = self._built[method](seen)
        return images[method]

    @torch.inference_mode()
    def measure(self, index: int, units: Sequence[int]) -> dict[int, Record]:
        """Records of one pair by number of unit. Raises ValueError naming the pair."""
        pair = self.load(index)
        return {number: self._record(self._units[number], pair, index) for number in units}

    def _record(self, unit: Unit, pair: LabelledPair, index: int) -> Record:
        seen, fused = self.fused(unit, pair)
        record: Record = {"plan": plan_choices(fused.plan)}
        if unit.metrics:
            record["fusion"] = score(*_frame_of(seen, fused), unit.metrics)
        if unit.judge is not Task.NONE:
            record["task"] = judge_of(unit.judge).record(self.answer(unit, fused), pair.target)
        if unit.loss:
            network = self._methods.network(unit.judge, unit.judge_weights)
            record["loss"] = float(network.losses(as_batch(fused.image, self._methods.device), [pair.target])[0])
        if unit.compared:
            others = {spec.name: self._fuse(spec, seen).image for spec in unit.compared}
            record["compared"] = {name: mean_difference(fused.image, image) for name, image in others.items()}
        if unit.flicker:
            frames = [self._frame(unit, i) for i in range(max(0, index - 2), index) if self._same_sequence(i, index)]
            frames.append(self._keep(unit, index, _frame_of(seen, fused)))
            record["flicker"] = flicker(*zip(*frames, strict=True))
        return record

    def _frame(self, unit: Unit, index: int) -> Frame:
        """Infrared, visible and fused luma."""
        known = self._recent.pop((unit, index), None)
        return self._keep(unit, index, known or _frame_of(*self.fused(unit, self.load(index))))

    def _keep(self, unit: Unit, index: int, frame: Frame) -> Frame:
        """The frame, which is now the newest of those that are kept."""
        self._recent[unit, index] = frame
        while len(self._recent) > _STEPS * len(self._units):
            self._recent.pop(next(iter(self._recent)))
        return frame

    def _same_sequence(self, first: int, second: int) -> bool:
        return self._items[first][0] is self._items[second][0]


def _frame_of(seen: LabelledPair, fused: Fused) -> Frame:
    return seen.infrared, luma8(seen.visible), luma8(fused.image)


def flicker(infrared: Sequence[Luma], visible: Sequence[Luma], fused: Sequence[Luma]) -> dict[str, float]:
    """Of the steps that end with the last of up to three frames; nan at the beginning of a sequence."""
    last = [images[-2:] for images in (infrared, visible, fused)]
    return {
        "flicker_brightness": brightness_step(infrared, visible, fused) if len(fused) == _STEPS else nan,
        "flicker_structure": structure_step(*last) if len(fused) > 1 else nan,
    }


def mean_difference(first: NDArray[np.uint8], second: NDArray[np.uint8]) -> float:
    """Mean absolute difference of two images of one size, in grey levels."""
    return float(np.abs(first.astype(np.int16) - second).mean())
