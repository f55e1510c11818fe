"""What the demo plays: a bag of pairs, the tasks in order, and a rate that this machine keeps up with."""

from __future__ import annotations

import argparse
import itertools
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from cldyn_core.data.pairs import find_pairs
from cldyn_core.engine import FusionEngine
from cldyn_core.tasks import available_tasks
from cldyn_core.types import EngineSettings, FramePair, Task
from cldyn_ros.bags import write_bag
from cldyn_ros.demo.folder import clear_folder

_HEADROOM = 0.4  # of the measured speed: node, replayer and recorder share the machine
_FASTEST_HZ = 10.0
_FRAMES, _LEAST = 30, 6  # to show
_PATIENCE_S = 180.0  # of who watches
_LOOKS, _LOOK_S = 3, 0.3  # at the speed, and seconds between two


@dataclass(frozen=True)
class Material:
    """Everything the performance needs."""

    bag: Path
    source: str
    """What is shown, for the summary."""
    frames: int
    rate: float
    schedule: tuple[Task, ...]
    """Tasks in the order in which they are selected; equal shares of the frames."""


def prepare_material(args: argparse.Namespace) -> Material:
    """Render or read the pairs, measure the machine, write the input bag."""
    if args.frames is not None and args.frames < _LEAST:
        raise ValueError(f"--frames {args.frames}: the demo needs at least {_LEAST}")
    pairs = list(itertools.islice(_pairs(args), args.frames or _FRAMES))
    if len(pairs) < _LEAST:
        raise ValueError(f"{args.pairs}: {len(pairs)} pairs; the demo needs at least {_LEAST}")
    schedule = _schedule()
    rate = args.rate or sustainable_rate(pairs[0][1], schedule)
    if args.frames is None:
        pairs = pairs[: max(_LEAST, int(rate * _PATIENCE_S))]
    clear_folder(args.out)
    bag = args.out / "input.mcap"
    print(f"writing {bag}: {len(pairs)} pairs at {rate:.2f} Hz", flush=True)
    write_bag(iter(pairs), bag, rate=rate)
    height, width = pairs[0][1].visible.shape[:2]
    source = f"{args.pairs}" if args.pairs else f"rendered street, {args.condition}, seed {args.seed}"
    return Material(bag, f"{source}, {width}x{height}", len(pairs), rate, schedule)


def sustainable_rate(pair: FramePair, schedule: tuple[Task, ...]) -> float:
    """Frames a second that the slowest of the scheduled tasks manages here, with headroom; at most 10."""
    print("measuring this machine ...", end=" ", flush=True)
    slowest = max(_seconds_a_frame(pair, task) for task in dict.fromkeys(schedule))
    print(f"{slowest:.2f} s a frame with the slowest task")
    return min(_FASTEST_HZ, _HEADROOM / slowest)


def _seconds_a_frame(pair: FramePair, task: Task) -> float:
    """The best of a few looks: what else this machine does for a moment must not slow the whole show down."""
    engine = FusionEngine(EngineSettings(task))
    engine.step(pair)  # the first step allocates
    looks = []
    for _ in range(_LOOKS):
        start = time.perf_counter()
        engine.step(pair)
        looks.append(time.perf_counter() - start)
        time.sleep(_LOOK_S)
    engine.close()
    return min(looks)


def _schedule() -> tuple[Task, ...]:
    """none, then every other task that exists, then none again."""
    return (*available_tasks(), Task.NONE)


def _pairs(args: argparse.Namespace) -> Iterator[tuple[str, FramePair]]:
    if args.pairs is not None:
        yield from find_pairs(args.pairs).iterate()
        return
    yield from _rendered(args)


def _rendered(args: argparse.Namespace) -> Iterator[tuple[str, FramePair]]:
    from cldyn_core.data.synthetic import SceneConfig, render_sequence

    (width, height), count = args.size, args.frames or _FRAMES
    config = SceneConfig(args.condition, width, height, count, fps=2.0, seed=args.seed)
    for index, frame in enumerate(render_sequence(config)):
        print(f"\rrendering a street ({args.condition}) {index + 1}/{count}", end="", flush=True)
        yield f"{index:06d}", FramePair(frame.visible, frame.infrared, int(frame.time_s * 1e9))
    print()
