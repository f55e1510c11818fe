"""`cldyn data calibrate`, which is also `ros2 run cldyn_ros calibrate`: from recorded pairs to a calibration file."""

from __future__ import annotations

import argparse
import math
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import yaml

from cldyn_core.calibrate import by_edges, by_target
from cldyn_core.calibrate.by_edges import EdgePair
from cldyn_core.calibrate.by_target import View
from cldyn_core.calibrate.found import Found, NotFoundError, Residuals
from cldyn_core.calibrate.models import MODELS, Model
from cldyn_core.calibrate.overlay import overlay
from cldyn_core.calibrate.recorded import LEAST_PAIRS, Cameras, GrayPair, draw, gray, judges, places, read_cameras
from cldyn_core.checkpoint import write_whole
from cldyn_core.fuse.plugins import find_sources, plugins
from cldyn_core.image_size import parse_size
from cldyn_core.registration.calibration import parse_calibration, read_calibration
from cldyn_core.registration.cameras import transform
from cldyn_core.registration.registration import Registration

_SHOWN = 3  # pairs of the overlay


@dataclass(frozen=True)
class _Recording:
    """What was recorded: pairs, and views of a target, that teach and that judge."""

    cameras: Cameras
    pairs: tuple[list[GrayPair], list[GrayPair]]
    views: tuple[list[View], list[View]]

    @property
    def counts(self) -> tuple[int, int]:
        """Of the pairs."""
        return len(self.pairs[0]), len(self.pairs[1])


def add_calibrate_command(actions: Any) -> None:
    """Add `calibrate` to the actions of `cldyn data`."""
    parser = actions.add_parser(
        "calibrate", help="find how the infrared camera lies to the visible one, from recorded pairs",
        description="Find how the infrared camera lies to the visible one, from recorded pairs: doc/calibration.md.",
    )  # fmt: skip
    _add_options(parser)


def main(arguments: Sequence[str] | None = None) -> int:
    """The command by itself. Returns the exit status."""
    parser = argparse.ArgumentParser(prog="calibrate", description=__doc__)
    _add_options(parser)
    args = parser.parse_args(arguments)
    try:
        return run_calibrate(args)
    except (ValueError, OSError, ImportError) as error:
        print(f"calibrate: {error}", file=sys.stderr)
        return 1


def _add_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "source", type=Path, nargs="+", metavar="PATH",
        help="a folder of pairs or of several sequences; VISIBLE INFRARED: two videos; a bag",
    )  # fmt: skip
    parser.add_argument("-o", "--out", type=Path, metavar="FILE", help="the calibration file to write (.yaml)")
    parser.add_argument(
        "--check", type=Path, metavar="FILE", help="measure this calibration on the pairs instead of finding one"
    )
    parser.add_argument(
        "--target", choices=("none", "chessboard", "circles"), default="none",
        help="what both cameras were shown; none (default): edges of whatever they saw",
    )  # fmt: skip
    parser.add_argument(
        "--pattern", type=parse_size, metavar="WxH", help="inner corners, or circles, in a row and in a column"
    )
    parser.add_argument(
        "--model", choices=("auto", *MODELS), default="auto", help="auto (default): the simplest that does"
    )
    parser.add_argument("--infrared-info", type=Path, metavar="FILE", help="intrinsics, as camera_calibration writes")
    parser.add_argument("--visible-info", type=Path, metavar="FILE", help="likewise")
    parser.add_argument(
        "--overlay", type=Path, metavar="PNG", help="infrared edges in visible images, before and after"
    )
    parser.add_argument("--most", type=int, default=60, metavar="N", help="pairs, evenly spread (default %(default)s)")
    parser.add_argument(
        "--worst-px", type=float, default=6.0, metavar="PX",
        help="status 1, and no file, if the median of what remains is above (default %(default)s)",
    )  # fmt: skip
    for plugin in plugins()[0]:
        plugin.add_source_options(parser)
    parser.set_defaults(run=run_calibrate)


def run_calibrate(args: argparse.Namespace) -> int:
    """Run the command. Returns the exit status; raises ValueError, OSError and ImportError."""
    if (args.out is None) == (args.check is None):
        raise ValueError("name either the file to write (-o) or the one to measure (--check)")
    if (args.target == "none") != (args.pattern is None):
        raise ValueError("--target chessboard or circles needs --pattern WxH, and --pattern needs --target")
    recording = _read(args)
    if args.check is not None:
        return _check(args, recording)
    models = MODELS if args.model == "auto" else (args.model,)
    found = _find(recording, args.target, models)
    _report(found, recording, args.target)
    if found.held_out.median > args.worst_px:
        raise NotFoundError(
            f"{found.held_out.median:.1f} px remain, --worst-px is {args.worst_px:g}: nothing is written. Remedy: "
            "pairs that were taken at the same time, cameras that do not move against each other, scenes not too near"
        )
    _write(args.out, found, recording, args)
    _show(args.overlay, recording.pairs[True][:_SHOWN], Registration(calibration=str(args.out)))
    return 0


def _read(args: argparse.Namespace) -> _Recording:
    stream = find_sources(args, stream=True, limit=None)
    count = min(args.most, sum(len(sequence) for sequence in stream))
    if count < LEAST_PAIRS:
        raise NotFoundError(f"{count} pairs are too few. Remedy: {LEAST_PAIRS} or more, of different scenes")
    pairs: tuple[list[GrayPair], list[GrayPair]] = ([], [])
    views: tuple[list[View], list[View]] = ([], [])
    judging = judges(count)
    for judge, pair in zip(judging, draw(stream, count), strict=False):  # a bag may hold fewer pairs than images
        both = gray(pair)
        pairs[judge].append(both)
        if args.target != "none" and (view := by_target.look(both, args.target, args.pattern)):
            views[judge].append(view)
    if not (pairs[False] and pairs[True]):
        raise NotFoundError("too few pairs could be read. Remedy: `cldyn data check`, or wider --sync-tolerance-ms")
    sizes = pairs[False][0].infrared.shape, pairs[False][0].visible.shape
    return _Recording(read_cameras(*sizes, args.infrared_info, args.visible_info), pairs, views)


def _find(recording: _Recording, target: str, models: Sequence[Model]) -> Found:
    if target == "none":
        return by_edges.find(*recording.pairs, recording.cameras, models)
    return by_target.find(*recording.views, recording.cameras, models)


def _check(args: argparse.Namespace, recording: _Recording) -> int:
    calibration = read_calibration(args.check)
    if args.target == "none":
        pairs = [EdgePair.of(pair) for part in recording.pairs for pair in part]
        left = by_edges.residuals(pairs, calibration)
    else:
        left = by_target.residuals([view for part in recording.views for view in part], calibration)
    if not len(left.at):
        raise NotFoundError("nothing in these pairs can be compared. Remedy: others, which both cameras see well")
    print(f"{args.check}: {_error(left, args.target)}, {sum(recording.counts)} pairs")
    _show(args.overlay, recording.pairs[True][:_SHOWN], Registration(calibration=str(args.check)))
    return 0 if left.median <= args.worst_px else 1


def _report(found: Found, recording: _Recording, target: str) -> None:
    cameras, matrix = recording.cameras, found.homography
    infrared, visible = cameras.camera("infrared"), cameras.camera("visible")
    middle = np.array([[(infrared.width - 1) / 2, (infrared.height - 1) / 2]])
    here, right = (transform(matrix, middle + step)[0, :2] for step in ([0.0, 0.0], [1.0, 0.0]))
    size, turn = math.hypot(*(right - here)), math.degrees(math.atan2(*(right - here)[::-1]))
    print(
        f"{found.model} from {recording.counts[0]} pairs: an infrared pixel is {size:.4f} visible ones wide, turned by "
        f"{turn:+.2f} degrees; the middle of the infrared image lies at x {here[0]:.1f}, y {here[1]:.1f} of "
        f"{visible.width}x{visible.height}"
    )
    print(f"{recording.counts[1]} pairs held out: {_error(found.held_out, target)}")
    if target == "none" and (shown := places([pair for part in recording.pairs for pair in part])) < LEAST_PAIRS:
        print(
            f"note: the pairs show {shown} different pictures; the error is that of these views, elsewhere it may be "
            "larger. Remedy: record different places, then --check"
        )
    if infrared.linear and visible.linear:
        numbers = ", ".join(f"{value:.8g}" for value in matrix.ravel())
        print(f'live: ros2 param set /cldyn registration.homography "[{numbers}]"')


def _error(left: Residuals, target: str) -> str:
    """In words."""
    what = "parts of the image" if target == "none" else "points"
    text = f"{left.median:.2f} px in the median of {len(left.at)} {what}, {left.largest:.2f} px at most"
    return text if target == "none" else f"{text}; views lie up to {left.spread:.2f} px apart (parallax)"


def _write(path: Path, found: Found, recording: _Recording, args: argparse.Namespace) -> None:
    """The file as `registration.calibration` reads it; it is read again before anybody relies on it."""
    tree = recording.cameras.file(found.homography)
    parse_calibration(tree)
    head = (
        f"# Found by `cldyn data calibrate` on {date.today()} in {', '.join(path.name for path in args.source)}:\n"
        f"# {found.model}, {recording.counts[0]} pairs, {'edges' if args.target == 'none' else args.target}. "
        f"{recording.counts[1]} pairs held out: {_error(found.held_out, args.target)}.\n"
    )
    path.parent.mkdir(parents=True, exist_ok=True)
    write_whole(path, (head + yaml.safe_dump(tree, sort_keys=False, default_flow_style=None, width=120)).encode())
    read_calibration(path)
    print(f"written: {path}; use it: registration.calibration: {path.resolve()}")


def _show(path: Path | None, pairs: list[GrayPair], registration: Registration) -> None:
    if path is None:
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    if not cv2.imwrite(str(path), overlay(pairs, registration)):
        raise OSError(f"{path}: cannot be written. Remedy: a name that ends with .png or .jpg, in a folder of yours")
    print(f"written: {path}: left stretched, right registered")
