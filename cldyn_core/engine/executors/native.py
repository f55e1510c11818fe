"""The backend of our own: a C++ pipeline that keeps an image in the cache from the first layer to the last."""

from __future__ import annotations

import weakref
from collections.abc import Iterator

import torch
from torch import Tensor, nn

from cldyn_core.engine.executors.base import Encoded, Executor
from cldyn_core.engine.folding import folded
from cldyn_core.engine.kernels import BlockTable, KernelTables, PlanKernels
from cldyn_core.engine.native import library
from cldyn_core.model import CLDyN
from cldyn_core.types import Backend, Precision
from cldyn_core.vfn import CHANNELS, VFN, ConvBlock, Encoder


class NativeExecutor(Executor):
    """float32 on the CPU, one image at a time, with torch's number of threads."""

    backend = Backend.NATIVE
    one_at_a_time = True

    @classmethod
    def unavailable(cls, device: torch.device, precision: Precision) -> str:
        """See Executor.unavailable."""
        if device.type != "cpu" or precision is not Precision.FP32:
            return f"the backend native runs in fp32 on the CPU only, not in {precision.value} on {device.type}"
        try:
            library.load()
        except OSError as error:
            return str(error)
        return ""

    def __init__(self, model: CLDyN, tables: KernelTables, device: torch.device, precision: Precision) -> None:
        self.precision, self.device = precision, device
        self._blocks, self._threads = model.vfn.depth - 1, torch.get_num_threads()
        weights = library.floats(*_weights(folded(model.vfn), tables))
        self._vfn = library.create("cldyn_vfn_new", weights, model.vfn.depth, self._threads)
        self._free = weakref.finalize(self, library.load().cldyn_vfn_delete, self._vfn)
        self._newest: _NativeEncoded | None = None

    def encode(self, infrared: Tensor, luma: Tensor) -> Encoded:
        """See Executor.encode. The features stay in the library until somebody looks at them."""
        infrared, luma = infrared.float().contiguous(), luma.float().contiguous()
        if len(infrared) != 1:
            raise ValueError(f"the backend native takes one image at a time, not {len(infrared)}")
        height, width = infrared.shape[2:]
        library.call("cldyn_vfn_encode", self._vfn, infrared, luma, height, width)
        self._newest = _NativeEncoded(self, height, width)
        return self._newest

    def finish(self, encoded: Encoded, kernels: PlanKernels | None) -> Tensor:
        """See Executor.finish."""
        if encoded is not self._newest:
            raise ValueError("the backend native finishes what it encoded last")
        result = torch.empty(1, 1, *self._newest.size)
        if kernels is None or not self._blocks:
            library.call("cldyn_vfn_finish", self._vfn, 0, None, None, result)
            return result
        blocks = (*kernels.infrared, *kernels.visible)
        chosen = torch.cat([block.configurations.flatten() for block in blocks]).to(torch.int32)
        weights = library.floats(*(block.weights for block in blocks))
        library.call("cldyn_vfn_finish", self._vfn, len(chosen) // len(blocks), chosen, weights, result)
        return result

    def feature(self, encoded: _NativeEncoded, modality: int) -> Tensor:
        """One modality's output of encoder block 0, (1, 8, H, W), copied out of the library."""
        if encoded is not self._newest:
            raise ValueError("these features are gone: the backend native keeps those of the newest image")
        result = torch.empty(1, CHANNELS, *encoded.size)
        library.call("cldyn_vfn_encoded", self._vfn, modality, result)
        return result

    def describe(self) -> str:
        """See Executor.describe."""
        return f"native fp32 (C++, {library.instructions()}), {self._threads} threads"

    def close(self) -> None:
        """See Executor.close."""
        self._newest = None
        self._free()


class _NativeEncoded(Encoded):
    """Features that are copied when somebody asks for them."""

    def __init__(self, executor: NativeExecutor, height: int, width: int) -> None:
        object.__setattr__(self, "size", (height, width))
        object.__setattr__(self, "_executor", executor)

    size: tuple[int, int]
    _executor: NativeExecutor

    @property
    def infrared(self) -> Tensor:
        """See Encoded."""
        return self._executor.feature(self, 0)

    @property
    def visible(self) -> Tensor:
        """See Encoded."""
        return self._executor.feature(self, 1)


def _weights(vfn: VFN, tables: KernelTables) -> Iterator[Tensor]:
    """In the order in which native/weights.h takes them."""
    yield from _encoder(vfn.encoder_ir, tables.infrared)
    yield from _encoder(vfn.encoder_vi, tables.visible)
    attention = vfn.attention
    for mlp in (attention.channel_mean, attention.channel_max):
        yield from (*_parameters(mlp[0]), *_parameters(mlp[2]))
    (mean, _, mean_result), (most, _, most_result) = attention.spatial_mean, attention.spatial_max
    yield from (*_parameters(mean), *_parameters(most))
    pairs = zip(_parameters(mean_result), _parameters(most_result), strict=True)
    (mean_weight, most_weight), (mean_bias, most_bias) = pairs  # the sum of two convolutions is one of both inputs
    yield from (torch.cat((mean_weight, most_weight), dim=1), mean_bias + most_bias)
    yield from _parameters(vfn.decoder.reduce[0])
    for block in vfn.decoder.blocks:
        yield from _block(block)
    yield from (*_parameters(vfn.decoder.narrow[0]), *_parameters(vfn.decoder.out))


def _encoder(encoder: Encoder, tables: tuple[BlockTable, ...]) -> Iterator[Tensor]:
    yield from (*_parameters(encoder.stem[0]), *_parameters(encoder.stem[3]))
    for block in encoder.blocks:
        yield from _block(block)
    for table in tables:
        yield from (table.shift, table.merge_weight, table.merge_bias)


def _block(block: nn.Module) -> Iterator[Tensor]:
    assert isinstance(block, ConvBlock), "encoder and decoder are made of CBs"
    for layer in (block.first[0], block.second[0], block.merge):
        yield from _parameters(layer)


def _parameters(layer: nn.Module) -> tuple[Tensor, Tensor]:
    assert isinstance(layer, nn.Conv2d | nn.Linear) and layer.bias is not None, "every layer of a folded VFN has a bias"
    return layer.weight, layer.bias
