"""The planner: what the task felt and what encoder block 0 saw -> the compensation plan, a few integers."""

from __future__ import annotations

from collections.abc import Callable

from torch import Tensor

from cldyn_core.a2si import A2SI
from cldyn_core.descriptors import Description, requirement
from cldyn_core.engine.executors.base import Encoded
from cldyn_core.engine.executors.eager import inject
from cldyn_core.engine.folding import folded
from cldyn_core.engine.kernels import BlockTable, KernelTables
from cldyn_core.model import CLDyN
from cldyn_core.rsc import RSC
from cldyn_core.types import BlockPlan, CompensationPlan, Task
from cldyn_core.vfn import Encoder

Chooser = Callable[[A2SI, Tensor, Description, Tensor], BlockPlan]
"""Makes the plan of a block: block, bank (4, 32, 256), described task, image feature (B, 8, H, W).

Blocks are in evaluation mode and have their norms folded into their convolutions.
"""


def by_all_pixels(block: A2SI, bank: Tensor, task: Description, x: Tensor) -> BlockPlan:
    """As the network was defined."""
    return block.decide(bank, task, block.describe_image(x)).plan


class Planner:
    """Chooses kernels. A pure function: no randomness, no state but what `choose` counts."""

    def __init__(self, model: CLDyN, tables: KernelTables, choose: Chooser = by_all_pixels) -> None:
        """Prepare a model in evaluation mode; it is not kept and not changed. choose: e.g. a Selection."""
        bank = model.bank().detach()
        self._infrared = _Modality(model.vfn.encoder_ir, model.rsc_ir, tables.infrared, bank, choose)
        self._visible = _Modality(model.vfn.encoder_vi, model.rsc_vi, tables.visible, bank, choose)

    def plan(self, encoded: Encoded, feature: Tensor, task: Task = Task.NONE) -> CompensationPlan:
        """The choice of all A2SI, from encoder block 0's output and the feature (B, C, ...) of a task on its device.

        Raises ValueError for a feature that is not of rank >= 3.
        """
        infrared, visible = encoded.infrared, encoded.visible  # once: a backend may copy them out
        feature = requirement(feature, infrared)
        return CompensationPlan(
            self._infrared.plan(infrared, feature, task), self._visible.plan(visible, feature, task)
        )


class _Modality:
    def __init__(
        self, encoder: Encoder, rsc: RSC, tables: tuple[BlockTable, ...], bank: Tensor, choose: Chooser
    ) -> None:
        blocks = [block for block in rsc.blocks if isinstance(block, A2SI)]  # tables are made of nothing else
        self._blocks, self._encoder = [folded(block) for block in blocks], folded(encoder)
        self._tables, self._bank, self._choose = tables, bank, choose

    def plan(self, x: Tensor, feature: Tensor, task: Task) -> tuple[BlockPlan, ...]:
        """What block i sees depends on what the blocks before it chose."""
        plans: list[BlockPlan] = []
        for i, block in enumerate(self._blocks):
            if i > 0:
                before = self._tables[i - 1]
                x = self._encoder.block(i, inject(x, before.look_up(plans[-1]), before))
            plans.append(self._choose(block, self._bank, block.describe_task(feature, task), x))
        return tuple(plans)
