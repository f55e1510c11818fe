"""The machine that a benchmark ran on: what it is, what it can do at best, what a process took of its memory."""

from __future__ import annotations

import os
import platform
import re
from collections.abc import Callable
from functools import partial
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import numpy as np
import torch

from cldyn_core.engine.clock import StageClock
from cldyn_core.environment import cpu_flags, cpu_has_bf16, cpuinfo, environment
from cldyn_core.types import Precision

_FLAGS = ("avx2", "avx512f", "avx512_vnni", "avx512_bf16", "amx_bf16", "amx_int8")  # names of /proc/cpuinfo
_PACKAGES = ("numpy", "torch", "openvino", "onnxruntime", "ultralytics")
_COPIED = 1 << 27  # bytes, several times a large cache
_SIDE = {"cpu": 2048, "cuda": 8192}  # of the square matrices that are multiplied


def hardware() -> dict[str, Any]:
    """CPU model, cores this process may use, instruction sets, GPU ("" without)."""
    gpu = torch.cuda.get_device_name() if torch.cuda.is_available() else ""
    return {"cpu": _cpu_name(), "cores": cores(), "instruction_sets": instruction_sets(), "gpu": gpu}


def versions() -> dict[str, str]:
    """Of Python and the packages that compute; those that are not installed are left out."""
    found = {"python": environment()["python"]}
    for name in _PACKAGES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found


def cores() -> int:
    """CPU cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def instruction_sets() -> list[str]:
    """The CPU's, of those that matter here, under their names in /proc/cpuinfo; none where that is not there."""
    flags = cpu_flags()
    return [name for name in _FLAGS if name in flags]


def peaks(device: torch.device) -> list[Precision]:
    """Precisions whose peak can be measured here: those that the machine multiplies in natively."""
    if device.type == "cuda":
        return [Precision.FP32, Precision.FP16, Precision.BF16]
    return [Precision.FP32, Precision.BF16] if cpu_has_bf16() else [Precision.FP32]


class Probe:
    """Work whose amount is known, to learn what the machine can do at best."""

    def __init__(self, device: torch.device) -> None:
        self._device = device
        side = _SIDE[device.type]
        types = {Precision.FP32: torch.float32, Precision.BF16: torch.bfloat16, Precision.FP16: torch.float16}
        self._matrices = {p: torch.rand((side, side), device=device).to(types[p]) for p in peaks(device)}
        self._from = torch.zeros(_COPIED, dtype=torch.uint8, device=device)
        self._to = torch.zeros_like(self._from)

    def rates(self) -> dict[str, float]:
        """Floating-point operations a second by precision (two a multiply-add), and "copy", bytes read and written a
        second: the best of a few tries.
        """
        found = {}
        for precision, matrix in self._matrices.items():
            ways: list[Callable[[], object]] = [partial(torch.mm, matrix, matrix)]
            if precision is Precision.FP32 and self._device.type == "cpu":
                ways.append(partial(np.matmul, matrix.numpy(), matrix.numpy()))  # another library
            found[precision.value] = 2 * len(matrix) ** 3 / min(self._best(way) for way in ways)
        found["copy"] = 2 * _COPIED / self._best(lambda: self._to.copy_(self._from))
        return found

    def _best(self, work: Callable[[], object], tries: int = 3) -> float:
        seconds = []
        for _ in range(tries):
            clock = StageClock(self._device)
            work()
            clock.lap("work")
            seconds.append(clock.laps_ms["work"] / 1e3)
        return min(seconds)


def peak_memory_mb(device: torch.device) -> float | None:
    """The most that this process has held: resident memory (None where it is not Linux), or of the GPU's."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device) / 1e6
    found = re.search(r"VmHWM:\s*(\d+) kB", _read("/proc/self/status"))
    return int(found.group(1)) * 1024 / 1e6 if found else None


def _cpu_name() -> str:
    return cpuinfo("model name") or platform.processor() or platform.machine()


def _read(path: str) -> str:
    try:
        return Path(path).read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""
