"""The folder of the results: an earlier demo's are replaced, anything else is left alone."""

from __future__ import annotations

import shutil
from pathlib import Path

FILES = frozenset({"input.mcap", "output.mcap", "contact_sheet.png", "summary.md", "node.log", "replay.log"})
_UNFINISHED = (".input.mcap.", ".output.mcap.")  # folders in which an interrupted recording lies


def check_folder(folder: Path) -> None:
    """Raise ValueError if the folder holds anything that no demo has put there."""
    if folder.exists() and not folder.is_dir():
        raise ValueError(f"{folder} is not a folder; name another one with --out")
    foreign = sorted(path.name for path in folder.glob("*") if not _is_ours(path))
    if foreign:
        raise ValueError(f"{folder} holds {foreign[0]}, which is not of a demo; name another folder with --out")


def clear_folder(folder: Path) -> None:
    """Make the folder, and remove what an earlier demo has left in it. Raises ValueError as `check_folder`."""
    check_folder(folder)
    folder.mkdir(parents=True, exist_ok=True)
    for path in folder.iterdir():
        shutil.rmtree(path) if path.is_dir() else path.unlink()


def _is_ours(path: Path) -> bool:
    return path.name.startswith(_UNFINISHED) if path.is_dir() else path.name in FILES
