"""A flag that signal handlers may set."""

from __future__ import annotations

import os
import select
import signal
import time


class StopFlag:
    """As threading.Event, but made for signals. Only one of a process takes signals.

    - A handler runs in the main thread, wherever that happens to be. Inside the wait of an Event its lock is held, and
      setting it there never returns. A pipe has no lock.
    - When two signals come at once, Linux may give both to another thread, and no wait of the main thread ends then.
      So Python's wake-up descriptor, written in whatever thread it is, is this pipe.
    """

    def __init__(self) -> None:
        self._set = False
        self._numbers: tuple[signal.Signals, ...] = ()
        self._read, self._write = os.pipe()
        for end in (self._read, self._write):
            os.set_blocking(end, False)

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
        deadline = time.monotonic() + seconds
        while not self._set and (left := deadline - time.monotonic()) > 0:
            if select.select([self._read], [], [], left)[0]:
                os.read(self._read, 4096)  # the flag's own byte, or the signals whose handlers run now
        return self._set

    def set_on(self, *numbers: signal.Signals) -> StopFlag:
        """Let these signals set the flag; call it in the main thread. Returns the flag."""
        self._numbers = numbers
        signal.set_wakeup_fd(self._write, warn_on_full_buffer=False)
        for number in numbers:
            signal.signal(number, lambda *_: self.set())
        return self

    def retire(self) -> None:
        """Ignore the signals from now on. To be called last: Python takes its handlers away when it ends, and a second
        Ctrl-C would kill it there.
        """
        for number in self._numbers:
            signal.signal(number, signal.SIG_IGN)
