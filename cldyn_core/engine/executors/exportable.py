"""The VFN as static graphs that can be exported: the kernels are inputs, height and width are free, the batch is 1.

Changing the plan changes an input and nothing else, so nothing is ever compiled again for it.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from cldyn_core.bank import CONFIGURATIONS
from cldyn_core.engine.folding import folded
from cldyn_core.engine.kernels import BlockTable, KernelTables
from cldyn_core.model import CLDyN
from cldyn_core.vfn import CHANNELS, SLOPE, VFN

DILATIONS = CONFIGURATIONS - 1
"""Of the 3x3 kernels: 1, 2, 3. A 1x1 kernel is a 3x3 of dilation 1."""


class EncodeModule(nn.Module):
    """Encoder block 0 of both modalities."""

    def __init__(self, vfn: VFN) -> None:
        super().__init__()
        self.encoder_ir, self.encoder_vi = vfn.encoder_ir, vfn.encoder_vi

    def forward(self, infrared: Tensor, luma: Tensor) -> tuple[Tensor, Tensor]:
        """Two (1, 1, H, W) in [0, 1] -> two features (1, 8, H, W)."""
        return self.encoder_ir.block(0, infrared), self.encoder_vi.block(0, luma)


class OpenFinishModule(nn.Module):
    """The rest of an uncompensated pass, without the cost of an injection."""

    def __init__(self, vfn: VFN) -> None:
        super().__init__()
        self.vfn = vfn

    def forward(self, infrared: Tensor, visible: Tensor) -> Tensor:
        """Two features (1, 8, H, W) -> luma (1, 1, H, W) in [0, 1]."""
        return self.vfn.finish(infrared, visible)


class FinishModule(nn.Module):
    """The rest of a pass, with the kernels of a plan."""

    def __init__(self, vfn: VFN, tables: KernelTables, branches: int) -> None:
        super().__init__()
        self.vfn = vfn
        self.inject_ir = nn.ModuleList(InjectModule(table, branches) for table in tables.infrared)
        self.inject_vi = nn.ModuleList(InjectModule(table, branches) for table in tables.visible)

    def forward(self, infrared: Tensor, visible: Tensor, kernels: Tensor, gain: Tensor) -> Tensor:
        """Two features (1, 8, H, W), kernels (2, L - 1, M, 3, 8, 8, 3, 3) as one sample of PlanKernels.dense, gain ()
        -> luma (1, 1, H, W) in [0, 1]. gain 1: the compensated pass; 0: exactly the uncompensated one.
        """
        for i, (inject_ir, inject_vi) in enumerate(zip(self.inject_ir, self.inject_vi, strict=True)):
            infrared = self.vfn.encoder_ir.block(i + 1, inject_ir(infrared, kernels[0, i], gain))
            visible = self.vfn.encoder_vi.block(i + 1, inject_vi(visible, kernels[1, i], gain))
        return self.vfn.reconstruct(infrared, visible)


class FusionModule(nn.Module):
    """A whole pass: what `cldyn export` writes."""

    def __init__(self, model: CLDyN, tables: KernelTables) -> None:
        super().__init__()
        vfn = folded(model.vfn)
        self.encode, self.finish = EncodeModule(vfn), FinishModule(vfn, tables, model.architecture.branches)

    def forward(self, infrared: Tensor, luma: Tensor, kernels: Tensor, gain: Tensor) -> Tensor:
        """Images as EncodeModule takes them, the rest as FinishModule."""
        return self.finish(*self.encode(infrared, luma), kernels, gain)


class InjectModule(nn.Module):
    """Step 8 of A2SI with all branches and dilations at once, whichever of them the plan has chosen."""

    shift: Tensor
    merge: Tensor
    bias: Tensor

    def __init__(self, table: BlockTable, branches: int) -> None:
        super().__init__()
        # The mean over branches and the 1x1 convolution after it are one 1x1 convolution of all branches.
        merge = table.merge_weight.repeat(1, branches)[..., None, None] / branches
        self.register_buffer("shift", table.shift.repeat(branches))
        self.register_buffer("merge", merge)
        self.register_buffer("bias", table.merge_bias[:, None, None].clone())

    def forward(self, x: Tensor, kernels: Tensor, gain: Tensor) -> Tensor:
        """x (1, 8, H, W), kernels (M, 3, 8, 8, 3, 3), gain () >= 0 -> (1, 8, H, W).

        LReLU(gain z) = gain LReLU(z), so the gain is applied to the kernels, which are small, and not to the image.
        """
        first, *others = (gain * kernels[:, d].reshape(-1, CHANNELS, 3, 3) for d in range(DILATIONS))
        total = F.conv2d(x, first, gain * self.shift, padding=1)
        for dilation, weight in enumerate(others, 2):
            total = total + F.conv2d(x, weight, padding=dilation, dilation=dilation)
        return x + F.conv2d(F.leaky_relu(total, SLOPE), self.merge) + gain * self.bias


class InPrecision(nn.Module):
    """A module that computes in another type, between inputs and outputs of float32."""

    def __init__(self, module: nn.Module, dtype: torch.dtype) -> None:
        super().__init__()
        self.module, self.dtype = module.to(dtype), dtype

    def forward(self, *inputs: Tensor) -> Tensor | tuple[Tensor, ...]:
        """As the module."""
        outputs = self.module(*(tensor.to(self.dtype) for tensor in inputs))
        return outputs.float() if isinstance(outputs, Tensor) else tuple(tensor.float() for tensor in outputs)


@dataclass(frozen=True)
class Graph:
    """A module, and what an exporter has to know of it."""

    name: str
    module: nn.Module
    inputs: dict[str, Tensor]
    """Examples by name, in order. Axes 2 and 3 of those that are images (rank 4) may have any length >= 3."""
    outputs: dict[str, int]
    """Channels by name, in order: each is (1, channels, H, W) float32."""

    def examples(self, height: int, width: int) -> list[Tensor]:
        """Inputs with images of another size, all in [0, 1]."""
        return [torch.rand(*e.shape[:2], height, width) if e.ndim == 4 else e.clone() for e in self.inputs.values()]


def split_graphs(model: CLDyN, tables: KernelTables) -> dict[str, Graph]:
    """What an executor runs: "encode", "open" (the rest without compensation) and "finish" (the rest with it).

    "finish" is left out where no plan changes anything: its kernels' output is all zero, or there is one block.
    """
    vfn = folded(model.vfn).requires_grad_(False)
    infrared, luma, kernels, gain = example_inputs(model)
    images = {"infrared": infrared, "luma": luma}
    features = {side: torch.rand(1, CHANNELS, *luma.shape[2:]) for side in ("infrared", "visible")}
    side_channels = {"encoded_infrared": CHANNELS, "encoded_visible": CHANNELS}
    graphs = [
        Graph("encode", EncodeModule(vfn), images, side_channels),
        Graph("open", OpenFinishModule(vfn), features, {"fused": 1}),
    ]
    if not tables.identity:
        module = FinishModule(vfn, tables, model.architecture.branches)
        graphs.append(Graph("finish", module, {**features, "kernels": kernels, "gain": gain}, {"fused": 1}))
    return {graph.name: graph for graph in graphs}


def whole_graph(model: CLDyN, tables: KernelTables) -> Graph:
    """What `cldyn export` writes. Raises ValueError for a model of one encoder block, which has no kernels."""
    if model.architecture.encoder_blocks == 1:
        raise ValueError("a model of one encoder block has no compensation. Remedy: weights of two or more blocks")
    names = ("infrared", "luma", "kernels", "gain")
    inputs = dict(zip(names, example_inputs(model), strict=True))
    return Graph("fusion", FusionModule(model, tables).requires_grad_(False), inputs, {"fused": 1})


def example_inputs(model: CLDyN, height: int = 40, width: int = 56) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Inputs of a FusionModule, of the right shapes."""
    blocks, branches = model.architecture.encoder_blocks - 1, model.architecture.branches
    generator = torch.Generator().manual_seed(0)
    infrared, luma = torch.rand(2, 1, 1, height, width, generator=generator)
    kernels = torch.zeros(2, blocks, branches, DILATIONS, CHANNELS, CHANNELS, 3, 3)
    return infrared, luma, kernels, torch.ones(())
