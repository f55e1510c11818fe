"""What a configuration costs: trainable parameters, and the arithmetic of one frame."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping

import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from cldyn_core.model import CLDyN
from cldyn_core.tasks.base import TaskNetwork
from cldyn_core.types import Task

FRAME = (480, 640)
"""(H, W) of the frame whose arithmetic is counted."""


def trainable(parameters: Iterable[nn.Parameter]) -> int:
    """How many numbers a training moves."""
    return sum(parameter.numel() for parameter in parameters)


@torch.no_grad()
def gflops(work: Callable[[Tensor, Tensor], object], device: torch.device | str = "cpu") -> float:
    """Gigaflops (two a multiply-add) of `work` on one visible (1, 3, H, W) and infrared (1, 1, H, W) FRAME."""
    generator = torch.Generator().manual_seed(0)
    visible = torch.rand((1, 3, *FRAME), generator=generator).to(device)
    infrared = torch.rand((1, 1, *FRAME), generator=generator).to(device)
    with FlopCounterMode(display=False) as counter:
        work(visible, infrared)
    return counter.get_total_flops() / 1e9


def frame_costs(model: CLDyN, networks: Mapping[Task, TaskNetwork], compensated: bool) -> dict[str, float]:
    """Gigaflops of one frame by task: the fusion and the task network, or the closed loop with both passes of each.

    All modules are in evaluation mode and on the CPU.
    """

    def frame(network: TaskNetwork) -> Callable[[Tensor, Tensor], object]:
        def work(visible: Tensor, infrared: Tensor) -> object:
            begun = model.begin(visible, infrared)
            image = model.fuse(begun).rgb.clamp(0, 1)
            if compensated:
                image = model.compensate(begun, network.feature(image), task=network.task).rgb.clamp(0, 1)
            return network.feature(image)

        return work

    return {task.value: round(gflops(frame(network)), 2) for task, network in networks.items()}
