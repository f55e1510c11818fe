"""A2SI, Architecture-Adaptive Semantic Injection: describe -> choose -> kernels -> apply (paper, section "RSC").

The task feature and the image feature choose, for each of M branches, a kernel configuration and a basis vector;
the vectors become convolution kernels, made anew for each image. At initialization the block is exactly the identity.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from cldyn_core.bank import CONFIGURATIONS, VECTOR_LENGTH, VECTORS
from cldyn_core.types import BlockPlan
from cldyn_core.vfn import CHANNELS, SLOPE

PROTOTYPE_LENGTH = 16
"""e1 in the paper."""
_TEMPERATURE = 0.5  # tau of both straight-through estimators
_PATCH = 5  # pixels that two 3x3 convolutions see


@dataclass(frozen=True)
class Choice:
    """Outcome of the finite choice: the plan, and the chosen vectors with the gradient path of training."""

    plan: BlockPlan
    vectors: Tensor
    """(B, M, 256)."""


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
        h = F.leaky_relu(self.first(sequence), SLOPE)
        total, head, tail = h.sum(-1), h[..., 0], h[..., -1]
        w_left, w_center, w_right = self.second.weight.unbind(-1)
        return ((total - tail) @ w_left.T + total @ w_center.T + (total - head) @ w_right.T) / h.shape[-1]


class BasisQuery(nn.Module):
    """The query (B, 256) that the basis vectors are compared with (step 6)."""

    def __init__(self) -> None:
        super().__init__()
        self.task = SequenceDescriptor(64, 128)
        self.image = nn.Sequential(*_conv_bn(CHANNELS, 64), *_conv_bn(64, 128))
        self.mlp = _mlp(256, 64, VECTOR_LENGTH)

    def forward(self, task_feature: Tensor, x: Tensor, stride: int = 1) -> Tensor:
        """Task feature (B, C, ...) and image feature (B, 8, H, W) -> (B, 256). stride: between the pixels whose mean
        describes the image; 1: all.
        """
        flat = task_feature.flatten(1)
        normalized = flat / (flat.square().mean(1, keepdim=True).sqrt() + 1e-8)
        return self.mlp(torch.cat((self.task(normalized[:, None]), self._image_mean(x, stride)), dim=1))

    def _image_mean(self, x: Tensor, stride: int) -> Tensor:
        if stride == 1 or min(x.shape[2:]) < _PATCH:
            return self.image(x).mean((2, 3))
        return self._sampled(x, stride).unflatten(0, (len(x), -1)).mean(1)

    def _sampled(self, x: Tensor, stride: int) -> Tensor:
        """Both convolutions on the 5x5 pixels around each sample: (B, 8, H, W) -> (B samples, 128)."""
        conv_1, norm_1, act, conv_2, norm_2, _ = self.image
        patches = x.unfold(2, _PATCH, stride).unfold(3, _PATCH, stride)
        patches = patches.permute(0, 2, 3, 1, 4, 5).flatten(0, 2)
        hidden = act(norm_1(F.conv2d(patches, conv_1.weight)))  # type: ignore[arg-type]
        return act(norm_2(F.conv2d(hidden, conv_2.weight)))[:, :, 0, 0]  # type: ignore[arg-type]


class A2SI(nn.Module):
    """One injection block after one encoder block of one modality."""

    prototypes: Tensor
    training_stride: int
    """In training an image is described by every so many-th pixel of each axis, at a fraction of the cost. 1: by all,
    as in evaluation.
    """

    def __init__(self, branches: int = 4) -> None:
        super().__init__()
        if not 1 <= branches <= VECTORS:
            raise ValueError(f"A2SI takes 1 to {VECTORS} branches (the vectors of one configuration), not {branches}")
        self.branches = branches
        self.training_stride = 1
        self.task = SequenceDescriptor(4, CHANNELS)
        self.image = nn.Sequential(*_conv_bn(CHANNELS, CHANNELS))
        self.architecture = _mlp(2 * CHANNELS, 32, PROTOTYPE_LENGTH * branches)
        self.query = BasisQuery()
        self.kernel_1x1 = _mlp(VECTOR_LENGTH, 64, CHANNELS * CHANNELS)
        self.kernel_3x3 = _mlp(VECTOR_LENGTH, 64, CHANNELS * CHANNELS * 9)
        self.norm = nn.BatchNorm2d(CHANNELS)
        self.zero_conv = nn.Conv2d(CHANNELS, CHANNELS, 1)
        nn.init.zeros_(self.zero_conv.weight)
        nn.init.zeros_(self.zero_conv.bias)  # type: ignore[arg-type]
        self.register_buffer("prototypes", nn.init.orthogonal_(torch.empty(CONFIGURATIONS, PROTOTYPE_LENGTH)))

    def forward(
        self, bank: Tensor, task_feature: Tensor, x: Tensor, noise: Tensor | None = None
    ) -> tuple[Tensor, BlockPlan]:
        """Bank (4, 32, 256), task feature (B, C, ...), x (B, 8, H, W) -> compensated (B, 8, H, W), plan."""
        choice = self.choose(bank, task_feature, x, noise)
        return self.apply_kernels(x, choice.plan.configurations, choice.vectors), choice.plan

    def choose(self, bank: Tensor, task_feature: Tensor, x: Tensor, noise: Tensor | None = None) -> Choice:
        """Steps 1 to 6. Deterministic in evaluation; straight-through (Gumbel) estimators in training.

        noise: (B, M, 4) Gumbel noise of training; None: drawn here.
        """
        if task_feature.ndim < 3 or task_feature.shape[0] != x.shape[0]:
            raise ValueError(
                f"the task feature must be (B, C, ...) of rank >= 3 with B = {x.shape[0]}, "
                f"not {tuple(task_feature.shape)}"
            )
        task_feature = task_feature.to(x.dtype)  # a task network may run in half precision
        selection = self._select(task_feature, x, noise)
        vectors, chosen = self._look_up(bank, selection, self.query(task_feature, x, self._stride))
        return Choice(BlockPlan(selection.argmax(-1), vectors), chosen)

    def _select(self, task_feature: Tensor, x: Tensor, noise: Tensor | None) -> Tensor:
        """Steps 1 to 4: one-hot (B, M, 4)."""
        logits = self.logits(task_feature, x)
        if not self.training:
            return F.one_hot(logits.argmax(-1), CONFIGURATIONS).to(logits.dtype)
        noise = gumbel_noise(logits.shape) if noise is None else noise
        soft = torch.softmax((logits + noise.to(logits)) / _TEMPERATURE, dim=-1)
        return F.one_hot(soft.argmax(-1), CONFIGURATIONS).to(soft.dtype) + soft - soft.detach()

    def _look_up(self, bank: Tensor, selection: Tensor, query: Tensor) -> tuple[Tensor, Tensor]:
        """Steps 5 and 6: the bank, one-hot (B, M, 4), query (B, 256) -> indices (B, M), vectors (B, M, 256)."""
        branch_bank = torch.einsum("bmc,cvd->bmvd", selection, bank)
        similarity = F.cosine_similarity(query[:, None, None, :], branch_bank, dim=-1)
        ranked = similarity.argsort(dim=-1, descending=True, stable=True)
        vectors = ranked.gather(-1, _rank_among_equals(selection.argmax(-1))[..., None])[..., 0]
        weights = F.one_hot(vectors, VECTORS).to(similarity.dtype)
        if self.training:
            soft = torch.softmax(similarity / _TEMPERATURE, dim=-1)
            weights = weights + soft - soft.detach()
        return vectors, torch.einsum("bmv,bmvd->bmd", weights, branch_bank)

    def apply_kernels(self, x: Tensor, configurations: Tensor, vectors: Tensor) -> Tensor:
        """Steps 7 and 8: x (B, 8, H, W), configurations (B, M), vectors (B, M, 256) -> (B, 8, H, W)."""
        outputs, images = [], []
        for image, chosen in enumerate(configurations.tolist()):
            for configuration in set(chosen):
                equal = [branch for branch, each in enumerate(chosen) if each == configuration]
                outputs.append(self._convolve(x[image : image + 1], vectors[image, equal], configuration))
                images += [image] * len(equal)
        branches = F.leaky_relu(self.norm(torch.cat(outputs)), SLOPE)  # neither norm nor mean asks for their order
        index = torch.tensor(images, device=x.device)
        total = torch.zeros_like(branches[: len(x)]).index_add(0, index, branches)
        return x + self.zero_conv(total / configurations.shape[1])

    def _convolve(self, x: Tensor, vectors: Tensor, configuration: int) -> Tensor:
        """All branches of one configuration at once: x (1, 8, H, W), vectors (N, 256) -> (N, 8, H, W)."""
        n, dilation = len(vectors), max(configuration, 1)
        size = 1 if configuration == 0 else 3
        kernels = (self.kernel_1x1 if size == 1 else self.kernel_3x3)(vectors)
        weight = kernels.view(n * CHANNELS, CHANNELS, size, size)
        padding = dilation if size == 3 else 0
        return F.conv2d(x, weight, padding=padding, dilation=dilation)[0].unflatten(0, (n, CHANNELS))

    @property
    def _stride(self) -> int:
        return self.training_stride if self.training else 1

    def logits(self, task_feature: Tensor, x: Tensor) -> Tensor:
        """Cosine (B, M, 4) of each branch's architecture vector with the configurations' prototypes (steps 1 to 4)."""
        t = self.task(task_feature.flatten(1)[:, None])
        convolve, norm, act = self.image
        described = F.conv2d(x, convolve.weight, stride=self._stride, padding=1)  # type: ignore[arg-type]
        v = act(norm(described)).mean((2, 3))
        a = self.architecture(torch.cat((t, v), dim=1)).view(-1, PROTOTYPE_LENGTH, self.branches)
        return F.cosine_similarity(a.transpose(1, 2)[:, :, None], self.prototypes, dim=-1)


def gumbel_noise(shape: Sequence[int], generator: torch.Generator | None = None) -> Tensor:
    """Standard Gumbel noise, float32 on the CPU; from torch's own generator when none is given."""
    return -torch.empty(shape).exponential_(generator=generator).log()


def _rank_among_equals(configurations: Tensor) -> Tensor:
    """(B, M) -> (B, M): how many earlier branches of the image chose the same configuration (they take the better
    vectors).
    """
    equal = configurations[:, :, None] == configurations[:, None, :]
    return equal.tril(-1).sum(-1)


def _conv_bn(in_channels: int, out_channels: int) -> tuple[nn.Module, nn.Module, nn.Module]:
    conv = nn.Conv2d(in_channels, out_channels, 3, padding=1, bias=False)
    return conv, nn.BatchNorm2d(out_channels), nn.LeakyReLU(SLOPE)


def _mlp(in_features: int, hidden: int, out_features: int) -> nn.Sequential:
    return nn.Sequential(
        nn.Linear(in_features, hidden), nn.LayerNorm(hidden), nn.ReLU(), nn.Linear(hidden, out_features)
    )
