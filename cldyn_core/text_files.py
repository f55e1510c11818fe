"""Text, JSON and YAML files that may come from anywhere, read within limits of size and nesting."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import yaml

MAX_BYTES = 16 << 20
MAX_YAML_BYTES = 1 << 18
"""Less: the parser takes seconds for a megabyte."""
MAX_DEPTH = 50


def read_text(path: Path, max_bytes: int = MAX_BYTES, encoding: str = "utf-8") -> str:
    """The content of a file. Raises ValueError with the reason, without the path, and OSError."""
    if not path.is_file():  # a pipe or a device may never end
        raise FileNotFoundError("no such file")
    with path.open("rb") as file:
        content = file.read(max_bytes + 1)
    if len(content) > max_bytes:
        raise ValueError(f"larger than {max_bytes} bytes")
    try:
        return content.decode(encoding)
    except UnicodeDecodeError as error:
        raise ValueError(f"is not UTF-8 text ({error.reason})") from error


def read_json(path: Path) -> Any:
    """What a JSON file says. Raises as `read_text`."""
    try:
        return json.loads(read_text(path))
    except RecursionError as error:
        raise ValueError("is nested too deep") from error


def read_yaml(path: Path) -> Any:
    """What a YAML file says, of plain types alone. Raises as `read_text`, also for aliases and what `check_yaml`
    refuses.
    """
    text = read_text(path, MAX_YAML_BYTES)
    check_yaml(text)
    try:
        return yaml.safe_load(text)
    except (yaml.YAMLError, TypeError) as error:  # an unhashable key is a TypeError
        raise ValueError(_one_line(error)) from error


def check_yaml(text: str) -> None:
    """Raise ValueError for text that is no YAML, is nested deeper than MAX_DEPTH, or holds aliases: a few of them
    can stand for gigabytes.
    """
    depth = 0
    try:
        for event in yaml.parse(text, Loader=yaml.SafeLoader):
            depth += isinstance(event, yaml.CollectionStartEvent) - isinstance(event, yaml.CollectionEndEvent)
            if depth > MAX_DEPTH:
                raise ValueError(f"is nested deeper than {MAX_DEPTH}")
            if isinstance(event, yaml.AliasEvent):
                raise ValueError(f"holds an alias (*{event.anchor}), write the value instead")
    except (yaml.YAMLError, RecursionError) as error:
        raise ValueError(_one_line(error)) from error


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split())
