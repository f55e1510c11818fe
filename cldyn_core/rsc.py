"""RSC, Requirement-driven Semantic Compensation of one modality: an A2SI block after every encoder block but the
last.
"""

from __future__ import annotations

from typing import Literal

from torch import Tensor, nn

from cldyn_core.a2si import A2SI
from cldyn_core.ablations import FixedChoice, NoBank, PlainConvolution
from cldyn_core.types import BlockPlan, Task

Compensation = Literal["full", "fixed_choice", "no_bank", "convolution"]
"""What an RSC is made of: A2SI, or one of the ablations (see ablations.py)."""

_BLOCKS = {"full": A2SI, "fixed_choice": FixedChoice, "no_bank": NoBank, "convolution": PlainConvolution}


class RSC(nn.Module):
    """The injection blocks of one modality. The basis vector bank is shared, so it is an argument, not a part.

    Raises ValueError for an unknown compensation.
    """

    def __init__(
        self,
        encoder_blocks: int = 2,
        branches: int = 4,
        compensation: Compensation = "full",
        task_tokens: bool = False,
    ) -> None:
        super().__init__()
        if compensation not in _BLOCKS:
            raise ValueError(f"unknown compensation {compensation!r}; known: {', '.join(_BLOCKS)}")
        block = _BLOCKS[compensation]
        self.blocks = nn.ModuleList(block(branches, task_tokens) for _ in range(encoder_blocks - 1))

    def inject(
        self,
        index: int,
        bank: Tensor,
        task_feature: Tensor,
        x: Tensor,
        noise: Tensor | None = None,
        task: Task = Task.NONE,
    ) -> tuple[Tensor, BlockPlan]:
        """Compensate the output x (B, 8, H, W) of encoder block `index`; see A2SI.forward."""
        compensated, plan = self.blocks[index](bank, task_feature, x, noise, task)
        return compensated, plan
