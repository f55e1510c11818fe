"""What is measured on each frame of a sequence, all ways of the loop side by side."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from itertools import groupby, islice
from math import nan

import numpy as np
import torch

from cldyn_core.data.labelled import LabelledFolder
from cldyn_core.data.pair_views import shrink_pair
from cldyn_core.engine import FusionEngine
from cldyn_core.engine.prepare import infrared_8bit
from cldyn_core.engine.thermal import ThermalRange
from cldyn_core.evaluate.judges import judge_of
from cldyn_core.evaluate.methods import plan_choices
from cldyn_core.evaluate.units import DataSpec, Record, flicker
from cldyn_core.metrics.fusion import luma8, score
from cldyn_core.metrics.temporal import Luma
from cldyn_core.tasks.base import TaskNetwork
from cldyn_core.types import EngineSettings, FramePair, LabelledPair, StepResult, as_batch

EXACT = "exact"
"""Name of the way that the others are compared with."""


def measure_streams(
    data: DataSpec,
    settings: Mapping[str, EngineSettings],
    metrics: Sequence[str],
    first: int = 0,
    network: TaskNetwork | None = None,
) -> dict[str, list[Record]]:
    """Records by way, of all sequences in order.

    settings: of each way; with EXACT among them the others are compared with it. first: only so many frames of each
    folder; 0: all. network: judges the images; None: nobody does. Raises RuntimeError where a task network fails.
    """
    from tqdm import tqdm

    records: dict[str, list[Record]] = {name: [] for name in settings}
    for folder, frames in _sequences(data, first) if settings else ():
        ways = {name: _Way(chosen) for name, chosen in settings.items()}  # nothing is remembered from another sequence
        sources: tuple[deque[Luma], deque[Luma]] = (deque(maxlen=3), deque(maxlen=3))
        for pair in tqdm(frames, desc=folder, unit="frame"):
            sources[0].append(pair.infrared)
            sources[1].append(luma8(pair.visible))
            results = {name: way.step(pair) for name, way in ways.items()}
            for name, result in results.items():
                record = ways[name].record(result, results.get(EXACT), sources, metrics)
                if network is not None:
                    record["task"] = _judged(network, result, pair, settings[name].device)
                records[name].append(record)
    return records


class _Way:
    """One engine on its way through a sequence."""

    def __init__(self, settings: EngineSettings) -> None:
        self._engine = FusionEngine(settings)
        self._fused: deque[Luma] = deque(maxlen=3)

    def step(self, pair: LabelledPair) -> StepResult:
        """The next frame. Raises RuntimeError where the task network fails."""
        result = self._engine.step(FramePair(pair.visible, pair.infrared))
        if result.error:
            raise RuntimeError(f"{pair.name}: the task network failed: {result.error}")
        return result

    def record(
        self, result: StepResult, exact: StepResult | None, sources: Sequence[Sequence[Luma]], metrics: Sequence[str]
    ) -> Record:
        """Of one frame. sources: the last infrared and visible luma images, this frame's last."""
        luma = luma8(result.fused)
        self._fused.append(luma)
        return {
            **(likeness(result, exact) if exact else {}),
            "plan": plan_choices(result.plan),
            "planned": nan if result.plan is None else float(result.plan_age == 0),
            "fusion": score(sources[0][-1], sources[1][-1], luma, metrics) if metrics else {},
            "flicker": flicker(*map(list, (*sources, self._fused))),
        }


def _sequences(data: DataSpec, first: int) -> Iterator[tuple[str, Iterator[LabelledPair]]]:
    """Name of each folder and its frames in order."""
    for _, items in groupby(data.open(), key=lambda item: id(item[0])):
        listed = list(items)[: first or None]
        folder, indices = listed[0][0], [index for _, index in listed]
        yield (
            folder.pairs.folder.name,
            (shrink_pair(pair, data.longest) if data.longest else pair for pair in _frames(folder, indices)),
        )


def _frames(folder: LabelledFolder, indices: Sequence[int]) -> Iterator[LabelledPair]:
    if folder.pairs.layout != "clip":
        yield from (folder.load(index) for index in indices)
        return
    for name, pair in islice(folder.pairs.iterate(), len(indices)):  # decoded once; a clip has no labels
        yield LabelledPair(pair.visible, infrared_8bit(pair, ThermalRange()), None, name)


def likeness(result: StepResult, exact: StepResult) -> dict[str, float]:
    """Of a frame to what exact gives for it: mean squared error of the images; shares of the branches that chose the
    same and of the A2SI blocks whose branches together did, nan where there is no plan.
    """
    error = float(np.square(result.fused.astype(np.float32) - exact.fused).mean())
    ours, theirs = plan_choices(result.plan), plan_choices(exact.plan)
    if result.plan is None or exact.plan is None:
        return {"error": error, "agreement": nan, "sets": nan}
    size = exact.plan.infrared[0].configurations.shape[1] if exact.plan.infrared else 1
    blocks = range(0, len(theirs), size)
    same = [sorted(ours[i : i + size]) == sorted(theirs[i : i + size]) for i in blocks]
    agreement = float(np.mean([a == b for a, b in zip(ours, theirs, strict=True)])) if theirs else nan
    return {"error": error, "agreement": agreement, "sets": float(np.mean(same)) if same else nan}


def _judged(network: TaskNetwork, result: StepResult, pair: LabelledPair, device: str) -> Record:
    judge = judge_of(network.task)
    judge.prepare(network)
    with torch.inference_mode():
        return judge.record(network.predict(as_batch(result.fused, device))[0], pair.target)
