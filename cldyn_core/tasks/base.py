"""What the loop needs from a task network: a feature, losses, predictions. A new task is one class with these three."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

from torch import Tensor, nn

from cldyn_core.types import EngineSettings, Task, TaskOutput


@dataclass(frozen=True)
class Observation:
    """What one pass of a task network over a batch of fused images tells the loop."""

    feature: Tensor
    """The requirement F_d, see TaskNetwork.feature."""
    losses: Tensor
    """(B,), see TaskNetwork.losses."""


@dataclass(frozen=True)
class Answer:
    """What one pass of a task network over a batch of fused images gives a stream."""

    feature: Tensor
    """The requirement F_d, see TaskNetwork.feature."""
    outputs: list[TaskOutput]
    """See TaskNetwork.predict."""


class TaskNetwork(ABC):
    """A downstream network that reads the fused image. Images are RGB (B, 3, H, W) in [0, 1], any H, W unless it says
    so.

    All methods follow the mode (`module.train()`, `module.eval()`) and the gradient setting of the caller.
    """

    task: ClassVar[Task]
    kind: ClassVar[str]
    """Names this class of networks in the manifest of a weight file."""
    model: str
    """Which network of the class this is, e.g. "yolov5n"; one of `models()`."""
    names: tuple[str, ...]
    """Class names, by index; empty where the task has no classes."""
    module: nn.Module
    """The network itself: its parameters, its mode, its device."""

    @abstractmethod
    def __init__(self, model: str, names: Sequence[str]) -> None:
        """Build with random weights. Raises ValueError for a model that is not one of `models()`."""

    @classmethod
    @abstractmethod
    def models(cls) -> tuple[str, ...]:
        """The networks that this class can build, smallest first."""

    @classmethod
    def missing(cls) -> str:
        """Why this network cannot run on this machine, with the remedy; "" when it can."""
        return ""

    @property
    def architecture(self) -> Mapping[str, Any]:
        """For the manifest of the weights; with `model` and `names` of it the network can be built again."""
        return {"model": self.model, "names": list(self.names)}

    def configure(self, settings: EngineSettings) -> None:  # noqa: B027
        """Take over the settings that can change while running (thresholds, say). Cheap."""

    @abstractmethod
    def feature(self, image: Tensor) -> Tensor:
        """The task's requirement F_d, (B, C, ...) of rank >= 3, that the RSC reads (paper, section 3.3)."""

    @abstractmethod
    def losses(self, image: Tensor, targets: Sequence[Any]) -> Tensor:
        """Task loss of each image on its own, (B,), differentiable in the image; targets are of the type that `predict`
        returns, one an image, of the image's size.
        """

    def observe(self, image: Tensor, targets: Sequence[Any]) -> Observation:
        """Feature and losses; networks that get both from one pass override this."""
        return Observation(self.feature(image), self.losses(image, targets))

    @abstractmethod
    def predict(self, image: Tensor) -> list[TaskOutput]:
        """The answer for each image."""

    def answer(self, image: Tensor) -> Answer:
        """Feature and predictions; networks that get both from one pass override this."""
        return Answer(self.feature(image), self.predict(image))
