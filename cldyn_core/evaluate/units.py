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
from cldyn_core.data.labelled import LabelledFolder, open_labelled
from cldyn_core.data.pair_views import shrink_pair
from cldyn_core.data.splits import held_out_count
from cldyn_core.engine.allocator import keep_freed_memory
from cldyn_core.evaluate.judges import judge_of
from cldyn_core.evaluate.methods import Fused, Method, Methods, MethodSpec, plan_choices
from cldyn_core.metrics.fusion import luma8, score
from cldyn_core.metrics.temporal import brightness_step, structure_step
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
    """Only the last share of every folder; 0: all."""
    limit: int = 0
    """At most so many pairs, evenly spread; 0: all."""
    longest: int = 0
    """Larger pairs are made smaller to this side in pixels; 0: none."""

    def open(self) -> list[tuple[LabelledFolder, int]]:
        """Folder and index of every pair. Raises PairError."""
        items = []
        for root in self.folders:
            folder = open_labelled(Path(root), self.task, names=self.names or None, split=self.split)
            first = len(folder) - held_out_count(len(folder), self.hold_out) if self.hold_out else 0
            items += [(folder, index) for index in range(first, len(folder))]
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

    def __len__(self) -> int:
        return len(self._items)

    def load(self, index: int) -> LabelledPair:
        """One pair, no larger than wanted."""
        folder, number = self._items[index]
        pair = folder.load(number)
        return shrink_pair(pair, self._data.longest) if self._data.longest else pair

    def fused(self, unit: Unit, pair: LabelledPair) -> tuple[LabelledPair, Fused]:
        """The pair as the method sees it, and what it makes of it."""
        if unit.method not in self._built:
            self._built[unit.method] = self._methods.build(unit.method)
        seen = self.seen(unit, pair)
        return seen, self._built[unit.method](seen)

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
        if unit.flicker:
            self._recent[unit, index] = _frame_of(seen, fused)
            record["flicker"] = self._flicker(unit, index)
        return record

    def _flicker(self, unit: Unit, index: int) -> dict[str, float]:
        """Of the steps that end with this frame; nan at the beginning of a sequence."""
        frames = [self._frame(unit, i) for i in range(max(0, index - 2), index + 1) if self._same_sequence(i, index)]
        by_image = list(zip(*frames, strict=True))
        return {
            "flicker_brightness": brightness_step(*by_image) if len(frames) == _STEPS else nan,
            "flicker_structure": structure_step(*(images[-2:] for images in by_image)) if len(frames) > 1 else nan,
        }

    def _frame(self, unit: Unit, index: int) -> Frame:
        """Infrared, visible and fused luma; the last ones are kept."""
        if (unit, index) not in self._recent:
            self._recent[unit, index] = _frame_of(*self.fused(unit, self.load(index)))
        while len(self._recent) > _STEPS * len(self._units):
            self._recent.pop(next(iter(self._recent)))
        return self._recent[unit, index]

    def _same_sequence(self, first: int, second: int) -> bool:
        return self._items[first][0] is self._items[second][0]


def _frame_of(seen: LabelledPair, fused: Fused) -> Frame:
    return seen.infrared, luma8(seen.visible), luma8(fused.image)
