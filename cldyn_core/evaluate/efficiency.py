"""What the methods cost: parameters, arithmetic, latency and memory of one fused frame."""

from __future__ import annotations

import ctypes
import re
import statistics
import time
from collections.abc import Callable, Sequence
from math import nan
from pathlib import Path

import torch
from torch import Tensor

from cldyn_core.evaluate.methods import Methods, MethodSpec
from cldyn_core.report import Column, Row, Table, Value
from cldyn_core.train.cost import FRAME, gflops, trainable
from cldyn_core.types import LabelledPair

_COLUMNS = (
    Column("parameters", "Parameters, millions", False, 3, "of the fusion network and the compensation"),
    Column("trainable", "Trainable, millions", False, 3, "of these: moved by stage 2, or by stage 1 without it"),
    Column("gflops", "GFLOPs", False, 1, f"of a {FRAME[1]}x{FRAME[0]} frame, two a multiply-add; with the task's pass"),
    Column("latency", "Latency, ms", False, 1, "from 8-bit pair to 8-bit image, median, the methods in turn"),
    Column("memory", "Memory, MB", False, 0, "most that one frame takes beside the weights"),
)


@torch.no_grad()
def efficiency_table(specs: Sequence[MethodSpec], pair: LabelledPair, device: torch.device, repeats: int) -> Table:
    """A row a method, measured on one pair."""
    methods = Methods(device)
    built = {spec.name: methods.build(spec) for spec in specs}
    for fuse in built.values():
        fuse(pair)  # the first call builds what later ones reuse
    peaks = {name: _peak_megabytes(lambda fuse=fuse: fuse(pair), device) for name, fuse in built.items()}  # type: ignore[misc]
    laps: dict[str, list[float]] = {name: [] for name in built}
    for _ in range(repeats):
        for name, fuse in built.items():
            start = time.perf_counter()
            fuse(pair)  # ends on the host, so that work on a GPU is waited for
            laps[name].append(1e3 * (time.perf_counter() - start))
    rows = []
    for spec in specs:
        latency = Value(statistics.median(laps[spec.name]))
        rows.append(Row(spec.name, {**_arithmetic(spec, methods), "latency": latency, "memory": peaks[spec.name]}))
    height, width = pair.infrared.shape
    where = f"{device}, {torch.get_num_threads()} threads"
    caption = f"Latency and memory on a {width}x{height} pair, {where}; median of {repeats} frames."
    return Table("efficiency", "Efficiency", _COLUMNS, tuple(rows), caption)


def _arithmetic(spec: MethodSpec, methods: Methods) -> dict[str, Value]:
    if spec.kind not in ("vfn", "cldyn"):
        return {}
    model = methods.model(spec.source)
    vfn, rest = trainable(model.vfn.parameters()), 0
    work: Callable[[Tensor, Tensor], object] = model.first_pass
    if spec.kind == "cldyn":
        rest = sum(trainable(part.parameters()) for part in model.compensation().values())
        network = methods.network(spec.task, spec.task_weights)
        work = lambda visible, infrared: model(visible, infrared, network.feature)  # noqa: E731
    counts = {
        "parameters": (vfn + rest) / 1e6,
        "trainable": (rest or vfn) / 1e6,
        "gflops": gflops(work, methods.device),
    }
    return {name: Value(value) for name, value in counts.items()}


def _peak_megabytes(work: Callable[[], object], device: torch.device) -> Value:
    """Memory above what is held before; on Linux and CUDA."""
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
        before = torch.cuda.memory_allocated(device)
        work()
        return Value((torch.cuda.max_memory_allocated(device) - before) / 1e6)
    try:
        ctypes.CDLL("libc.so.6").malloc_trim(0)  # what was freed must count again
        Path("/proc/self/clear_refs").write_text("5")  # the high-water mark begins anew
        before = _status_kilobytes("VmRSS")
    except OSError:
        return Value(nan)
    work()
    return Value((_status_kilobytes("VmHWM") - before) / 1e3)


def _status_kilobytes(field: str) -> int:
    found = re.search(rf"{field}:\s*(\d+) kB", Path("/proc/self/status").read_text())
    if found is None:
        raise OSError(f"/proc/self/status: no {field}")
    return int(found.group(1))
