"""A flag that signal handlers may set."""

from __future__ import annotations

import os
import select
import signal


class StopFlag:
    """As threading.Event, but safe in a signal handler.

    A handler runs in the main thread, wherever that happens to be. Where that is inside the wait of an Event, the
    Event's lock is held and setting it there never returns. A pipe has no lock.
    """

    def __init__(self) -> None:
        self._set = False
        self._read, self._write = os.pipe()
        os.set_blocking(self._write, False)

    def set(self) -> None:
        """Set the flag; more than once does no harm."""
        if not self._set:
            self._set = True
            os.write(self._write, b"x")

    def is_set(self) -> bool:
        """Whether the flag is set."""
        return self._set

    def wait(self, seconds: float) -> bool:
        """Wait until the flag is set, at most so long; returns whether it is."""
        if not self._set:
            select.select([self._read], [], [], max(0.0, seconds))
        return self._set

    def set_on(self, *numbers: signal.Signals) -> StopFlag:
        """Let these signals set the flag. Returns the flag."""
        for number in numbers:
            signal.signal(number, lambda *_: self.set())
        return self
