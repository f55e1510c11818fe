"""What an engine gives back while it rests and when it is closed."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest

from cldyn_core.engine import FusionEngine
from cldyn_core.types import Backend, EngineSettings, FramePair

MB = 1 << 20


def resident() -> int:
    """Bytes of this process in memory."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


@pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="memory is read from Linux's /proc")
def test_a_rest_gives_memory_back_and_the_next_step_needs_no_loading() -> None:
    engine = FusionEngine(EngineSettings(device="cpu", backend=Backend.TORCH))
    rng = np.random.default_rng(0)
    pair = FramePair(rng.integers(0, 256, (480, 640, 3), np.uint8), rng.integers(0, 256, (480, 640), np.uint8))
    before = engine.step(pair)
    busy = resident()
    engine.rest()
    assert busy - resident() > 50 * MB
    after = engine.step(pair)
    np.testing.assert_array_equal(after.fused, before.fused)
    engine.close()
    engine.close()
    assert busy - resident() > 50 * MB
