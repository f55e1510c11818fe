"""What the loop of a stream asks of the networks. Calls of several streams that are alike are one batch."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Generator, Hashable, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

import torch
from torch import Tensor

from cldyn_core.engine.executors.base import Encoded, Executor
from cldyn_core.engine.kernels import BlockKernels, PlanKernels
from cldyn_core.tasks.base import Answer, TaskNetwork

T = TypeVar("T")
Steps = Generator["Call", Any, T]
"""A computation that hands out its calls, gets their results, and returns a T in the end."""


class Call(ABC):
    """One pass of a network over one image."""

    @property
    def alike(self) -> Hashable:
        """Equal for calls that may be one batch, among streams of one image size, task network and settings."""
        return type(self)

    @abstractmethod
    def run(self, executor: Executor, others: Sequence[Any]) -> list[Any]:
        """The results of this call and of others that are alike, in order."""


@dataclass(frozen=True)
class Encode(Call):
    """Executor.encode of one image -> Encoded."""

    infrared: Tensor
    luma: Tensor

    def run(self, executor: Executor, others: Sequence[Encode]) -> list[Encoded]:
        """See Call.run."""
        calls = (self, *others)
        encoded = executor.encode(_batch([c.infrared for c in calls]), _batch([c.luma for c in calls]))
        if not others:
            return [encoded]  # as it is: a backend may copy its features only for who looks at them
        sides = zip(encoded.infrared.split(1), encoded.visible.split(1), strict=True)
        return [Encoded(*side) for side in sides]


@dataclass(frozen=True)
class Finish(Call):
    """Executor.finish of one image -> luma (1, 1, H, W)."""

    encoded: Encoded
    kernels: PlanKernels | None

    @property
    def alike(self) -> Hashable:
        """See Call.alike."""
        return Finish, self.kernels is None

    def run(self, executor: Executor, others: Sequence[Finish]) -> list[Tensor]:
        """See Call.run."""
        if not others:
            return [executor.finish(self.encoded, self.kernels)]
        calls = (self, *others)
        sides = ([c.encoded.infrared for c in calls], [c.encoded.visible for c in calls])
        kernels = _joined([c.kernels for c in calls if c.kernels is not None])
        return list(executor.finish(Encoded(*map(_batch, sides)), kernels).split(1))


@dataclass(frozen=True)
class Look(Call):
    """TaskNetwork.feature, predict or answer of one image -> what that returns, for one image."""

    network: TaskNetwork
    wanted: str
    image: Tensor

    @property
    def alike(self) -> Hashable:
        """See Call.alike."""
        return Look, self.wanted

    def run(self, executor: Executor, others: Sequence[Look]) -> list[Any]:
        """See Call.run."""
        seen = getattr(self.network, self.wanted)(_batch([self.image, *(c.image for c in others)]))
        if isinstance(seen, Answer):
            return [Answer(f, [o]) for f, o in zip(seen.feature.split(1), seen.outputs, strict=True)]
        return list(seen.split(1)) if isinstance(seen, Tensor) else [[output] for output in seen]


def _batch(images: Sequence[Tensor]) -> Tensor:
    return images[0] if len(images) == 1 else torch.cat(tuple(images))


def _joined(kernels: Sequence[PlanKernels]) -> PlanKernels | None:
    if not kernels:
        return None
    sides = zip(*(k.infrared for k in kernels), strict=True), zip(*(k.visible for k in kernels), strict=True)
    return PlanKernels(*(tuple(_joined_blocks(blocks) for blocks in side) for side in sides))


def _joined_blocks(blocks: Sequence[BlockKernels]) -> BlockKernels:
    return BlockKernels(_batch([b.configurations for b in blocks]), _batch([b.weights for b in blocks]))
