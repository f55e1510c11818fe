"""Dataclasses from a YAML file and the command line: `--config`, `--print_config`, overrides, checked types."""

from __future__ import annotations

import json
from collections.abc import Sequence
from itertools import takewhile
from typing import Any, TypeVar

T = TypeVar("T")


def configure(kind: type[T], arguments: Sequence[str], prog: str, description: str, leading: str) -> T:
    """An instance of a dataclass. Words before the first option are the list `leading`. Exits with status 2, naming the
    option, for arguments that do not fit.

    Raises ImportError without jsonargparse.
    """
    try:
        from jsonargparse import ArgumentParser, set_parsing_settings
    except ImportError as error:
        raise ImportError("options are read with jsonargparse: pip install jsonargparse") from error
    set_parsing_settings(docstring_parse_attribute_docstrings=True)
    parser = ArgumentParser(prog=prog, description=description, usage=f"{prog} [FOLDER ...] [--config FILE] [options]")
    parser.add_argument("--config", action="config", help="YAML file with any of the options below")
    parser.add_class_arguments(kind, as_group=False)
    words = list(takewhile(lambda word: not word.startswith("-"), arguments))
    options = list(arguments[len(words) :])
    if words:
        options += [f"--{leading}", json.dumps(words)]
    try:
        values: dict[str, Any] = dict(parser.instantiate(parser.parse_args(options)))
    except TypeError as error:  # jsonargparse lets an empty value through as None
        parser.error(f"a value is empty or of another kind than its option wants ({error})")
    values.pop("config", None)
    return kind(**values)
