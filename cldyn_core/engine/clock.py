"""What a frame's stages cost."""

from __future__ import annotations

import time

import torch


class StageClock:
    """Milliseconds from lap to lap. CUDA work is waited for, so that a stage is charged with its own time."""

    def __init__(self, device: torch.device) -> None:
        self.laps_ms: dict[str, float] = {}
        """By stage, in order."""
        self._device = device
        self._last = time.perf_counter()

    def lap(self, stage: str) -> None:
        """Charge the time since the last lap to this stage, on top of what it has."""
        if self._device.type == "cuda":
            torch.cuda.synchronize(self._device)
        now = time.perf_counter()
        self.laps_ms[stage] = self.laps_ms.get(stage, 0.0) + 1e3 * (now - self._last)
        self._last = now
