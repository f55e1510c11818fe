"""`cldyn fuse`: its options, and what they mean."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from cldyn_core import tasks
from cldyn_core.engine import resolve_device
from cldyn_core.fuse.outputs import VIDEO_CODECS, ImageOutput, Output, VideoOutput
from cldyn_core.fuse.plugins import find_sources, plugins
from cldyn_core.fuse.run import Run, execute
from cldyn_core.fuse.sources import FrameSequence
from cldyn_core.registration.registration import Registration
from cldyn_core.types import Backend, EngineSettings, LoopMode, Precision, Task

BAG_SUFFIXES = (".mcap", ".db3")
_DEFAULT = EngineSettings()


def add_fuse_command(commands: Any) -> None:
    """Add `fuse` to the sub-commands of a parser."""
    parser = commands.add_parser("fuse", help="fuse a folder of pairs, two images, two videos or a bag")
    parser.add_argument(
        "source", type=Path, nargs="+", metavar="PATH",
        help="a folder of pairs, of a clip or of several of them; VISIBLE INFRARED: two images or videos; a bag",
    )  # fmt: skip
    parser.add_argument(
        "-o", "--out", type=Path, required=True,
        help="a folder for images and answers; a video (.mp4, .mkv lossless, .avi); a bag (.mcap, .db3) from a bag",
    )  # fmt: skip
    _add_engine_options(parser)
    parser.add_argument("--workers", type=_count, default=0, metavar="N", help="processes (default: 1)")
    parser.add_argument(
        "--ray", nargs="?", const="", metavar="ADDRESS", help="workers of a Ray cluster, or of this machine"
    )
    existing = parser.add_mutually_exclusive_group()
    existing.add_argument("--resume", dest="existing", action="store_const", const="resume", help="skip what is there")
    existing.add_argument("--overwrite", dest="existing", action="store_const", const="overwrite")
    parser.add_argument("--limit", type=_count, metavar="N", help="the first N pairs of each sequence")
    parser.add_argument(
        "--quality", type=_quality, metavar="Q", help="1..100: JPEGs instead of PNGs; pictures of an .avi"
    )
    parser.add_argument("--fps", type=_rate, metavar="HZ", help="of a video (default: what the source says, else 10)")
    for plugin in plugins()[0]:
        plugin.add_source_options(parser)
        plugin.add_output_options(parser)
    parser.set_defaults(run=run_fuse, existing="refuse")


def _add_engine_options(parser: argparse.ArgumentParser) -> None:
    def choice(name: str, kind: Any, default: Any, text: str) -> None:
        parser.add_argument(name, type=kind, choices=list(kind), default=default, metavar="NAME", help=text)

    choice("--task", Task, _DEFAULT.task, f"{', '.join(Task)} (default none)")
    choice("--mode", LoopMode, _DEFAULT.loop_mode, "exact (default); stream: a folder is one sequence in time; open")
    choice("--backend", Backend, _DEFAULT.backend, f"{', '.join(Backend)}")
    choice("--precision", Precision, _DEFAULT.precision, f"{', '.join(Precision)}")
    parser.add_argument(
        "--period", type=_count, default=_DEFAULT.loop_period, metavar="N",
        help=f"frames for which stream mode keeps a plan (default {_DEFAULT.loop_period})",
    )  # fmt: skip
    parser.add_argument("--weights", default="default", help="default, paper (bundled ones) or a .safetensors file")
    parser.add_argument("--device", default="auto", help="auto, cpu, cuda, cuda:1")
    parser.add_argument("--no-denoise", action="store_true", help="leave sensor noise in the images: doc/thermal.md")
    registration = parser.add_mutually_exclusive_group()
    registration.add_argument(
        "--homography", type=float, nargs=9, default=(), metavar="H", help="infrared to visible pixels, row-major"
    )
    registration.add_argument("--calibration", default="", metavar="FILE", help="of both cameras: doc/calibration.md")


def run_fuse(args: argparse.Namespace) -> int:
    """Run `cldyn fuse`. Returns the exit status; raises ValueError, OSError and ImportError."""
    settings = EngineSettings(
        args.task, args.mode, args.period, args.backend, args.precision, args.weights, args.device,
        denoise=not args.no_denoise, homography=tuple(args.homography), calibration=args.calibration,
    )  # fmt: skip
    sequences = find_sources(args, stream=args.mode is LoopMode.STREAM, limit=args.limit)
    output = _output(args, sequences)
    if args.ray is None:
        resolve_device(settings.device)
    Registration(settings.homography, settings.calibration)  # a bad one is refused before the networks are loaded
    if fault := tasks.explain(settings.task, settings):
        raise ValueError(fault)
    return execute(Run(tuple(args.source), tuple(sequences), output, settings, args.workers, args.ray, args.existing))


def _output(args: argparse.Namespace, sequences: Sequence[FrameSequence]) -> Output:
    out: Path = args.out
    for plugin in plugins()[0]:
        if (found := plugin.output(out, sequences, args)) is not None:
            return found
    if out.suffix.lower() in BAG_SUFFIXES:
        raise ValueError(f"{out}: a bag is made from a bag only. Remedy: `cldyn data to-bag` first")
    if out.suffix.lower() not in VIDEO_CODECS:
        if out.is_file():
            raise ValueError(f"{out}: is a file. Remedy: name a folder, or a video ({', '.join(VIDEO_CODECS)})")
        return ImageOutput(out, args.quality)
    if len(sequences) > 1:
        names = ", ".join(sequence.name for sequence in sequences[:4])
        raise ValueError(f"{out}: a video is one sequence, these are {len(sequences)} ({names}). Remedy: name one")
    return VideoOutput(out, args.fps, args.quality)


def _count(text: str) -> int:
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"must be a number from 1 on, not {text!r}")
    return int(text)


def _quality(text: str) -> int:
    if not text.isdecimal() or not 1 <= int(text) <= 100:
        raise argparse.ArgumentTypeError(f"must lie in 1..100, not {text!r}")
    return int(text)


def _rate(text: str) -> float:
    value = float(text)
    if not 0 < value < 1000:
        raise argparse.ArgumentTypeError(f"must lie between 0 and 1000, not {text!r}")
    return value
