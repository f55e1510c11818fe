"""What the loop needs of a backend: encode once, finish once or twice."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from cldyn_core.engine.kernels import KernelTables, PlanKernels
from cldyn_core.model import CLDyN
from cldyn_core.types import Backend, Precision


@dataclass(frozen=True)
class Encoded:
    """Output of encoder block 0, which both passes share and from which the plan is made."""

    infrared: Tensor
    """(B, 8, H, W) float32, contiguous, on the executor's device."""
    visible: Tensor


class Executor(ABC):
    """Runs the VFN, with the kernels of a plan or without. One thread at a time."""

    backend: ClassVar[Backend]
    one_at_a_time: ClassVar[bool] = False
    """Takes no batch, must finish what it encoded last, and may reuse buffers at the second next call of a method."""
    precision: Precision
    """Not AUTO."""
    device: torch.device

    @classmethod
    @abstractmethod
    def unavailable(cls, device: torch.device, precision: Precision) -> str:
        """Why this backend cannot run with this precision (not AUTO) on this device, with the remedy; "" when it can.

        Cheap: imports nothing heavy.
        """

    @abstractmethod
    def __init__(self, model: CLDyN, tables: KernelTables, device: torch.device, precision: Precision) -> None:
        """Prepare a model in evaluation mode; it is not kept and not changed. May take seconds."""

    @abstractmethod
    def encode(self, infrared: Tensor, luma: Tensor) -> Encoded:
        """Encoder block 0 of both modalities: (B, 1, H, W) float32 in [0, 1] each, on `device`; H, W >= 3."""

    @abstractmethod
    def finish(self, encoded: Encoded, kernels: PlanKernels | None) -> Tensor:
        """The rest of a pass -> luma (B, 1, H, W) float32 in [0, 1]. kernels: None for an uncompensated pass."""

    def fuse(self, infrared: Tensor, luma: Tensor, kernels: PlanKernels | None) -> Tensor:
        """A whole pass."""
        return self.finish(self.encode(infrared, luma), kernels)

    def describe(self) -> str:
        """For people: what runs, in which version, on what."""
        return f"{self.backend.value} {self.precision.value}"

    def close(self) -> None:  # noqa: B027
        """Free what the garbage collector does not."""
