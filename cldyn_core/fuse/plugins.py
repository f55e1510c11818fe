"""What other packages add to `cldyn fuse`: sources that are no images or videos, and outputs for them (bags)."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from functools import lru_cache
from importlib.metadata import entry_points
from pathlib import Path
from typing import Any, Protocol

from cldyn_core.fuse.outputs import Output
from cldyn_core.fuse.sources import FrameSequence, find_sequences

GROUP = "cldyn.sources"
"""Entry-point group. An entry is a module, or another object, with the functions of SourcePlugin."""


class SourcePlugin(Protocol):
    """Reads, and writes, one kind of file."""

    def add_source_options(self, parser: argparse.ArgumentParser) -> None:
        """Add the options that say what is read."""

    def add_output_options(self, parser: argparse.ArgumentParser) -> None:
        """Add the options of `cldyn fuse` that say what is written."""

    def find(self, paths: Sequence[Path], args: argparse.Namespace, limit: int | None) -> FrameSequence | None:
        """The sequence in these paths, at most `limit` pairs; None if they are not of its kind. Raises ValueError and
        OSError.
        """

    def output(self, path: Path, sequences: Sequence[FrameSequence], args: argparse.Namespace) -> Output | None:
        """Output for a path the user named; None if it is not of its kind. Raises ValueError."""


@lru_cache(maxsize=1)
def plugins() -> tuple[list[SourcePlugin], list[str]]:
    """Those that can be imported here, and why others cannot."""
    loaded: list[Any] = []
    missing: list[str] = []
    for entry in entry_points(group=GROUP):
        try:
            loaded.append(entry.load())
        except ImportError as error:
            missing.append(f"{entry.name}: not available here: {error}")
    return loaded, missing


def find_sources(args: argparse.Namespace, *, stream: bool, limit: int | None) -> Sequence[FrameSequence]:
    """The sequences at the paths `args.source`, with the options that the plug-ins added. See `find_sequences`.

    Raises ValueError, saying also why a plug-in is not available here, and OSError.
    """
    loaded, missing = plugins()
    for plugin in loaded:
        if (found := plugin.find(args.source, args, limit)) is not None:
            return [found]
    try:
        return find_sequences(args.source, stream=stream, limit=limit)
    except ValueError as error:
        raise type(error)("; ".join([str(error), *missing])) from error
