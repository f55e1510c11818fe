"""The least time that the arithmetic of a pass can take on a machine, whatever the program."""

from __future__ import annotations

from collections.abc import Mapping

from torch import nn

from cldyn_core.types import CompensationPlan
from cldyn_core.vfn import CHANNELS, VFN

_BYTES = 12  # a pixel: infrared and luma in, luma out, float32


def multiply_adds(vfn: VFN, plan: CompensationPlan | None) -> int:
    """Of one pass, a pixel: every convolution's weights once, and with a plan its kernels and the 1x1 behind them."""
    convolutions = sum(part.weight.numel() for part in vfn.modules() if isinstance(part, nn.Conv2d))
    if plan is None:
        return convolutions
    square = CHANNELS * CHANNELS
    injected = 0
    for block in (*plan.infrared, *plan.visible):
        injected += sum(square * (9 if configuration else 1) for configuration in block.configurations[0].tolist())
        injected += square
    return convolutions + injected


def floor_ms(multiply_adds_a_pixel: int, pixels: int, precision: str, rates: Mapping[str, float]) -> float | None:
    """Milliseconds by arithmetic or by memory, whichever is slower; None without a rate of this precision.

    rates: of `Probe.rates`.
    """
    if precision not in rates:
        return None
    arithmetic = 2 * multiply_adds_a_pixel * pixels / rates[precision]
    return 1e3 * max(arithmetic, _BYTES * pixels / rates["copy"])
