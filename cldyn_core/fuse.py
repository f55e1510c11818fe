"""`cldyn fuse`: fuse a folder of pairs, or one pair, without ROS."""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import cv2

from cldyn_core.data.images import read_infrared, read_visible
from cldyn_core.data.pairs import find_pairs
from cldyn_core.engine import FusionEngine
from cldyn_core.types import Detections, EngineSettings, FramePair, LoopMode, Task


def add_fuse_command(commands: Any) -> None:
    """Add `fuse` to the sub-commands of a parser."""
    parser = commands.add_parser("fuse", help="fuse a folder of pairs, or one pair of images")
    parser.add_argument("source", type=Path, nargs="+", metavar="PATH", help="a folder of pairs, or VISIBLE INFRARED")
    parser.add_argument("-o", "--out", type=Path, required=True, help="folder for the fused PNGs (and boxes as .txt)")
    parser.add_argument(
        "--task", type=Task, choices=list(Task), default=Task.NONE, metavar="TASK", help="default: none"
    )
    parser.add_argument("--mode", type=LoopMode, choices=list(LoopMode), default=LoopMode.EXACT, metavar="MODE")
    parser.add_argument("--weights", default="default", help="a .safetensors file (default: the bundled weights)")
    parser.add_argument("--device", default="auto", help="auto, cpu, cuda")
    parser.add_argument(
        "--homography", type=float, nargs=9, default=(), help="infrared pixels to visible pixels, row-major"
    )
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Fuse everything that was named; one line of progress an image."""
    settings = EngineSettings(
        args.task, args.mode, weights=args.weights, device=args.device, homography=tuple(args.homography)
    )
    engine = FusionEngine(settings)
    for name, pair in _pairs(args.source):
        result = engine.step(pair)
        target = args.out / f"{name}.png"
        target.parent.mkdir(parents=True, exist_ok=True)  # a data set with splits has them in its names
        if not cv2.imwrite(str(target), result.fused[..., ::-1]):
            raise OSError(f"{target}: cannot be written")
        if isinstance(result.output, Detections):
            target.with_suffix(".txt").write_text(_boxes_as_text(result.output))
        print(f"{target}  {sum(result.timings_ms.values()):.0f} ms  {result.error}".rstrip())
    return 0


def _pairs(source: list[Path]) -> Iterator[tuple[str, FramePair]]:
    if len(source) == 1:
        yield from find_pairs(source[0]).iterate()
        return
    if len(source) != 2:
        raise ValueError("give a folder of pairs, or a visible and an infrared image")
    yield source[0].stem, FramePair(read_visible(source[0]), read_infrared(source[1]))


def _boxes_as_text(found: Detections) -> str:
    rows = zip(found.labels, found.scores, found.boxes, strict=True)
    return "".join(f"{found.names[c]} {s:.3f} {' '.join(f'{v:.1f}' for v in box)}\n" for c, s, box in rows)
