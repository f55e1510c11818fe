"""RSC, Requirement-driven Semantic Compensation of one modality: an A2SI block after every encoder block but the
last.
"""

from __future__ import annotations

from torch import Tensor, nn

from cldyn_core.a2si import A2SI
from cldyn_core.types import BlockPlan


class RSC(nn.Module):
    """The injection blocks of one modality. The basis vector bank is shared, so it is an argument, not a part."""

    def __init__(self, encoder_blocks: int = 2, branches: int = 4) -> None:
        super().__init__()
        self.blocks = nn.ModuleList(A2SI(branches) for _ in range(encoder_blocks - 1))

    def inject(
        self, index: int, bank: Tensor, task_feature: Tensor, x: Tensor, noise: Tensor | None = None
    ) -> tuple[Tensor, BlockPlan]:
        """Compensate the output x (B, 8, H, W) of encoder block `index`; see A2SI.forward."""
        compensated, plan = self.blocks[index](bank, task_feature, x, noise)
        return compensated, plan
