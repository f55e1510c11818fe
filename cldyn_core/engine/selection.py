"""The choice of basis vectors from a sample of the image's pixels, where that cannot change it.

Ninety-seven percent of an RSC's arithmetic describes the image by 128 means over all pixels, only to rank 32
candidates. Means over a few thousand pixels drawn at random rank them too; how far the candidates lie apart says
whether to believe it.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from functools import lru_cache
from typing import Any, Protocol

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from cldyn_core.a2si import A2SI
from cldyn_core.bank import VECTORS
from cldyn_core.descriptors import DESCRIBED, Description
from cldyn_core.engine.native import library
from cldyn_core.engine.native.describer import NativeDescriber
from cldyn_core.types import BlockPlan
from cldyn_core.vfn import SLOPE

_SAMPLES = (4096, 16384)
_ERRORS = 6.0  # standard errors that a mean may be off: 2e-9 of normal means are
_ROUNDING = 1e-5  # of all that is not sampled, relative
_PATCH = 5  # pixels that two 3x3 convolutions see


class Describer(Protocol):
    """Describes an image feature as `A2SI.describe_image` does, of a block whose norms are folded."""

    def __call__(self, block: A2SI, x: Tensor, /, vectors: bool = True) -> Description:
        """(B, 8, H, W) -> two descriptors. vectors: whether the second, costly one is wanted; else it is zeros."""


def fastest_describer(device: torch.device) -> Describer:
    """The C++ engine's on a CPU where it was built, else torch's."""
    if device.type == "cpu" and library.library_path() is not None:
        return NativeDescriber()
    return A2SI.describe_image


class Selection:
    """Makes the plan of a block: of one image from a sample if the sample decides, else from all pixels."""

    def __init__(self, describe: Describer) -> None:
        self._describe = describe
        self.counts: Counter[str] = Counter()
        """Plans made, by what they were made from: "4096 pixels", ..., or "all pixels"."""

    def describe(self) -> str:
        """For people: `12 from 4096 pixels, 3 from all pixels`. A plan of a block each."""
        made = sorted(self.counts.copy().items())
        return ", ".join(f"{count} from {source}" for source, count in made) or "none yet"

    def __call__(self, block: A2SI, bank: Tensor, task: Description, x: Tensor) -> BlockPlan:
        """See planner.Chooser."""
        if block.considers_vectors and len(x) == 1 and x.device.type == "cpu":  # a GPU describes all as fast
            described, needed = self._describe(block, x, vectors=False), 0.0
            for samples in (n for n in _SAMPLES if 4 * n <= x.shape[2] * x.shape[3]):
                if samples < needed:
                    continue
                features = sampled_features(block, x, samples)
                plan = block.decide(bank, task, replace(described, vectors=features.mean(0, keepdim=True))).plan
                doubt = doubt_of(block, bank, task, features, plan)
                if doubt < 1.0:
                    self.counts[f"{samples} pixels"] += 1
                    return plan
                needed = samples * doubt**2  # errors fall with the root of their number
        self.counts["all pixels"] += 1
        return block.decide(bank, task, self._describe(block, x)).plan


def sampled_features(block: A2SI, x: Tensor, samples: int) -> Tensor:
    """The image branch of the query at pixels drawn at random, always the same ones: (1, 8, H, W) -> (samples, 128).

    Their mean estimates `BasisQuery.image_mean` without bias: hidden pixels outside the image are zeros, as there.
    """
    hidden_layer, *_, output_layer, _, _ = _layers(block.query.image)
    height, width = x.shape[2:]
    index, inside = (part.to(x.device) for part in _neighborhoods(height, width, samples))
    patches = F.pad(x[0], (2, 2, 2, 2)).flatten(1)[:, index.flatten()].view(-1, samples, _PATCH, _PATCH)
    windows = patches.unfold(2, 3, 1).unfold(3, 3, 1).permute(1, 2, 3, 0, 4, 5).reshape(samples * 9, -1)
    hidden = torch.addmm(hidden_layer.bias, windows, hidden_layer.weight.flatten(1).T)
    hidden = F.leaky_relu_(hidden, SLOPE).view(samples, 9, -1) * inside[..., None]
    weight = output_layer.weight.flatten(2).permute(2, 1, 0).flatten(0, 1)  # (9 * 64, 128)
    return F.leaky_relu_(torch.addmm(output_layer.bias, hidden.flatten(1), weight), SLOPE)


def doubt_of(block: A2SI, bank: Tensor, task: Description, features: Tensor, plan: BlockPlan) -> float:
    """How large the error of the sample may be against what would change its choice: below 1 all pixels choose alike.

    features: (n, 128), of the sample. The mean of a scalar function of them is known to so many standard errors. The
    distance of two candidates is such a function but for the query's LayerNorm and ReLU; what those can add is bounded:
    with r the relative error of the LayerNorm's input, at most 1/3, a normalized vector differs from its first-order
    change by at most 2 r^2, and a ReLU from its own only if its sign may change.
    """
    first, norm, _, last = _layers(block.query.mlp)
    projected = features @ first.weight[:, DESCRIBED:].T
    covariance = projected.T.cov() / len(features)  # of the mean's error
    h = first.weight[:, :DESCRIBED] @ task.vectors[0] + first.bias + projected.mean(0)
    c = h - h.mean()
    scale = torch.sqrt(c.square().mean() + norm.eps)
    z = norm.weight * c / scale + norm.bias
    eye = torch.eye(len(h), device=h.device)
    jacobian = norm.weight[:, None] / scale * (eye - 1.0 / len(h) - torch.outer(c, c) / (len(h) * scale**2))
    length = covariance.trace().sqrt() + _ERRORS * torch.linalg.matrix_norm(covariance, 2).sqrt()
    r = length / (scale * len(h) ** 0.5)
    curved = norm.weight.abs() * len(h) ** 0.5 * 2.0 * r**2
    off = _ERRORS * _deviation(jacobian, covariance) + curved
    active, doubtful = z > 0, z.abs() <= off

    query = task.asked(F.relu(z) @ last.weight.T + last.bias)
    direction = _directions(bank, plan)
    distance, rounding = direction @ query, _ROUNDING * direction.norm(dim=1) * query.norm()
    direction = direction @ last.weight
    slope = torch.where(active & ~doubtful, direction, 0.0)
    bound = _ERRORS * _deviation(slope @ jacobian, covariance) + (slope.abs() * curved).sum(-1)
    bound += torch.where(doubtful, direction.abs() * off, 0.0).sum(-1) + rounding
    return float(torch.maximum((bound / distance.clamp(min=1e-30)).max(), 3.0 * r))


def _layers(network: nn.Sequential) -> Iterator[Any]:
    """Its layers, of types that the caller knows."""
    return iter(network)


def _deviation(rows: Tensor, covariance: Tensor) -> Tensor:
    """Standard deviation of each row's product with a vector of this covariance."""
    return ((rows @ covariance) * rows).sum(-1).clamp(min=0.0).sqrt()


def _directions(bank: Tensor, plan: BlockPlan) -> Tensor:
    """Of each chosen vector and each that must rank below it: the difference (P, 256) of both, normalized before."""
    unit = F.normalize(bank, dim=-1)
    directions = []
    configurations, vectors = plan.configurations[0].tolist(), plan.vectors[0].tolist()
    for configuration in sorted(set(configurations)):
        ranked = [v for c, v in zip(configurations, vectors, strict=True) if c == configuration]
        for i, better in enumerate(ranked):
            worse = [v for v in range(VECTORS) if v not in ranked[: i + 1]]
            directions.append(unit[configuration, better] - unit[configuration, worse])
    return torch.cat(directions)


@lru_cache(maxsize=8)
def _neighborhoods(height: int, width: int, samples: int) -> tuple[Tensor, Tensor]:
    """Of pixels drawn at random: where their 5x5 neighbors lie in the image padded by 2, (samples, 25), and which of
    the 9 nearest lie inside the image, (samples, 9).
    """
    generator = torch.Generator().manual_seed(0)
    pixels = torch.randint(height * width, (samples,), generator=generator)
    y, x = pixels // width, pixels % width
    steps = torch.arange(_PATCH)
    index = (y[:, None, None] + steps[:, None]) * (width + 4) + x[:, None, None] + steps
    near = torch.arange(-1, 2)
    inside_y = ((y[:, None] + near >= 0) & (y[:, None] + near < height))[:, :, None]
    inside_x = ((x[:, None] + near >= 0) & (x[:, None] + near < width))[:, None, :]
    return index.flatten(1), (inside_y & inside_x).flatten(1).float()
