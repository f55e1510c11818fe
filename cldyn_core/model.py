"""CLDyN, the Closed-Loop Dynamic Network: first pass -> requirement of the task -> compensated pass.

Read this file to understand the project: the task network looks at the first fusion, what it felt there (its feature)
chooses kernels, and the same fusion network runs again with them (paper, arXiv 2604.08924, sections 3.1 and 3.3).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass

import torch
from torch import Tensor, nn

from cldyn_core.a2si import gumbel_noise
from cldyn_core.bank import CONFIGURATIONS, BasisVectorBank
from cldyn_core.color import rgb_to_ycbcr, ycbcr_to_rgb
from cldyn_core.rsc import RSC, Compensation
from cldyn_core.types import BlockPlan, CompensationPlan, FusionResult, Task
from cldyn_core.vfn import VFN

_MIN_SIDE = 3


@dataclass(frozen=True)
class Architecture:
    """What distinguishes one CLDyN from another."""

    encoder_blocks: int = 2
    """L in the paper."""
    branches: int = 4
    """M in the paper, 1 to 32."""
    compensation: Compensation = "full"
    """What the RSC is made of; all but "full" are ablations of the paper."""
    task_tokens: bool = False
    """Whether each task has a learned token beside its feature (task_tokens.py); the paper has none."""

    def as_dict(self) -> dict[str, int | str | bool]:
        """For the manifest of a weight file. What departs from the paper is named, where it does."""
        paper = {"compensation": "full", "task_tokens": False}
        return {name: value for name, value in asdict(self).items() if paper.get(name) != value}


@dataclass(frozen=True)
class Beginning:
    """The part of a pass that does not depend on the compensation."""

    ycbcr: Tensor
    """(B, 3, H, W) of the visible image."""
    infrared: Tensor
    visible: Tensor
    """(B, 8, H, W) each, output of encoder block 0."""


class CLDyN(nn.Module):
    """Fusion network (VFN), compensation of both modalities (RSC) and their shared basis vector bank."""

    def __init__(self, architecture: Architecture | None = None) -> None:
        super().__init__()
        self.architecture = architecture or Architecture()
        self.vfn = VFN(self.architecture.encoder_blocks)
        parts = asdict(self.architecture)
        self.rsc_ir, self.rsc_vi = RSC(**parts), RSC(**parts)
        self.bank = BasisVectorBank()

    @classmethod
    def from_reference(cls, tensors: Mapping[str, Tensor]) -> CLDyN:
        """Build from tensors under the reference checkpoint's names (`vfn.*`, `rsc_ir.*`, `rsc_vi.*`, `bvb`).

        L and M are inferred. Returns a model in evaluation mode. Raises WeightsError naming what is missing or left
        over.
        """
        from cldyn_core.reference import model_from_reference

        return model_from_reference(tensors)

    def forward(
        self, visible: Tensor, infrared: Tensor, requirement: Callable[[Tensor], Tensor], task: Task = Task.NONE
    ) -> FusionResult:
        """The closed loop. `requirement` maps the first fused image (B, 3, H, W), clamped to [0, 1], to the task
        feature; task: whose feature that is.
        """
        begun = self.begin(visible, infrared)
        task_feature = requirement(self.fuse(begun).rgb.clamp(0.0, 1.0)).detach()
        return self.compensate(begun, task_feature, task=task)

    def first_pass(self, visible: Tensor, infrared: Tensor) -> FusionResult:
        """Fuse without compensation: visible RGB (B, 3, H, W), infrared (B, 1, H, W), both in [0, 1]; H, W >= 3."""
        return self.fuse(self.begin(visible, infrared))

    def compensated_pass(
        self, visible: Tensor, infrared: Tensor, task_feature: Tensor, task: Task = Task.NONE
    ) -> FusionResult:
        """Fuse with the kernels that the task asks for: images as in `first_pass`, task feature (B, C, ...) of rank
        >= 3; task: whose feature it is, for weights with task tokens.
        """
        return self.compensate(self.begin(visible, infrared), task_feature, task=task)

    def begin(self, visible: Tensor, infrared: Tensor) -> Beginning:
        """What both passes share: colors, and encoder block 0 of both modalities. Images as in `first_pass`."""
        _check_pair(visible, infrared)
        ycbcr = rgb_to_ycbcr(visible)
        return Beginning(ycbcr, self.vfn.encoder_ir.block(0, infrared), self.vfn.encoder_vi.block(0, ycbcr[:, :1]))

    def fuse(self, begun: Beginning) -> FusionResult:
        """Finish the first (uncompensated) pass."""
        return _recolor(self.vfn.finish(begun.infrared, begun.visible), begun.ycbcr)

    def compensate(
        self, begun: Beginning, task_feature: Tensor, noise: Tensor | None = None, task: Task = Task.NONE
    ) -> FusionResult:
        """Finish the compensated pass. noise: of `draw_noise`, for training; None: drawn by each block."""
        bank, x_ir, x_vi = self.bank(), begun.infrared, begun.visible
        plan_ir: list[BlockPlan] = []
        plan_vi: list[BlockPlan] = []
        for i in range(self.vfn.depth - 1):
            noise_ir, noise_vi = (None, None) if noise is None else noise[i]
            x_ir, chosen_ir = self.rsc_ir.inject(i, bank, task_feature, x_ir, noise_ir, task)
            x_vi, chosen_vi = self.rsc_vi.inject(i, bank, task_feature, x_vi, noise_vi, task)
            x_ir, x_vi = self.vfn.encoder_ir.block(i + 1, x_ir), self.vfn.encoder_vi.block(i + 1, x_vi)
            plan_ir.append(chosen_ir)
            plan_vi.append(chosen_vi)
        luma = self.vfn.reconstruct(x_ir, x_vi)
        return _recolor(luma, begun.ycbcr, CompensationPlan(tuple(plan_ir), tuple(plan_vi)))

    def draw_noise(self, batch: int, generator: torch.Generator) -> Tensor:
        """Gumbel noise of one training pass, (L - 1, 2 modalities, B, M, 4)."""
        return gumbel_noise((self.vfn.depth - 1, 2, batch, self.architecture.branches, CONFIGURATIONS), generator)

    def compensation(self) -> dict[str, nn.Module]:
        """What stage 2 trains, by name: both RSC and the bank (unless an ablation does without it)."""
        parts: dict[str, nn.Module] = {"rsc_ir": self.rsc_ir, "rsc_vi": self.rsc_vi}
        return parts if self.architecture.compensation in {"no_bank", "convolution"} else {**parts, "bank": self.bank}


def _recolor(luma: Tensor, ycbcr: Tensor, plan: CompensationPlan | None = None) -> FusionResult:
    return FusionResult(luma, ycbcr_to_rgb(torch.cat((luma, ycbcr[:, 1:]), dim=1)), plan)


def _check_pair(visible: Tensor, infrared: Tensor) -> None:
    expected = (visible.shape[0], 1, *visible.shape[2:])
    if visible.ndim != 4 or visible.shape[1] != 3 or tuple(infrared.shape) != expected:
        raise ValueError(
            "a pair is visible (B, 3, H, W) and infrared (B, 1, H, W) of the same B, H, W; "
            f"got {tuple(visible.shape)} and {tuple(infrared.shape)}"
        )
    if min(visible.shape[2:]) < _MIN_SIDE:
        raise ValueError(f"images must be at least {_MIN_SIDE} pixels high and wide, not {tuple(visible.shape[2:])}")
