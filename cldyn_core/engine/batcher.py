"""Runs the steps of streams on one set of networks: one after another, or those that wait at once as a batch."""

from __future__ import annotations

import threading
import traceback
from collections.abc import Hashable, Sequence
from typing import Any, Generic, TypeVar

from cldyn_core.engine.calls import Call, Steps
from cldyn_core.engine.executors.base import Executor
from cldyn_core.engine.turn import Turn

T = TypeVar("T")


class _Entry(Generic[T]):
    """The steps of one stream, its next call, and in the end its result or fault."""

    def __init__(self, steps: Steps[T], kind: Hashable) -> None:
        self.kind = kind
        self.call: Call | None = None
        self.done = False
        self._steps = steps
        self._value: T | None = None
        self._fault: Exception | None = None

    def go_on(self, result: Any = None, fault: Exception | None = None) -> None:
        """Until the next call, with what the last one gave."""
        self.call = None
        try:
            self.call = self._steps.throw(fault) if fault is not None else self._steps.send(result)
        except StopIteration as end:
            self._value, self.done = end.value, True
        except Exception as error:
            self._fault, self.done = error, True

    def result(self) -> T:
        """What the steps returned; raises what they raised."""
        fault, self._fault = self._fault, None
        if fault is not None:
            try:
                raise fault
            finally:
                del fault  # or it would hold this frame, and this frame it
        return self._value  # type: ignore[return-value]  # done without a fault


class Batcher:
    """Who comes while another one runs waits; whoever's turn it is runs the oldest and those of its kind.

    Args:
        executor: of the fusion network.
        turn: held while anything runs.
        most: streams in a batch; 1: none.
    """

    def __init__(self, executor: Executor, turn: Turn, most: int) -> None:
        self._executor, self._turn, self._most = executor, turn, most
        self._lock = threading.Lock()
        self._waiting: list[_Entry[Any]] = []

    def run(self, steps: Steps[T], kind: Hashable) -> T:
        """Run these steps, perhaps with others' of the same kind, perhaps in another stream's thread."""
        mine = _Entry(steps, kind)
        with self._lock:
            self._waiting.append(mine)
        with self._turn:
            while not mine.done:
                drive(self._take(), self._executor)
        return mine.result()

    def _take(self) -> list[_Entry[Any]]:
        with self._lock:
            kind = self._waiting[0].kind
            taken = [entry for entry in self._waiting if entry.kind == kind][: self._most]
            self._waiting = [entry for entry in self._waiting if entry not in taken]
        return taken


def drive(entries: Sequence[_Entry[Any]], executor: Executor) -> None:
    """Run them to their ends in lockstep: of all their next calls, those that are alike are one."""
    for entry in entries:
        entry.go_on()
    while pending := [entry for entry in entries if entry.call is not None]:
        groups: dict[Hashable, list[_Entry[Any]]] = {}
        for entry in pending:
            assert entry.call is not None, "it is pending"
            groups.setdefault(entry.call.alike, []).append(entry)
        for group in groups.values():
            _run(group, executor)


def _run(group: Sequence[_Entry[Any]], executor: Executor) -> None:
    """One batch. If it fails, one by one: who cannot be run fails alone, and a batch may need more memory."""
    first, *others = (entry.call for entry in group)
    assert first is not None, "it is pending"
    faults: list[Exception] = []
    try:
        results = first.run(executor, others)
    except Exception as error:
        traceback.clear_frames(error.__traceback__)  # they hold the tensors of what failed
        faults.append(error)
    if not faults:
        for entry, result in zip(group, results, strict=True):
            entry.go_on(result)
    elif others:
        faults.clear()
        for entry in group:
            _run([entry], executor)
    else:
        group[0].go_on(fault=faults.pop())
