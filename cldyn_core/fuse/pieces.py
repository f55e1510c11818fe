"""Pieces of work and who does them: this process, several, or a Ray cluster. All run the same Worker."""

from __future__ import annotations

import logging
import multiprocessing
import os
import pickle  # nosec B403: only between the processes of one run
import signal
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from contextlib import suppress
from dataclasses import dataclass
from importlib import import_module
from typing import Any

import torch

from cldyn_core.fuse.outputs import Output
from cldyn_core.fuse.pipeline import Outcome, Watch, Worker
from cldyn_core.fuse.sources import FrameSequence
from cldyn_core.types import EngineSettings


@dataclass(frozen=True)
class Piece:
    """What one worker does without pause. Can be pickled."""

    sequence: FrameSequence
    output: Output


def fuse_here(pieces: Sequence[Piece], settings: EngineSettings, outcome: Outcome, watch: Watch) -> None:
    """Fuse all in this process; `outcome` grows as pieces end, also when one is interrupted."""
    worker = Worker(settings)
    for piece in pieces:
        worker.run(piece.sequence, piece.output, outcome, watch)


def fuse_in_processes(pieces: Sequence[Piece], settings: EngineSettings, workers: int) -> Iterator[Outcome]:
    """Outcomes of the pieces as they end. Left early, it stops the processes after the frame they are at."""
    context = multiprocessing.get_context("spawn")
    stop = context.Event()
    threads = max(1, (os.cpu_count() or 1) // workers)
    with ProcessPoolExecutor(workers, context, _begin, (settings, threads, stop)) as pool:
        try:
            jobs = [pool.submit(_run, piece) for piece in pieces]
            for job in as_completed(jobs):
                yield job.result()
        finally:
            stop.set()
            pool.shutdown(wait=False, cancel_futures=True)


_worker: list[Worker] = []


def _begin(settings: EngineSettings, threads: int, stop: Any) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the first process says when to stop
    torch.set_num_threads(threads)
    _worker[:] = [Worker(settings, stop.is_set)]


def _run(piece: Piece) -> Outcome:
    outcome = Outcome()
    with suppress(KeyboardInterrupt):  # the first process has been interrupted and has told this one
        _worker[0].run(piece.sequence, piece.output, outcome)
    return outcome


def fuse_on_ray(pieces: Sequence[Piece], settings: EngineSettings, workers: int, address: str) -> Iterator[Outcome]:
    """Outcomes of the pieces as they end, from `workers` actors of a Ray cluster (0: one a GPU, else one a node).

    address: of the cluster; "": one of this machine. All nodes see the same folders. Raises ImportError without Ray.
    """
    try:
        ray, ray_data = import_module("ray"), import_module("ray.data")
    except ImportError as error:
        raise ImportError("--ray needs Ray: pip install 'cldyn_ros[scale]'") from error
    ray.init(address=address or None, log_to_driver=False, logging_level=logging.ERROR)
    logging.getLogger("ray.data").setLevel(logging.ERROR)
    try:
        ray_data.DataContext.get_current().enable_progress_bars = False
        resources = ray.cluster_resources()
        gpus = int(resources.get("GPU", 0)) if settings.device != "cpu" else 0
        workers = min(workers or gpus or len(ray.nodes()), len(pieces))
        threads = max(1, int(resources.get("CPU", 1)) // workers)
        actors = ray_data.ActorPoolStrategy(size=workers, max_tasks_in_flight_per_actor=1)
        rows = [{"piece": pickle.dumps(piece)} for piece in pieces]
        done = ray_data.from_items(rows, override_num_blocks=len(rows)).map_batches(
            _RayWorker, fn_constructor_args=(settings, threads), batch_size=1, compute=actors,
            num_cpus=None if gpus else threads, num_gpus=min(1.0, gpus / workers) if gpus else None,
        )  # fmt: skip
        for row in done.iter_rows():
            result = pickle.loads(row["outcome"])  # nosec B301
            if isinstance(result, Exception):
                raise result
            yield result
    finally:
        ray.shutdown()


class _RayWorker:
    """An actor of Ray Data. What goes wrong is a value: raised in an actor, it would be tried again."""

    def __init__(self, settings: EngineSettings, threads: int) -> None:
        torch.set_num_threads(threads)
        self._worker = Worker(settings)

    def __call__(self, batch: dict[str, Any]) -> dict[str, Any]:
        return {"outcome": [pickle.dumps(self._result(pickle.loads(row))) for row in batch["piece"]]}  # nosec B301

    def _result(self, piece: Piece) -> Outcome | Exception:
        outcome = Outcome()
        try:
            self._worker.run(piece.sequence, piece.output, outcome)
        except (ValueError, OSError, ImportError) as error:
            return type(error)(str(error)) if type(error).__module__ == "builtins" else ValueError(str(error))
        return outcome
