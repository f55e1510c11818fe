"""The reference backend: torch, operation by operation, on any device."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from cldyn_core.engine.executors.base import Encoded, Executor
from cldyn_core.engine.folding import folded
from cldyn_core.engine.kernels import BlockKernels, BlockTable, KernelTables, PlanKernels
from cldyn_core.model import CLDyN
from cldyn_core.types import Backend, Precision
from cldyn_core.vfn import CHANNELS, SLOPE


class EagerExecutor(Executor):
    """The folded VFN as it stands."""

    backend = Backend.TORCH

    @classmethod
    def unavailable(cls, device: torch.device, precision: Precision) -> str:
        """See Executor.unavailable."""
        return "" if precision is Precision.FP32 else f"the backend torch runs in fp32 only, not {precision.value}"

    def __init__(self, model: CLDyN, tables: KernelTables, device: torch.device, precision: Precision) -> None:
        self.precision, self.device = precision, device
        self._vfn, self._tables = folded(model.vfn).to(device), tables

    def encode(self, infrared: Tensor, luma: Tensor) -> Encoded:
        """See Executor.encode."""
        return Encoded(self._vfn.encoder_ir.block(0, infrared), self._vfn.encoder_vi.block(0, luma))

    def finish(self, encoded: Encoded, kernels: PlanKernels | None) -> Tensor:
        """See Executor.finish."""
        ir, vi = encoded.infrared, encoded.visible
        for i in range(self._vfn.depth - 1):
            if kernels is not None:
                ir = inject(ir, kernels.infrared[i], self._tables.infrared[i])
                vi = inject(vi, kernels.visible[i], self._tables.visible[i])
            ir, vi = self._vfn.encoder_ir.block(i + 1, ir), self._vfn.encoder_vi.block(i + 1, vi)
        return self._vfn.reconstruct(ir, vi)

    def describe(self) -> str:
        """See Executor.describe."""
        return f"torch {torch.__version__} fp32, {torch.get_num_threads()} threads"


def inject(x: Tensor, kernels: BlockKernels, table: BlockTable) -> Tensor:
    """Step 8 of A2SI with kernels from the table: (B, 8, H, W) -> (B, 8, H, W).

    All branches of one configuration are one convolution, sample by sample.
    """
    branches = kernels.configurations.shape[1]
    means = []
    for image, chosen, weights in zip(x, kernels.configurations.tolist(), kernels.weights, strict=True):
        total = torch.zeros_like(image)
        for configuration in set(chosen):
            equal = [m for m, each in enumerate(chosen) if each == configuration]
            weight, dilation = weights[equal].flatten(0, 1), max(configuration, 1)
            if configuration == 0:
                weight = weight[..., 1:2, 1:2]
            padding = 0 if configuration == 0 else dilation
            shift = table.shift.repeat(len(equal))
            out = F.conv2d(image[None], weight, shift, padding=padding, dilation=dilation)[0]
            total += F.leaky_relu_(out, SLOPE).unflatten(0, (len(equal), CHANNELS)).sum(0)
        means.append(total / branches)
    return x + F.conv2d(torch.stack(means), table.merge_weight[..., None, None], table.merge_bias)
