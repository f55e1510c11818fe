"""`cldyn data`: check a folder of pairs, render a scene, calibrate cameras, and what other packages add (to-bag)."""

from __future__ import annotations

import argparse
import sys
from importlib.metadata import entry_points
from pathlib import Path
from typing import Any

from cldyn_core.calibrate.command import add_calibrate_command
from cldyn_core.data.check import check_folder
from cldyn_core.data.pairs import LAYOUT_NAMES
from cldyn_core.image_size import parse_size

PLUGINS = "cldyn.commands"
"""Entry-point group. An entry "data to-bag" is a function that adds `to-bag` to the sub-parsers it is given."""


def add_data_commands(subparsers: Any) -> None:
    """Add `data check | render | calibrate`, and the plug-ins' actions, to the commands of `cldyn`."""
    actions = subparsers.add_parser("data", help="check, render and convert data, calibrate cameras").add_subparsers(
        required=True, metavar="action"
    )
    check = actions.add_parser("check", help="say what is wrong with a folder of pairs; status 1 if something is")
    check.add_argument("folder", type=Path)
    check.add_argument("--layout", choices=LAYOUT_NAMES, default="auto", help="how the folder is arranged")
    check.add_argument("--split", help="only this split (train, test) of a data set that has them")
    check.set_defaults(run=run_check)

    render = actions.add_parser("render", help="render a street scene in infrared and visible light, with labels")
    render.add_argument("folder", type=Path, help="folder to write")
    render.add_argument("--condition", default="night", help="day, dusk, night, glare, fog or smoke (default night)")
    render.add_argument("--frames", type=int, default=60, help="default 60")
    render.add_argument("--size", type=parse_size, default=(640, 480), metavar="WxH", help="default 640x480")
    render.add_argument("--fps", type=float, default=10.0, help="frames per second (default 10)")
    render.add_argument("--seed", type=int, default=0, help="same seed, same scene (default 0)")
    render.set_defaults(run=run_render)
    add_calibrate_command(actions)
    _add_plugins(actions)


def run_check(args: argparse.Namespace) -> int:
    """Print the report of a folder. Returns 0 when it is fit for use, else 1."""
    report = check_folder(args.folder, args.layout, args.split, _progress if sys.stderr.isatty() else None)
    print("\n".join(report.lines()))
    return 0 if report.ok else 1


def run_render(args: argparse.Namespace) -> int:
    """Render a sequence into a folder. Raises ValueError for settings the renderer refuses."""
    from cldyn_core.data.synthetic import SceneConfig, write_sequence

    width, height = args.size
    config = SceneConfig(
        condition=args.condition, width=width, height=height, frames=args.frames, fps=args.fps, seed=args.seed
    )
    write_sequence(config, args.folder, _progress if sys.stderr.isatty() else None)
    print(f"{args.folder}: {args.frames} frames of {width}x{height}, {args.condition}, seed {args.seed}")
    return 0


def _add_plugins(actions: Any) -> None:
    for entry in entry_points(group=PLUGINS):
        if not entry.name.startswith("data "):
            continue
        try:
            add = entry.load()
        except ImportError as error:
            _add_unavailable(actions, entry.name.removeprefix("data "), f"not available here: {error}")
        else:
            add(actions)


def _add_unavailable(actions: Any, name: str, reason: str) -> None:
    """A plug-in that cannot be imported says so when it is asked for, and spoils nothing else."""

    def run(_args: argparse.Namespace) -> int:
        raise ImportError(f"data {name} is {reason}")

    parser = actions.add_parser(name, help=reason, add_help=False)
    parser.add_argument("rest", nargs=argparse.REMAINDER)
    parser.set_defaults(run=run)


def _progress(done: int, total: int) -> None:
    print(f"\r{done}/{total}", end="\n" if done == total else "", file=sys.stderr, flush=True)
