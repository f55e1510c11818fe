"""Where a result was made."""

from __future__ import annotations

import platform
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
