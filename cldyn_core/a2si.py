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
from cldyn_core.descriptors import (
    DESCRIBED,
    BasisQuery,
    Description,
    SequenceDescriptor,
    conv_bn,
    has_weights,
    mlp,
    requirement,
)
from cldyn_core.task_tokens import TaskTokens
from cldyn_core.types import BlockPlan, Task
from cldyn_core.vfn import CHANNELS, SLOPE

PROTOTYPE_LENGTH = 16
"""e1 in the paper."""
_TEMPERATURE = 0.5  # tau of both straight-through estimators


@dataclass(frozen=True)
class Choice:
    """Outcome of the finite choice: the plan, and the chosen vectors with the gradient path of training."""

    plan: BlockPlan
    vectors: Tensor
    """(B, M, 256)."""


class A2SI(nn.Module):
    """One injection block after one encoder block of one modality."""

    prototypes: Tensor
    training_stride: int
    """In training an image is described by every so many-th pixel of each axis, at a fraction of the cost. 1: by all,
    as in evaluation.
    """

    def __init__(self, branches: int = 4, task_tokens: bool = False) -> None:
        super().__init__()
        if not 1 <= branches <= VECTORS:
            raise ValueError(f"A2SI takes 1 to {VECTORS} branches (the vectors of one configuration), not {branches}")
        self.branches = branches
        self.training_stride = 1
        self.task = SequenceDescriptor(4, CHANNELS)
        self.tokens = TaskTokens(PROTOTYPE_LENGTH * branches, VECTOR_LENGTH) if task_tokens else None
        self.image = nn.Sequential(*conv_bn(CHANNELS, CHANNELS))
        self.architecture = mlp(2 * CHANNELS, 32, PROTOTYPE_LENGTH * branches)
        self.query = BasisQuery(VECTOR_LENGTH)
        self.kernel_1x1 = mlp(VECTOR_LENGTH, 64, CHANNELS * CHANNELS)
        self.kernel_3x3 = mlp(VECTOR_LENGTH, 64, CHANNELS * CHANNELS * 9)
        self.norm = nn.BatchNorm2d(CHANNELS)
        self.zero_conv = nn.Conv2d(CHANNELS, CHANNELS, 1)
        nn.init.zeros_(self.zero_conv.weight)
        nn.init.zeros_(self.zero_conv.bias)  # type: ignore[arg-type]
        self.register_buffer("prototypes", nn.init.orthogonal_(torch.empty(CONFIGURATIONS, PROTOTYPE_LENGTH)))

    def forward(
        self, bank: Tensor, task_feature: Tensor, x: Tensor, noise: Tensor | None = None, task: Task = Task.NONE
    ) -> tuple[Tensor, BlockPlan]:
        """Bank (4, 32, 256), task feature (B, C, ...), x (B, 8, H, W) -> compensated (B, 8, H, W), plan."""
        choice = self.choose(bank, task_feature, x, noise, task)
        return self.apply_kernels(x, choice.plan.configurations, choice.vectors), choice.plan

    def choose(
        self, bank: Tensor, task_feature: Tensor, x: Tensor, noise: Tensor | None = None, task: Task = Task.NONE
    ) -> Choice:
        """Steps 1 to 6. Deterministic in evaluation; straight-through (Gumbel) estimators in training.

        noise: (B, M, 4) Gumbel noise of training; None: drawn here. task: for its token, where the block has tokens.
        """
        described = self.describe_task(requirement(task_feature, x), task)
        return self.decide(bank, described, self.describe_image(x), noise)

    @property
    def considers_configurations(self) -> bool:
        """Whether the choice of configurations depends on anything described: its last layer has weights left."""
        return self.training or has_weights(self.architecture)

    @property
    def considers_vectors(self) -> bool:
        """Whether the choice of basis vectors depends on anything described."""
        return self.training or has_weights(self.query.mlp)

    def describe_task(self, task_feature: Tensor, task: Task = Task.NONE) -> Description:
        """Step 1, and step 6 of the task: (B, C, ...) of rank >= 3 -> two descriptors, with the task's token."""
        t, q = task_feature.new_zeros(len(task_feature), CHANNELS), task_feature.new_zeros(len(task_feature), DESCRIBED)
        if self.considers_configurations:
            t = self.task(task_feature.flatten(1)[:, None])
        if self.considers_vectors:
            q = self.query.task_mean(task_feature)
        return Description(t, q, None if self.tokens is None else self.tokens.of(task))

    def describe_image(self, x: Tensor, vectors: bool = True) -> Description:
        """Step 2, and step 6 of the image: (B, 8, H, W) -> two descriptors. vectors: whether the second, costly one is
        wanted; else it is zeros.
        """
        v, q = x.new_zeros(len(x), CHANNELS), x.new_zeros(len(x), DESCRIBED)
        if self.considers_configurations:
            convolve, norm, act = self.image
            convolved = F.conv2d(x, convolve.weight, convolve.bias, self._stride, padding=1)  # type: ignore[arg-type]
            v = act(norm(convolved)).mean((2, 3))
        if vectors and self.considers_vectors:
            q = self.query.image_mean(x, self._stride)
        return Description(v, q)

    def decide(self, bank: Tensor, task: Description, image: Description, noise: Tensor | None = None) -> Choice:
        """`choose` by what is described already."""
        selection = self._select(task, image, noise)
        vectors, chosen = self._look_up(bank, selection, self.query(task, image))
        return Choice(BlockPlan(selection.argmax(-1), vectors), chosen)

    def _select(self, task: Description, image: Description, noise: Tensor | None) -> Tensor:
        """Steps 3 and 4: one-hot (B, M, 4)."""
        logits = self.logits(task, image)
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

    def logits(self, task: Description, image: Description) -> Tensor:
        """Cosine (B, M, 4) of each branch's architecture vector with the configurations' prototypes (steps 3 and 4)."""
        described = torch.cat((task.configurations, image.configurations), dim=1)
        a = self.architecture(described)
        if task.token is not None:
            a = a + task.token.architecture
        a = a.view(-1, PROTOTYPE_LENGTH, self.branches)
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
