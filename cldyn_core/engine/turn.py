"""A lock that threads get in the order in which they asked."""

from __future__ import annotations

import threading
from collections import deque


class Turn:
    """A context manager as threading.RLock, but fair: of that lock a thread that comes back at once would often be the
    next owner too, and those that wait would starve.
    """

    def __init__(self) -> None:
        self._state = threading.Lock()
        self._owner, self._depth = 0, 0
        self._waiting: deque[tuple[int, threading.Event]] = deque()

    def __enter__(self) -> None:
        me = threading.get_ident()
        if self._owner != me:
            called = threading.Event()
            with self._state:
                if self._owner:
                    self._waiting.append((me, called))
                else:
                    self._owner = me
                    called.set()
            called.wait()
        self._depth += 1

    def __exit__(self, *_: object) -> None:
        self._depth -= 1
        if self._depth:
            return
        with self._state:
            self._owner = 0
            if self._waiting:
                self._owner, called = self._waiting.popleft()
                called.set()
