"""Memory that ran out: how to recognize it, whatever ran out of it, and what can be given back."""

from __future__ import annotations

import ctypes
import re

import torch

_SAID = re.compile(r"out of memory|insufficient memory|bad_?\s?alloc|(can't|cannot|failed to) allocate", re.IGNORECASE)


def ran_out(error: BaseException) -> bool:
    """Whether this error of torch, NumPy, OpenCV, ONNX Runtime, OpenVINO or the C++ engine means: no memory left."""
    return isinstance(error, (MemoryError, torch.OutOfMemoryError)) or bool(_SAID.search(str(error)))


def give_back(device: torch.device) -> None:
    """Return what is cached for reuse, of the device and of the process, to those who need it."""
    if device.type == "cuda":
        torch.cuda.empty_cache()
    try:
        ctypes.CDLL(None).malloc_trim(0)
    except (OSError, AttributeError):  # not glibc: nothing is kept
        return
