"""The worker thread and its mailbox."""

from __future__ import annotations

import threading
from collections.abc import Iterator

import pytest

from cldyn_ros.worker import Worker


class Log:
    """A worker whose jobs can be held, and what it did."""

    def __init__(self) -> None:
        self.done: list[str] = []
        self.superseded: list[str] = []
        self.failed: list[str] = []
        self.gate = threading.Event()
        self.gate.set()
        self.busy = threading.Event()
        self.worker: Worker[str, str] = Worker(
            self._process,
            lambda settings: self.done.append(f"set {settings}"),
            self.superseded.append,
            lambda error: self.failed.append(str(error)),
        )

    def _process(self, job: str) -> None:
        self.busy.set()
        assert self.gate.wait(5.0)
        if job == "bad":
            raise RuntimeError("bad job")
        self.done.append(job)

    def hold(self, job: str) -> None:
        """Give it a job and keep it busy with that."""
        self.gate.clear()
        self.busy.clear()
        self.worker.offer(job)
        assert self.busy.wait(5.0)


@pytest.fixture
def log() -> Iterator[Log]:
    log = Log()
    yield log
    log.gate.set()
    assert log.worker.stop(5.0)


def test_newest_job_wins_and_the_others_are_told(log: Log) -> None:
    log.hold("a")
    for job in "bcd":
        log.worker.offer(job)
    assert log.superseded == ["b", "c"]
    log.busy.clear()
    log.gate.set()
    assert log.busy.wait(5.0)
    assert log.worker.stop(5.0)
    assert log.done == ["a", "d"]


def test_settings_go_before_a_waiting_job_and_only_the_newest(log: Log) -> None:
    log.hold("a")
    log.worker.offer("b")
    log.worker.post("x")
    log.worker.post("y")
    log.busy.clear()
    log.gate.set()
    assert log.busy.wait(5.0)
    assert log.worker.stop(5.0)
    assert log.done == ["a", "set y", "b"]


def test_a_failing_job_does_not_end_the_thread(log: Log) -> None:
    log.worker.offer("bad")
    assert log.busy.wait(5.0)
    log.busy.clear()
    log.worker.offer("good")
    assert log.busy.wait(5.0)
    assert log.worker.stop(5.0)
    assert log.failed == ["bad job"]
    assert log.done == ["good"]


def test_stop_finishes_the_current_job_and_tells_of_the_waiting_one(log: Log) -> None:
    log.hold("a")
    log.worker.offer("b")
    assert not log.worker.stop(0.05)
    log.gate.set()
    assert log.worker.stop(5.0)
    assert log.done == ["a"]
    assert log.superseded == ["b"]
