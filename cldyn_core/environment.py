"""The machine: where a result was made, and what its processor can do."""

from __future__ import annotations

import platform
import re
import subprocess
from pathlib import Path

import torch


def environment() -> dict[str, str]:
    """Versions, machine and commit, as far as they can be told."""
    where = Path(__file__).parent
    commit = subprocess.run(["git", "rev-parse", "HEAD"], cwd=where, capture_output=True, text=True, check=False)
    return {
        "commit": commit.stdout.strip(),
        "python": platform.python_version(),
        "torch": torch.__version__,
        "machine": platform.platform(),
        "device": torch.cuda.get_device_name() if torch.cuda.is_available() else platform.processor() or "cpu",
        "threads": str(torch.get_num_threads()),
    }


def cpuinfo(field: str) -> str:
    """A field of the first processor in /proc/cpuinfo; "" where there is none."""
    try:
        text = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""
    found = re.search(rf"^{field}\s*:\s*(.*)$", text, re.MULTILINE)
    return found.group(1) if found else ""


def cpu_flags() -> frozenset[str]:
    """Instruction sets of the processor, under Linux' names."""
    return frozenset(cpuinfo("flags").split())


def cpu_has_bf16() -> bool:
    """Whether the processor multiplies in bf16."""
    return bool(cpu_flags() & {"avx512_bf16", "amx_bf16"})
