"""A2SI with one of its ideas taken away (paper, ablation study). Each begins as the exact identity, as A2SI does."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from cldyn_core.a2si import A2SI
from cldyn_core.bank import CONFIGURATIONS
from cldyn_core.descriptors import Description
from cldyn_core.types import BlockPlan, Task
from cldyn_core.vfn import CHANNELS, SLOPE


class FixedChoice(A2SI):
    """No adaptive choice: branch m has configuration m modulo 4. Basis vectors are chosen as ever."""

    def __init__(self, branches: int = 4, task_tokens: bool = False) -> None:
        super().__init__(branches, task_tokens)
        del self.task, self.image, self.architecture

    @property
    def considers_configurations(self) -> bool:
        """See A2SI.considers_configurations."""
        return False

    def _select(self, task: Description, image: Description, noise: Tensor | None) -> Tensor:
        like = image.vectors
        fixed = torch.arange(self.branches, device=like.device) % CONFIGURATIONS
        return F.one_hot(fixed, CONFIGURATIONS).to(like.dtype).expand(len(like), -1, -1)


class NoBank(A2SI):
    """No bank: the query itself becomes the kernels, in the plan as vector 0."""

    def _look_up(self, bank: Tensor, selection: Tensor, query: Tensor) -> tuple[Tensor, Tensor]:
        indices = torch.zeros_like(selection[..., 0], dtype=torch.long)
        # The product, which is the query, is the path on which the choice of configurations learns.
        return indices, query[:, None] * selection.sum(-1, keepdim=True)


class PlainConvolution(nn.Module):
    """No compensation that knows the task: an ordinary trained convolution in the place of A2SI."""

    training_stride = 1

    def __init__(self, branches: int = 4, task_tokens: bool = False) -> None:
        super().__init__()
        if task_tokens:
            raise ValueError("a plain convolution does not know its task: it takes no task tokens")
        self.body = nn.Sequential(
            nn.Conv2d(CHANNELS, CHANNELS * branches, 3, padding=1, bias=False),
            nn.BatchNorm2d(CHANNELS * branches),
            nn.LeakyReLU(SLOPE),
        )
        self.zero_conv = nn.Conv2d(CHANNELS * branches, CHANNELS, 1)
        nn.init.zeros_(self.zero_conv.weight)
        nn.init.zeros_(self.zero_conv.bias)  # type: ignore[arg-type]

    def forward(
        self,
        bank: Tensor,
        task_feature: Tensor,
        x: Tensor,
        noise: Tensor | None = None,
        task: Task = Task.NONE,
    ) -> tuple[Tensor, BlockPlan]:
        """As A2SI.forward; the plan is empty."""
        nothing = torch.empty((len(x), 0), dtype=torch.long, device=x.device)
        return x + self.zero_conv(self.body(x)), BlockPlan(nothing, nothing)
