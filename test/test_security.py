"""What SECURITY.md promises of the sources and of a run."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]

RUN = """
import sys
reached = []
watched = ("socket.connect", "socket.getaddrinfo", "socket.gethostbyname", "urllib.Request", "http.client.connect")
sys.addaudithook(lambda event, arguments: reached.append((event, arguments)) if event in watched else None)
if len(sys.argv) > 1:
    import socket
    socket.socket(socket.AF_INET, socket.SOCK_DGRAM).connect(("127.0.0.1", 9))
import numpy as np
from cldyn_core import EngineSettings, FramePair, Task
from cldyn_core.engine import FusionEngine
import cldyn_ros.params
image = np.random.default_rng(0).integers(0, 255, (64, 64, 3), np.uint8)
engine = FusionEngine(EngineSettings())
for task in engine.available_tasks:
    engine.apply(EngineSettings(task=task))
    assert not engine.step(FramePair(image, image[..., 0])).error
assert len(engine.available_tasks) > 2
sys.exit(f"reached {reached}" if reached else 0)
"""


def test_bandit_finds_nothing() -> None:
    pytest.importorskip("bandit")
    command = [sys.executable, "-m", "bandit", "-q", "-c", "pyproject.toml", "-r", "cldyn_core", "cldyn_ros", "launch"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=100)
    assert done.returncode == 0, done.stdout[-3000:]


@pytest.mark.parametrize("reach", [[], ["out"]])
def test_fusing_for_every_task_uses_no_network(reach: list[str]) -> None:
    done = subprocess.run([sys.executable, "-c", RUN, *reach], cwd=ROOT, capture_output=True, text=True, timeout=100)
    assert (done.returncode == 0) == (not reach), done.stderr[-3000:]
    assert ("socket.connect" in done.stderr) == bool(reach)
