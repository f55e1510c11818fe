"""Progress on stderr: one line that changes in a terminal, a line every few seconds elsewhere."""

from __future__ import annotations

import sys
import time
from types import TracebackType
from typing import Any

EVERY_S = 5.0
"""Seconds between lines where stderr is no terminal."""


class Progress:
    """Counts pairs; a context manager."""

    def __init__(self, total: int) -> None:
        self._total, self._done = total, 0
        self._begun = self._next = time.monotonic()
        self._next += EVERY_S
        self._bar = _bar(total)

    def update(self, count: int = 1) -> None:
        """So many more are done."""
        self._done += count
        if self._bar is not None:
            self._bar.update(count)
        elif time.monotonic() >= self._next:
            self._next = time.monotonic() + EVERY_S
            print(self._line(), file=sys.stderr, flush=True)

    def note(self, text: str) -> None:
        """A line that stays."""
        if self._bar is not None:
            self._bar.write(text, file=sys.stderr)
        else:
            print(text, file=sys.stderr, flush=True)

    def _line(self) -> str:
        rate = self._done / max(time.monotonic() - self._begun, 1e-9)
        left = (self._total - self._done) / max(rate, 1e-9)
        return f"{self._done}/{self._total} pairs, {rate:.1f} pairs/s, {left:.0f} s left"

    def __enter__(self) -> Progress:
        return self

    def __exit__(self, _kind: type[BaseException] | None, _value: object, _trace: TracebackType | None) -> None:
        if self._bar is not None:
            self._bar.close()


def _bar(total: int) -> Any:
    """tqdm's, in a terminal and where it is installed; else None."""
    if not sys.stderr.isatty():
        return None
    try:
        from tqdm import tqdm
    except ImportError:
        return None
    return tqdm(total=total, unit="pair", file=sys.stderr, dynamic_ncols=True)
