"""What an A2SI knows when it chooses: a task feature and an image feature, each described by a few numbers."""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from cldyn_core.vfn import CHANNELS, SLOPE

DESCRIBED = 128
"""Features of each branch of the query."""
_PATCH = 5  # pixels that two 3x3 convolutions see
_PIECE = 8192  # of a long sequence, in evaluation: its hidden layer stays in the cache


@dataclass(frozen=True)
class Token:
    """What is added for a task where an A2SI chooses; see task_tokens.py."""

    architecture: Tensor
    """(16 M,) to the architecture vectors of the branches."""
    query: Tensor
    """(256,) to the query."""


@dataclass(frozen=True)
class Description:
    """What an A2SI knows of its task, or of its image, when it chooses; zeros where a choice does not depend on it."""

    configurations: Tensor
    """(B, 8) for the choice of the kernel configurations (steps 1 and 2)."""
    vectors: Tensor
    """(B, 128) for the choice of the basis vectors (step 6)."""
    token: Token | None = None
    """Of the task, where there are tokens."""

    def asked(self, query: Tensor) -> Tensor:
        """A query, (B, 256) or (256,), with the task's token where there is one."""
        return query if self.token is None else query + self.token.query


def requirement(task_feature: Tensor, x: Tensor) -> Tensor:
    """The task feature (B, C, ...) in the precision of the image feature x (B, 8, H, W); its network may run in half.

    Raises ValueError for one that is not of rank >= 3 or not of as many images.
    """
    if task_feature.ndim < 3 or len(task_feature) != len(x):
        shape = tuple(task_feature.shape)
        raise ValueError(f"the task feature must be (B, C, ...) of rank >= 3 with B = {len(x)}, not {shape}")
    return task_feature.to(x.dtype)


class SequenceDescriptor(nn.Module):
    """Two Conv1d over a flattened task feature, then the mean over its length: (B, 1, T) -> (B, out)."""

    def __init__(self, hidden: int, out: int) -> None:
        super().__init__()
        self.first = nn.Conv1d(1, hidden, 3, padding=1, bias=False)
        self.second = nn.Conv1d(hidden, out, 3, padding=1, bias=False)

    def forward(self, sequence: Tensor) -> Tensor:
        """The second convolution is linear and a mean follows, so it is applied to the sums instead: exact, no (B,
        out, T).
        """
        length, padded = sequence.shape[-1], F.pad(sequence, (1, 1))
        step = length if self.training else _PIECE
        sums = [self._hidden(padded[..., i : i + step + 2]).sum(-1) for i in range(0, length, step)]
        total, head, tail = torch.stack(sums).sum(0), self._hidden(padded[..., :3]), self._hidden(padded[..., -3:])
        w_left, w_center, w_right = self.second.weight.unbind(-1)
        outer = (total - tail[..., 0]) @ w_left.T + (total - head[..., 0]) @ w_right.T
        return (outer + total @ w_center.T) / length

    def _hidden(self, padded: Tensor) -> Tensor:
        return F.leaky_relu(F.conv1d(padded, self.first.weight), SLOPE)


class BasisQuery(nn.Module):
    """The query (B, 256) that the basis vectors are compared with (step 6)."""

    def __init__(self, length: int) -> None:
        super().__init__()
        self.task = SequenceDescriptor(64, DESCRIBED)
        self.image = nn.Sequential(*conv_bn(CHANNELS, 64), *conv_bn(64, DESCRIBED))
        self.mlp = mlp(2 * DESCRIBED, 64, length)

    def forward(self, task: Description, image: Description) -> Tensor:
        """What was described -> (B, 256)."""
        return task.asked(self.mlp(torch.cat((task.vectors, image.vectors), dim=1)))

    def task_mean(self, task_feature: Tensor) -> Tensor:
        """Task branch: (B, C, ...) -> (B, 128)."""
        flat = task_feature.flatten(1)
        normalized = flat / (flat.square().mean(1, keepdim=True).sqrt() + 1e-8)
        return self.task(normalized[:, None])

    def image_mean(self, x: Tensor, stride: int = 1) -> Tensor:
        """Image branch: (B, 8, H, W) -> (B, 128). stride: between the pixels whose mean describes the image; 1: all."""
        if stride == 1 or min(x.shape[2:]) < _PATCH:
            return self.image(x).mean((2, 3))
        return self._sampled(x, stride).unflatten(0, (len(x), -1)).mean(1)

    def _sampled(self, x: Tensor, stride: int) -> Tensor:
        """Both convolutions on the 5x5 pixels around each sample: (B, 8, H, W) -> (B samples, 128)."""
        conv_1, norm_1, act, conv_2, norm_2, _ = self.image
        patches = x.unfold(2, _PATCH, stride).unfold(3, _PATCH, stride)
        patches = patches.permute(0, 2, 3, 1, 4, 5).flatten(0, 2)
        hidden = act(norm_1(F.conv2d(patches, conv_1.weight, conv_1.bias)))  # type: ignore[arg-type]
        return act(norm_2(F.conv2d(hidden, conv_2.weight, conv_2.bias)))[:, :, 0, 0]  # type: ignore[arg-type]


def has_weights(network: nn.Sequential) -> bool:
    """Whether the last layer has any: without them its output is constant, whatever its input."""
    last = network[-1]
    return not isinstance(last, nn.Linear) or bool(last.weight.any())


def conv_bn(in_channels: int, out_channels: int) -> tuple[nn.Module, nn.Module, nn.Module]:
    """3x3 convolution without bias that keeps the size, BatchNorm, LReLU."""
    conv = nn.Conv2d(in_channels, out_channels, 3, padding=1, bias=False)
    return conv, nn.BatchNorm2d(out_channels), nn.LeakyReLU(SLOPE)


def mlp(in_features: int, hidden: int, out_features: int) -> nn.Sequential:
    """Two linear layers, the first with LayerNorm and ReLU."""
    return nn.Sequential(
        nn.Linear(in_features, hidden), nn.LayerNorm(hidden), nn.ReLU(), nn.Linear(hidden, out_features)
    )
