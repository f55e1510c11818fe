"""`cldyn`: fuse images, look after data and weights, train, evaluate. `cldyn <command> --help` explains each."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence

from cldyn_core import __version__
from cldyn_core.bench.command import add_bench_command
from cldyn_core.data.commands import add_data_commands
from cldyn_core.evaluate import TABLES
from cldyn_core.export import add_export_command
from cldyn_core.fuse import add_fuse_command
from cldyn_core.train.commands import TRAININGS, add_train_commands
from cldyn_core.weights_commands import add_weights_commands


def build_parser() -> argparse.ArgumentParser:
    """The whole command line. A command is a function `run(args) -> exit status` set as the default `run`."""
    parser = argparse.ArgumentParser(prog="cldyn", description="Task-adaptive infrared-visible image fusion.")
    parser.add_argument("--version", action="version", version=f"cldyn {__version__}")
    commands = parser.add_subparsers(required=True, metavar="command")
    add_fuse_command(commands)
    add_data_commands(commands)
    add_train_commands(commands)
    tables = commands.add_parser("eval", help="tables and pictures of methods side by side")
    names = tables.add_subparsers(required=True, metavar="table")
    for name, shown in TABLES.items():
        names.add_parser(name, help=shown)
    add_weights_commands(commands)
    add_bench_command(commands)
    add_export_command(commands)
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command. A known fault (a wrong path, a bad file) is one line on stderr and status 1; usage errors are
    2.
    """
    words = list(sys.argv[1:] if argv is None else argv)
    try:
        if words[:1] == ["train"] and words[1:2] and words[1] in TRAININGS:
            return TRAININGS[words[1]](words[2:])
        if words[:1] == ["eval"] and words[1:2] and words[1] in TABLES:
            from cldyn_core.evaluate.commands import run_command  # needs packages that the rest does not

            return run_command(words[1], words[2:])
        args = build_parser().parse_args(words)
        return int(args.run(args))
    except (ValueError, OSError, ImportError, ArithmeticError) as error:
        print(f"cldyn: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("cldyn: interrupted", file=sys.stderr)
        return 130


if __name__ == "__main__":
    sys.exit(main())
