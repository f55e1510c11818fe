"""Turns: every side has a process of its own, and they take turns, so that a busy moment of the machine hits all.

Processes, because the allocator is a property of one: the reference keeps glibc's own ways, the engine tunes it.
"""

from __future__ import annotations

import os
import signal
import time
import warnings
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from dataclasses import dataclass, field
from multiprocessing import get_context
from multiprocessing.connection import Connection
from typing import Any
from unittest.mock import patch

import torch

from cldyn_core.bench.laps import Job, UnavailableError
from cldyn_core.bench.machine import peak_memory_mb

TURN, END = "turn", "end"
"""What a side is asked: some frames, or its facts and to end."""


@dataclass
class Record:
    """What the turns of one side gave."""

    turns: list[Any] = field(default_factory=list)
    """One a round, of the side's `turn`."""
    facts: dict[str, Any] = field(default_factory=dict)
    """Of the side, with its `memory_mb`."""
    unavailable: str = ""
    """Why there is nothing else."""


def take_turns(
    sides: Mapping[str, tuple[Callable[[Job], Any], Job]],
    seconds: float,
    fewest: int,
    progress: Callable[[str], None],
) -> dict[str, Record]:
    """Records by name of side. Each is told `turn` once a round, in order; the first round warms up and is forgotten.

    Rounds go on while another one would end before `seconds`, and there are at least `fewest`. progress: told one line
    at a time. Raises RuntimeError naming a side that fails.
    """
    begin = time.perf_counter()
    records = {name: Record() for name in sides}
    with ExitStack() as stack:
        channels = {name: _start(stack, make, job) for name, (make, job) in sides.items()}
        for name in sides:
            records[name].unavailable = _receive(channels[name], name)
        able = [name for name in sides if not records[name].unavailable]
        progress(f"{len(able)} sides ready after {time.perf_counter() - begin:.0f} s")
        number, lasted = 0, 0.0
        while number <= fewest or time.perf_counter() - begin + lasted < seconds:
            start = time.perf_counter()
            for name in able:
                answer = _ask(channels[name], name, TURN)
                if number > 0:
                    records[name].turns.append(answer)
            lasted = time.perf_counter() - start
            progress(f"round {number}: {lasted:.1f} s" if number else f"warm-up: {lasted:.1f} s")
            number += 1
        for name in able:
            records[name].facts = _ask(channels[name], name, END)
    return records


def _start(stack: ExitStack, make: Callable[[Job], Any], job: Job) -> Connection:
    context = get_context("spawn")
    ours, theirs = context.Pipe()
    process = context.Process(target=_run, args=(make, job, theirs), daemon=True)
    with patch.dict(os.environ, OMP_NUM_THREADS=str(job.threads)):  # read when the process loads its libraries
        process.start()
    theirs.close()
    stack.callback(process.join)
    stack.callback(process.terminate)
    return ours


def _ask(channel: Connection, name: str, what: str) -> Any:
    channel.send(what)
    return _receive(channel, name)


def _receive(channel: Connection, name: str) -> Any:
    try:
        answer = channel.recv()
    except EOFError as error:
        raise RuntimeError(f"bench: the process of {name} ended: out of memory?") from error
    if isinstance(answer, BaseException):
        raise RuntimeError(f"bench: {name} failed: {answer}") from answer
    return answer


def _run(make: Callable[[Job], Any], job: Job, channel: Connection) -> None:
    """The process of one side."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent ends it
    torch.set_num_threads(job.threads)
    warnings.simplefilter("ignore")  # a fallback is told by UnavailableError
    serve(make, job, channel)


def serve(make: Callable[[Job], Any], job: Job, channel: Connection) -> None:
    """Make one side and say why it cannot run ("" when it can), then answer what is asked until the end."""
    try:
        try:
            side = make(job)
        except UnavailableError as why:
            channel.send(str(why))
            return
        channel.send("")
        while channel.recv() == TURN:
            channel.send(side.turn())
        channel.send({**side.facts(), "memory_mb": peak_memory_mb(torch.device(job.device))})
    except (EOFError, BrokenPipeError):
        return  # the parent is gone
    except Exception as fault:
        channel.send(RuntimeError(f"{type(fault).__name__}: {fault}"))
