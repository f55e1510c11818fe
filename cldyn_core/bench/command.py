"""`cldyn bench`: how fast the paper's order and this project's engine are here, and how they compare."""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import Any

import torch

from cldyn_core.image_size import parse_size
from cldyn_core.types import Backend, EngineSettings, Task


def add_bench_command(commands: Any) -> None:
    """Add `bench` to the sub-commands of a parser."""
    parser = commands.add_parser("bench", help="speed against the paper's order, in one run")
    parser.add_argument("--quick", action="store_true", help="under a minute: 640x480, the automatic backend")
    parser.add_argument("--json", metavar="FILE", help="write all figures; -: on stdout, and the tables on stderr")
    parser.add_argument("--sizes", nargs="+", type=parse_size, metavar="WxH", help="default: 640x480 1024x768")
    known = ", ".join(backend.value for backend in Backend)
    parser.add_argument(
        "--backends",
        nargs="+",
        type=Backend,
        choices=list(Backend),
        metavar="BACKEND",
        help=f"some of {known}; default: all that run here in all precisions",
    )
    parser.add_argument(
        "--task",
        type=Task,
        choices=(Task.DETECTION, Task.NONE),
        default=Task.DETECTION,
        metavar="TASK",
        help="closes the whole loop: detection (default); none: fusion alone",
    )
    parser.add_argument("--period", type=int, default=EngineSettings().loop_period, help="frames that a plan is held")
    parser.add_argument("--seconds", type=float, help="about how long a size may take (default: 180; quick: 40)")
    parser.add_argument("--threads", type=int, default=torch.get_num_threads(), help="default: torch's, all cores")
    parser.add_argument("--device", default="auto", help="auto, cpu, cuda")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Measure, print the tables, write the JSON."""
    from cldyn_core.bench.measure import Wishes, measure  # loads all that computes
    from cldyn_core.bench.text import as_text

    every = [backend for backend in Backend if backend is not Backend.AUTO]
    document = measure(
        Wishes(
            sizes=args.sizes or ([(640, 480)] if args.quick else [(640, 480), (1024, 768)]),
            backends=args.backends or ([Backend.AUTO] if args.quick else every),
            task=args.task,
            period=args.period,
            seconds=args.seconds or (40.0 if args.quick else 180.0),
            rounds=2 if args.quick else 3,
            threads=args.threads,
            device=args.device,
        ),
        progress=lambda line: print(line, file=sys.stderr),
    )
    print(as_text(document), file=sys.stderr if args.json == "-" else sys.stdout)
    content = json.dumps(document, indent=2)
    if args.json == "-":
        print(content)
    elif args.json:
        Path(args.json).write_text(content + "\n", encoding="utf-8")
    return 0
