"""Measures all pairs: in parallel, with progress, each record kept so that an interrupted evaluation goes on."""

from __future__ import annotations

import hashlib
import json
import multiprocessing
import re
import signal
import threading
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch

from cldyn_core.data.images import PairError
from cldyn_core.data.labelled import LabelledFolder
from cldyn_core.evaluate.methods import FusedFolder
from cldyn_core.evaluate.units import DataSpec, Measurer, Record, Unit


def measure_all(data: DataSpec, units: Sequence[Unit], cache: Path, workers: int, device: str) -> list[list[Record]]:
    """Records by unit and pair, in the order of the pairs.

    cache: folder of a .jsonl file a unit; what is in it and still true is not measured again. Raises ValueError at the
    first pair that cannot be measured; the records until then stay.
    """
    items = data.open()
    stores = [_Store(cache, unit, data) for unit in units]
    keys = [_fingerprints(unit, items) for unit in units]
    missing = {
        index: wanted
        for index in range(len(items))
        if (wanted := [n for n in range(len(units)) if keys[n][index] not in stores[n].records])
    }
    for index, found in _measured(data, units, missing, workers, device):
        for number, record in found.items():
            stores[number].add(keys[number][index], record)
    return [[store.records[key] for key in of_unit] for store, of_unit in zip(stores, keys, strict=True)]


class _Store:
    """Records of one unit by fingerprint of the pair, each appended to a file at once."""

    def __init__(self, cache: Path, unit: Unit, data: DataSpec) -> None:
        text = json.dumps(unit.identity(data), sort_keys=True)
        name = re.sub(r"[^A-Za-z0-9]+", "-", unit.method.name)[:40]
        self._path = cache / f"{name}-{hashlib.sha256(text.encode()).hexdigest()[:16]}.jsonl"
        self.records = dict(self._read())

    def add(self, key: str, record: Record) -> None:
        self._path.parent.mkdir(parents=True, exist_ok=True)
        with self._path.open("a", encoding="utf-8") as file:
            file.write(json.dumps([key, record]) + "\n")
        self.records[key] = record

    def _read(self) -> Iterator[tuple[str, Record]]:
        if not self._path.exists():
            return
        text = self._path.read_text(encoding="utf-8")
        if not text.endswith("\n"):  # the last line was cut off
            text = text[: text.rfind("\n") + 1]
            self._path.write_text(text, encoding="utf-8")
        for line in text.splitlines():
            key, record = json.loads(line)
            yield key, record


def _fingerprints(unit: Unit, items: Sequence[tuple[LabelledFolder, int]]) -> list[str]:
    """One a pair, which changes with its files and classes, and for flicker with the two frames before it.

    Raises PairError when somebody else's image is missing, or would serve two pairs.
    """
    fused = FusedFolder(Path(unit.method.source)) if unit.method.kind == "folder" else None
    keys: list[str] = []
    served: dict[Path, str] = {}
    for folder, index in items:
        item = folder.items[index]
        entry = folder.pairs.entries[item.index]
        name = f"{folder.pairs.folder.name}/{entry.name}"
        files = [entry.visible, entry.infrared, *([item.label] if item.label else [])]
        if fused:
            path = fused.path(name)
            if served.setdefault(path, name) != name:
                raise PairError(f"{path}: serves {served[path]} and {name}. Remedy: a folder for each data set")
            files.append(path)
        stats = [(str(path), path.stat().st_size, path.stat().st_mtime_ns) for path in files]
        before = keys[-2:] if unit.flicker else []
        keys.append(hashlib.sha256(json.dumps([name, item.own, stats, before]).encode()).hexdigest()[:24])
    return keys


def _measured(
    data: DataSpec, units: Sequence[Unit], missing: dict[int, list[int]], workers: int, device: str
) -> Iterator[tuple[int, dict[int, Record]]]:
    """Pair and its records, as they become ready."""
    from tqdm import tqdm

    bar = tqdm(total=len(missing), unit="pair", disable=not missing)
    with bar:
        if min(workers, len(missing)) <= 1:
            measurer = Measurer(data, units, device)
            for index, wanted in missing.items():
                yield index, measurer.measure(index, wanted)
                bar.update()
            return
        context = multiprocessing.get_context("spawn")
        with ProcessPoolExecutor(workers, context, _begin, (data, units, device)) as pool:
            with _uninterrupted():
                jobs = {pool.submit(_one, index, wanted): index for index, wanted in missing.items()}
            try:
                for job in as_completed(jobs):
                    yield jobs[job], job.result()
                    bar.update()
            finally:
                pool.shutdown(wait=False, cancel_futures=True)


@contextmanager
def _uninterrupted() -> Iterator[None]:
    """Processes started here ignore Ctrl-C: this one ends them, without a traceback from each."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    handler = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, handler)


_worker: list[Measurer] = []


def _begin(data: DataSpec, units: Sequence[Unit], device: str) -> None:
    torch.set_num_threads(1)
    _worker[:] = [Measurer(data, units, device)]


def _one(index: int, wanted: list[int]) -> Any:
    return _worker[0].measure(index, wanted)
