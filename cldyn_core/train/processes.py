"""One training in several processes (GPUs, nodes): each takes its part of every batch; sums are known to all.

Lightning Fabric starts the processes, or finds those that torchrun started. Without it there is one process.
"""

from __future__ import annotations

import os
from typing import Any

import torch
from torch import Tensor, nn

from cldyn_core.engine import resolve_device


class Processes:
    """The processes of a training, as one of them sees them."""

    def __init__(self, device: torch.device, fabric: Any = None) -> None:
        self.device, self._fabric = device, fabric
        self.rank: int = fabric.global_rank if fabric else 0
        self.count: int = fabric.world_size if fabric else 1

    @property
    def first(self) -> bool:
        """Whether this is the process that writes and shows."""
        return self.rank == 0

    def part(self, batch: int) -> slice:
        """Which part of a batch is this process's. Raises ValueError if the batch cannot be shared equally."""
        if batch % self.count:
            raise ValueError(f"a batch of {batch} cannot be shared by {self.count} processes; take a multiple")
        share = batch // self.count
        return slice(self.rank * share, (self.rank + 1) * share)

    def sum(self, tensor: Tensor) -> Tensor:
        """Sum over the processes, without gradient."""
        return self._fabric.all_reduce(tensor, reduce_op="sum") if self._fabric else tensor

    def wait(self) -> None:
        """Until all processes are here."""
        if self._fabric:
            self._fabric.barrier()


def start(device: str = "auto", devices: int = 1, nodes: int = 1) -> Processes:
    """Start `devices` processes on each of `nodes` machines; the script runs again in each of them.

    device: "auto", "cpu", "cuda" or "cuda:1". Raises ImportError without Lightning Fabric where there are several.
    """
    if devices * nodes == 1:
        return Processes(resolve_device(device))
    try:
        from lightning_fabric import Fabric
    except ImportError as error:
        raise ImportError("several processes are started by Lightning Fabric: pip install lightning-fabric") from error
    kind = resolve_device(device).type
    if kind == "cpu":
        torch.set_num_threads(max(1, (os.cpu_count() or 1) // devices))
    fabric = Fabric(accelerator=kind, devices=devices, num_nodes=nodes, strategy="ddp")
    fabric.launch()
    return Processes(fabric.device, fabric)


def share_statistics(module: nn.Module, processes: Processes) -> None:
    """Let every BatchNorm2d of a module see the whole batch, not this process's part. Also on CPUs, where torch's
    SyncBatchNorm does not work.
    """
    if processes.count == 1:
        return
    for part in module.modules():
        if type(part) is nn.BatchNorm2d:
            part.__class__ = SharedBatchNorm  # same state; only the statistics are reckoned differently


class SharedBatchNorm(nn.BatchNorm2d):
    """BatchNorm2d whose statistics, in training, are those of equal parts of a batch in all processes."""

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, H, W) -> (B, C, H, W)."""
        if not self.training:
            return super().forward(x)
        count = x.shape[0] * x.shape[2] * x.shape[3] * torch.distributed.get_world_size()
        mean = _sum_of_all(x.sum((0, 2, 3))) / count
        centered = x - mean[:, None, None]
        variance = _sum_of_all(centered.square().sum((0, 2, 3))) / count
        self._follow(mean.detach(), variance.detach() * count / max(1, count - 1))
        scale = self.weight * torch.rsqrt(variance + self.eps)
        return centered * scale[:, None, None] + self.bias[:, None, None]

    @torch.no_grad()
    def _follow(self, mean: Tensor, variance: Tensor) -> None:
        self.num_batches_tracked.add_(1)  # type: ignore[union-attr]
        share = self.momentum if self.momentum is not None else 1 / float(self.num_batches_tracked)  # type: ignore[arg-type]
        self.running_mean.lerp_(mean.float(), share)  # type: ignore[union-attr]
        self.running_var.lerp_(variance.float(), share)  # type: ignore[union-attr]


class _Sum(torch.autograd.Function):
    """Sum over the processes; every process's loss depends on every part."""

    @staticmethod
    def forward(_context: Any, tensor: Tensor) -> Tensor:
        total = tensor.clone()
        torch.distributed.all_reduce(total)
        return total

    @staticmethod
    def backward(_context: Any, gradient: Tensor) -> Tensor:
        total = gradient.clone()
        torch.distributed.all_reduce(total)
        return total


def _sum_of_all(tensor: Tensor) -> Tensor:
    total: Tensor = _Sum.apply(tensor)
    return total
