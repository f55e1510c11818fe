"""What the detector is trained on: labelled real pairs and rendered streets, fused and as each camera sees them."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from cldyn_core.data.images import PairError
from cldyn_core.data.labels import class_index, read_yolo
from cldyn_core.data.pairs import class_names, find_pairs, locate
from cldyn_core.data.synthetic import CONDITIONS, SceneConfig, render_sequence
from cldyn_core.data.transforms import Labelled
from cldyn_core.engine import FusionEngine
from cldyn_core.engine.prepare import infrared_8bit
from cldyn_core.engine.thermal import ThermalRange
from cldyn_core.train.reading import hold_out_last
from cldyn_core.types import M3FD_CLASSES, FramePair

Images = tuple[NDArray[np.uint8], NDArray[np.uint8], NDArray[np.uint8]]
"""Fused (H, W, 3), visible (H, W, 3), infrared (H, W)."""

_SHARES = (0.7, 0.15, 0.15)  # of fused, visible and infrared images: one detector serves all three
_FRAMES = 4  # of one rendered scene
_RENDERED_FPS = 0.4  # so far apart that they look different
_TRAINING_SEED = 1_000_000  # seeds below are for tests and demonstrations


@dataclass(frozen=True)
class LabelledPair:
    """One pair with its boxes; see Labelled."""

    images: Images
    boxes: NDArray[np.float32]
    labels: NDArray[np.int64]
    annotated: tuple[int, ...] | None

    def view(self, index: int) -> Labelled:
        """The fused (0), visible (1) or infrared (2) image with its labels."""
        image = self.images[index]
        color = image if image.ndim == 3 else np.repeat(image[..., None], 3, axis=2)
        return Labelled(color, self.boxes, self.labels, self.annotated)


class Mixture:
    """Draws a group by its weight, then one of its pairs, then one of the pair's images. A SampleSource."""

    def __init__(self, groups: Sequence[Sequence[LabelledPair]]) -> None:
        self.groups = [group for group in groups if group]
        if not self.groups:
            raise ValueError("there is nothing to train on: name folders with labels, or render some")
        # A group of few pairs is drawn less often than a large one, but each of its pairs more often.
        weights = np.array([math.sqrt(len(group)) for group in self.groups])
        self._weights = weights / weights.sum()

    def __call__(self, rng: np.random.Generator) -> Labelled:
        """Draw one labelled image."""
        group = self.groups[int(rng.choice(len(self.groups), p=self._weights))]
        return group[int(rng.integers(len(group)))].view(int(rng.choice(3, p=_SHARES)))


def read_labelled(folder: Path, engine: FusionEngine, hold_out: float) -> tuple[list[LabelledPair], list[LabelledPair]]:
    """All pairs of a folder that have a YOLO label file -> (to train on, the last share, to judge with).

    `engine` fuses them. Classes go by the names in classes.txt. Raises PairError without one, or at a bad label.
    """
    (source, *_), thermal = locate(folder), ThermalRange()
    names = class_names(source)
    if names is None:
        raise PairError(f"{folder}: no classes.txt. Remedy: write one class name a line, in the order of the indices")
    annotated = tuple({index for name in names if (index := class_index(name)) is not None})
    found = []
    for entry, (_, pair) in zip((pairs := find_pairs(folder)).entries, pairs.iterate(), strict=True):
        if entry.label is not None and entry.label.suffix == ".txt":
            boxes, labels = read_yolo(entry.label, pair.visible.shape[:2], names)
            found.append(LabelledPair(_images(pair, engine, thermal), boxes, labels, annotated))
    return hold_out_last(found, hold_out)


def render_labelled(
    count: int,
    size: tuple[int, int],
    engine: FusionEngine,
    progress: Callable[[int], None] = lambda _: None,
    seed: int = _TRAINING_SEED,
) -> Iterator[LabelledPair]:
    """`count` frames of rendered streets of `size` (H, W) in all conditions, a few of each street."""
    done = 0
    for scene in range(math.ceil(count / _FRAMES)):
        condition = CONDITIONS[scene % len(CONDITIONS)]
        config = SceneConfig(condition, size[1], size[0], min(_FRAMES, count - done), _RENDERED_FPS, seed + scene)
        for frame in render_sequence(config):
            images = _images(FramePair(frame.visible, frame.infrared), engine, ThermalRange())
            yield LabelledPair(images, frame.boxes, frame.labels, tuple(range(len(M3FD_CLASSES))))
            done += 1
            progress(done)


def _images(pair: FramePair, engine: FusionEngine, thermal: ThermalRange) -> Images:
    return engine.step(pair).fused, pair.visible, infrared_8bit(pair, thermal)
