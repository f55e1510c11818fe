"""Dataclasses from a YAML file and the command line: `--config`, `--print_config`, overrides, checked types."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, TypeVar

T = TypeVar("T")


def configure(kind: type[T], arguments: Sequence[str], prog: str, description: str) -> T:
    """An instance of a dataclass. Exits with status 2, naming the option, for arguments that do not fit.

    Raises ImportError without jsonargparse.
    """
    try:
        from jsonargparse import ArgumentParser
    except ImportError as error:
        raise ImportError("this training is configured with jsonargparse: pip install jsonargparse") from error
    parser = ArgumentParser(prog=prog, description=description)
    parser.add_argument("--config", action="config", help="YAML file with any of the options below")
    parser.add_class_arguments(kind, as_group=False)
    values: dict[str, Any] = dict(parser.instantiate(parser.parse_args(list(arguments))))
    values.pop("config", None)
    return kind(**values)
