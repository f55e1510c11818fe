"""The yardstick: one frame in the paper's order, operation by operation, in float32.

Written straight from the paper. Both passes are whole, the selector runs on every frame and pixel, samples and branches
are loops, batch norms stand alone, and the task network looks twice. It borrows a CLDyN's layers (single convolutions,
norms, linear layers), never the code that joins them, so that it stays as it is when the project gets faster.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from cldyn_core.a2si import A2SI
from cldyn_core.model import CLDyN
from cldyn_core.types import BlockPlan, CompensationPlan
from cldyn_core.vfn import ConvBlock

_OFFSET = 128 / 255
_SLOPE = 0.2
_SOBEL = torch.tensor([[-1.0, 0.0, 1.0], [-2.0, 0.0, 2.0], [-1.0, 0.0, 1.0]]) / 8

Pick = Callable[[Tensor], int]
"""From the logits (4,) of one branch to its configuration."""
Requirement = Callable[[Tensor], Tensor]
"""From the first fused image, RGB (B, 3, H, W) in [0, 1], to the task feature."""
Lap = Callable[[str], object]
"""Called when a piece of work ends, with its stage: convert, plan, execute or task."""


@dataclass(frozen=True)
class ReferenceFrame:
    """Both passes over one batch; images are not clamped."""

    first: Tensor
    """(B, 3, H, W) RGB without compensation."""
    fused: Tensor
    """(B, 3, H, W) RGB with it."""
    plan: CompensationPlan


def largest(logits: Tensor) -> int:
    """The pick of inference: no noise."""
    return int(logits.argmax())


def _unheard(_stage: str) -> None:
    """The lap of a frame that nobody times."""


def reference_frame(
    model: CLDyN, visible: Tensor, infrared: Tensor, requirement: Requirement, lap: Lap = _unheard
) -> ReferenceFrame:
    """Fuse visible RGB (B, 3, H, W) and infrared (B, 1, H, W), both in [0, 1], with a CLDyN in evaluation mode."""
    ycbcr = to_ycbcr(visible)
    lap("convert")
    luma, _ = _fusion_pass(model, infrared, ycbcr[:, :1], None, lap)
    first = to_rgb(luma, ycbcr)
    seen = first.clamp(0, 1)
    lap("convert")
    feature = requirement(seen)
    lap("task")
    luma, plan = _fusion_pass(model, infrared, ycbcr[:, :1], feature, lap)
    fused = to_rgb(luma, ycbcr)
    lap("convert")
    return ReferenceFrame(first, fused, plan)


def _fusion_pass(
    model: CLDyN, infrared: Tensor, luma: Tensor, feature: Tensor | None, lap: Lap
) -> tuple[Tensor, CompensationPlan]:
    """One pass from (B, 1, H, W) images to fused luma (B, 1, H, W); feature None: without compensation, an empty
    plan.
    """
    encoded, plans = [], []
    for x, encoder, rsc in (
        (infrared, model.vfn.encoder_ir, model.rsc_ir),
        (luma, model.vfn.encoder_vi, model.rsc_vi),
    ):
        blocks: list[BlockPlan] = []
        x = encoder.stem(x)
        for i, block in enumerate(_conv_blocks(encoder)):
            x = _conv_block(block, x)
            if feature is not None and i < len(rsc.blocks):
                x, chosen = inject(rsc.blocks[i], model.bank.vectors, feature, x, lap=lap)  # type: ignore[arg-type]
                blocks.append(chosen)
        encoded.append(x)
        plans.append(tuple(blocks))
    fused = _reconstruct(model, _attend(model, *encoded))
    lap("execute")
    return fused, CompensationPlan(*plans)


def inject(
    block: A2SI, bank: Tensor, feature: Tensor, x: Tensor, pick: Pick = largest, lap: Lap = _unheard
) -> tuple[Tensor, BlockPlan]:
    """One A2SI, one sample and one branch after the other: bank (4, 32, 256), feature (B, C, ...), x (B, 8, H, W) ->
    (B, 8, H, W) and its plan. No gradient reaches the choice.
    """
    outputs, configurations, vectors = [], [], []
    for b in range(len(x)):
        one = x[b : b + 1]
        lap("execute")
        with torch.no_grad():
            architecture, query = _describe(block, feature[b : b + 1], one)
        lap("plan")
        chosen: list[int] = []
        for m in range(block.branches):
            with torch.no_grad():
                configuration = pick(F.cosine_similarity(block.prototypes, architecture[None, :, m]))
                order = F.cosine_similarity(query, bank[configuration]).argsort(descending=True)
            vector = int(order[chosen.count(configuration)])
            chosen.append(configuration)
            vectors.append(vector)
            outputs.append(_branch(block, one, configuration, bank[configuration, vector]))
        configurations.append(chosen)
    branches = F.leaky_relu(block.norm(torch.cat(outputs)), _SLOPE).unflatten(0, (len(x), block.branches))
    plan = BlockPlan(torch.tensor(configurations), torch.tensor(vectors).view(len(x), block.branches))
    return x + block.zero_conv(branches.mean(1)), plan


def _describe(block: A2SI, feature: Tensor, x: Tensor) -> tuple[Tensor, Tensor]:
    """Of one sample: architecture vectors (16, M) and query (1, 256)."""
    flat = feature.flatten(1)[:, None]
    described = torch.cat((_sequence(block.task, flat), block.image(x).mean((2, 3))), 1)
    architecture = block.architecture(described).view(16, block.branches)
    normalized = flat / (flat.square().mean().sqrt() + 1e-8)
    image = block.query.image(x).mean((2, 3))
    return architecture, block.query.mlp(torch.cat((_sequence(block.query.task, normalized), image), 1))


def _sequence(descriptor: nn.Module, flat: Tensor) -> Tensor:
    return descriptor.second(F.leaky_relu(descriptor.first(flat), _SLOPE)).mean(-1)  # type: ignore[operator]


def _branch(block: A2SI, x: Tensor, configuration: int, vector: Tensor) -> Tensor:
    if configuration == 0:
        return F.conv2d(x, block.kernel_1x1(vector).view(8, 8, 1, 1))
    kernel = block.kernel_3x3(vector).view(8, 8, 3, 3)
    return F.conv2d(x, kernel, padding=configuration, dilation=configuration)


def _conv_blocks(stage: nn.Module) -> Iterator[ConvBlock]:
    yield from stage.blocks  # type: ignore[misc]


def _conv_block(block: ConvBlock, x: Tensor) -> Tensor:
    a = torch.cat((x, block.first(x)), 1)
    b = torch.cat((a, block.second(a)), 1)
    return x + F.leaky_relu(block.merge(b), _SLOPE)


def _attend(model: CLDyN, infrared: Tensor, visible: Tensor) -> Tensor:
    """FRB1: (B, 8, H, W) twice -> (B, 16, H, W)."""
    part = model.vfn.attention
    both = torch.cat((infrared, visible), 1)
    gradient = torch.cat((_gradient(infrared), _gradient(visible)), 1)
    channel = part.channel_mean(gradient.mean((2, 3))) + part.channel_max(gradient.amax((2, 3)))
    mean, maximum = F.avg_pool2d(gradient, 3, 1, 1), F.max_pool2d(gradient, 3, 1, 1)
    return both * torch.sigmoid(channel[:, :, None, None] * (part.spatial_mean(mean) + part.spatial_max(maximum)))


def _gradient(x: Tensor) -> Tensor:
    padded = F.pad(x, (1, 1, 1, 1), mode="replicate")
    channels = x.shape[1]
    along_x, along_y = (
        F.conv2d(padded, kernel.to(x).repeat(channels, 1, 1, 1), groups=channels) for kernel in (_SOBEL, _SOBEL.T)
    )
    return along_x.abs() + along_y.abs()


def _reconstruct(model: CLDyN, x: Tensor) -> Tensor:
    """FRB2: (B, 16, H, W) -> (B, 1, H, W)."""
    decoder = model.vfn.decoder
    x = decoder.reduce(x)
    for block in _conv_blocks(decoder):
        x = _conv_block(block, x)
    return (torch.tanh(decoder.out(decoder.narrow(x))) + 1) / 2


def to_ycbcr(rgb: Tensor) -> Tensor:
    """(B, 3, H, W) -> (B, 3, H, W)."""
    r, g, b = rgb[:, :1], rgb[:, 1:2], rgb[:, 2:]
    y = 0.299 * r + 0.587 * g + 0.114 * b
    cb = -0.1687 * r - 0.3313 * g + 0.5 * b + _OFFSET
    cr = 0.5 * r - 0.4187 * g - 0.0813 * b + _OFFSET
    return torch.cat((y, cb, cr), 1)


def to_rgb(luma: Tensor, ycbcr: Tensor) -> Tensor:
    """Fused luma (B, 1, H, W) with the chroma of (B, 3, H, W) -> RGB (B, 3, H, W)."""
    cb, cr = ycbcr[:, 1:2] - _OFFSET, ycbcr[:, 2:] - _OFFSET
    return torch.cat((luma + 1.402 * cr, luma - 0.34414 * cb - 0.71414 * cr, luma + 1.772 * cb), 1)
