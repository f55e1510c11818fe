"""The kernels that a plan stands for. An A2SI chooses among 4 x 32 kernels; all are computed when weights load.

Planning ends in a few integers, executing begins with the kernels looked up for them: between the two lies this table.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from cldyn_core.a2si import A2SI
from cldyn_core.bank import CONFIGURATIONS, VECTORS
from cldyn_core.model import CLDyN
from cldyn_core.types import BlockPlan, CompensationPlan
from cldyn_core.vfn import CHANNELS


@dataclass(frozen=True)
class BlockKernels:
    """What one A2SI convolves with."""

    configurations: Tensor
    """(B, M) int64 in 0..3: 1x1; 3x3 with dilation 1, 2, 3."""
    weights: Tensor
    """(B, M, 8, 8, 3, 3) [out, in, y, x], the norm folded in; a 1x1 kernel is the center of its 3x3."""


@dataclass(frozen=True)
class PlanKernels:
    """The kernels of a whole plan, by modality and encoder block (L - 1 each)."""

    infrared: tuple[BlockKernels, ...]
    visible: tuple[BlockKernels, ...]

    def dense(self) -> Tensor:
        """(B, 2 modalities, L - 1, M, 3 dilations, 8, 8, 3, 3): a kernel at its dilation, zeros at the other two.

        The input of exported models; a 1x1 kernel counts as dilation 1.
        """
        return torch.stack([torch.stack([_dense(b) for b in blocks], 1) for blocks in (self.infrared, self.visible)], 1)


@dataclass(frozen=True)
class BlockTable:
    """All kernels of one A2SI, and what follows its convolutions: x + merge(mean of LReLU(conv_m(x) + shift))."""

    weights: Tensor
    """(4, 32, 8, 8, 3, 3), the norm folded in."""
    shift: Tensor
    """(8,), the folded norm's."""
    merge_weight: Tensor
    """(8, 8) of the zero-initialized 1x1 convolution."""
    merge_bias: Tensor
    """(8,)"""

    def look_up(self, plan: BlockPlan) -> BlockKernels:
        """The kernels of one block's plan."""
        configurations = plan.configurations.to(self.weights.device)
        return BlockKernels(configurations, self.weights[configurations, plan.vectors.to(self.weights.device)])


class KernelTables:
    """The tables of both modalities' A2SI blocks."""

    def __init__(self, model: CLDyN) -> None:
        """Compute all kernels (128 for each A2SI). Raises ValueError for a compensation without a finite choice."""
        kind = model.architecture.compensation
        if kind not in {"full", "fixed_choice"}:
            raise ValueError(
                f"the compensation {kind!r} (an ablation) does not end in a finite choice, so there is no plan to "
                "execute. Remedy: weights of the full compensation; `cldyn eval` compares ablations"
            )
        bank = model.bank()
        self.infrared = tuple(_table(block, bank) for block in model.rsc_ir.blocks)  # type: ignore[arg-type]
        self.visible = tuple(_table(block, bank) for block in model.rsc_vi.blocks)  # type: ignore[arg-type]

    @property
    def identity(self) -> bool:
        """Whether every plan leaves the image as it is: the injection is all zero, as it is before training."""
        return not any(t.merge_weight.any() or t.merge_bias.any() for t in (*self.infrared, *self.visible))

    def look_up(self, plan: CompensationPlan) -> PlanKernels:
        """The kernels of a plan."""
        return PlanKernels(
            tuple(table.look_up(block) for table, block in zip(self.infrared, plan.infrared, strict=True)),
            tuple(table.look_up(block) for table, block in zip(self.visible, plan.visible, strict=True)),
        )


@torch.no_grad()
def _table(block: A2SI, bank: Tensor) -> BlockTable:
    norm, merge = block.norm, block.zero_conv
    assert norm.running_mean is not None and norm.running_var is not None and merge.bias is not None
    scale = norm.weight / torch.sqrt(norm.running_var + norm.eps)
    points = block.kernel_1x1(bank[:1]).view(1, VECTORS, CHANNELS, CHANNELS, 1, 1)
    squares = block.kernel_3x3(bank[1:]).view(CONFIGURATIONS - 1, VECTORS, CHANNELS, CHANNELS, 3, 3)
    weights = torch.cat((F.pad(points, (1, 1, 1, 1)), squares)) * scale[:, None, None, None]
    shift = norm.bias - norm.running_mean * scale
    return BlockTable(weights, shift, merge.weight[:, :, 0, 0], merge.bias)


def _dense(block: BlockKernels) -> Tensor:
    """(B, M, 3, 8, 8, 3, 3)"""
    at = F.one_hot(block.configurations.clamp(min=1) - 1, CONFIGURATIONS - 1).to(block.weights.dtype)
    return at[..., None, None, None, None] * block.weights[:, :, None]
