"""One thread with a one-slot mailbox: the newest job wins, settings go before jobs."""

from __future__ import annotations

import threading
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from typing import Generic, TypeVar

J = TypeVar("J")
S = TypeVar("S")


class Worker(Generic[J, S]):
    """Runs jobs off the executor thread, one at a time, always the newest.

    Args:
        process: called with each job that is not superseded.
        apply: called with the newest posted settings, before any job that was not yet taken.
        superseded: called in the offering thread for each job that a newer one replaced or that `stop` left over.
        failed: called with an exception that `process` or `apply` let out; the thread goes on.
        turn: held from the choice of a job to its end, so that the job is the newest when its turn comes.
    """

    def __init__(
        self,
        process: Callable[[J], None],
        apply: Callable[[S], None],
        superseded: Callable[[J], None],
        failed: Callable[[Exception], None],
        turn: AbstractContextManager[object] | None = None,
    ) -> None:
        self._process, self._apply, self._superseded, self._failed = process, apply, superseded, failed
        self._turn = turn or nullcontext()
        self._wake = threading.Condition()
        self._job: J | None = None
        self._settings: S | None = None
        self._stopping = False
        self._thread = threading.Thread(target=self._run, name="fusion_worker", daemon=True)
        self._thread.start()

    def offer(self, job: J) -> None:
        """Hand over a job; returns at once."""
        with self._wake:
            old, self._job = self._job, job
            self._wake.notify()
        if old is not None:
            self._superseded(old)

    def post(self, settings: S) -> None:
        """Hand over settings; they are in force for every job offered from now on."""
        with self._wake:
            self._settings = settings
            self._wake.notify()

    def stop(self, timeout_s: float) -> bool:
        """End after the current job. True if the thread has ended in time."""
        with self._wake:
            self._stopping = True
            left, self._job = self._job, None
            self._wake.notify()
        if left is not None:
            self._superseded(left)
        self._thread.join(timeout_s)
        return not self._thread.is_alive()

    def _run(self) -> None:
        while True:
            with self._wake:
                self._wake.wait_for(lambda: self._stopping or self._settings is not None or self._job is not None)
                if self._stopping:
                    return
                settings, self._settings = self._settings, None
            try:
                if settings is not None:
                    self._apply(settings)
                else:
                    self._process_newest()
            except Exception as error:  # whatever it was, the next frame gets its chance
                self._failed(error)

    def _process_newest(self) -> None:
        with self._turn:
            with self._wake:
                if self._settings is not None:  # came while others had their turn
                    return
                job, self._job = self._job, None
            if job is not None:
                self._process(job)
