"""What the loop needs from a task network: a feature, a loss and predictions. A new task is one class with these
three.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any, ClassVar

import torch
from torch import Tensor

from cldyn_core.types import EngineSettings, Task, TaskOutput


class TaskNetwork(ABC):
    """A downstream network that reads the fused image. Images are RGB (B, 3, H, W) in [0, 1]; any H, W unless it says
    so.
    """

    task: ClassVar[Task]
    names: tuple[str, ...] = ()
    """Class names, by index."""

    @classmethod
    @abstractmethod
    def from_settings(cls, settings: EngineSettings, device: torch.device) -> TaskNetwork:
        """Load the network in evaluation mode. Raises WeightsError or FileNotFoundError for unusable weights."""

    @classmethod
    def missing(cls) -> str:
        """Why this network cannot run on this machine, with the remedy; "" when it can."""
        return ""

    def configure(self, settings: EngineSettings) -> None:  # noqa: B027
        """Take over the settings that can change while running (thresholds, say). Cheap."""

    @abstractmethod
    def feature(self, image: Tensor) -> Tensor:
        """The task's requirement F_d, (B, C, ...) of rank >= 3, that the RSC reads (paper, section 3.3)."""

    @abstractmethod
    def loss(self, image: Tensor, targets: Sequence[Any]) -> Tensor:
        """Scalar task loss, differentiable in the image; one target an image, of the type that `predict` returns."""

    @abstractmethod
    def predict(self, image: Tensor) -> list[TaskOutput]:
        """The answer for each image."""
