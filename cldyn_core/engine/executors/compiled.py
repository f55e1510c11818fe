"""torch.compile: on a GPU inside CUDA graphs, in half precision; on a CPU where there is a C++ compiler."""

from __future__ import annotations

import os
import shutil
import sysconfig
from collections.abc import Callable, Sequence
from importlib.util import find_spec
from pathlib import Path

import torch
from torch import Tensor, nn

from cldyn_core.engine.executors.exportable import Graph, InPrecision
from cldyn_core.engine.executors.graph import GraphExecutor, Run
from cldyn_core.types import Backend, Precision

_Module = Callable[..., Tensor | Sequence[Tensor]]
_TYPES = {Precision.FP32: torch.float32, Precision.FP16: torch.float16, Precision.BF16: torch.bfloat16}
_SIZES = 5  # that of the first, typical call is one
_WARM_UPS = 3
_TYPICAL = (240, 320)  # torch compiles anew for images so small that it takes other convolutions


class CompiledExecutor(GraphExecutor):
    """The graphs compiled by torch; the kernels of a plan are copied into a static input."""

    backend = Backend.COMPILED

    @classmethod
    def unavailable(cls, device: torch.device, precision: Precision) -> str:
        """See Executor.unavailable."""
        if device.type == "cuda":
            known = precision in _TYPES
            return "" if known else f"the backend compiled runs in fp32, fp16 or bf16 on a GPU, not {precision.value}"
        if precision is not Precision.FP32:
            return f"the backend compiled runs in fp32 on a CPU, not {precision.value}"
        if shutil.which(os.environ.get("CXX", "g++")) is None:
            return "the backend compiled needs a C++ compiler on a CPU. Remedy: apt-get install g++"
        headers = Path(sysconfig.get_path("include")) / "Python.h"
        return "" if headers.exists() else f"the backend compiled needs {headers}. Remedy: apt-get install python3-dev"

    def _build(self, graph: Graph) -> Run:
        dtype = _TYPES[self.precision]
        module = (graph.module if dtype is torch.float32 else InPrecision(graph.module, dtype)).eval().to(self.device)
        if self.device.type == "cuda":
            module = module.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
            run: Run = CapturedGraphs(_compiled(module, dynamic=False), module)
        else:
            run = _tuple_of(_compiled(module, dynamic=True))
        with torch.inference_mode():  # compiles here, and for what the engine calls with: inference tensors
            run(*(example.to(self.device) for example in graph.examples(*_TYPICAL)))
        return run

    def describe(self) -> str:
        """See Executor.describe."""
        where = "CUDA graphs" if self.device.type == "cuda" else f"{torch.get_num_threads()} threads"
        return f"torch.compile {torch.__version__} {self.precision.value}, {where}"


class CapturedGraphs:
    """A compiled module on a GPU, captured once for each size of its first input.

    That takes seconds, so it is for streams: from the sixth size on, the module `plain` runs as it stands.
    """

    def __init__(self, module: _Module, plain: _Module) -> None:
        self._run, self._plain = _tuple_of(module), _tuple_of(plain)
        self._captured: dict[torch.Size, _Capture] = {}

    def __call__(self, *inputs: Tensor) -> list[Tensor]:
        """Copy the inputs in, replay, copy the outputs out."""
        size = inputs[0].shape
        if size not in self._captured:
            if len(self._captured) == _SIZES:
                return [output.contiguous() for output in self._plain(*inputs)]
            self._captured[size] = _Capture(self._run, inputs)
        return self._captured[size].replay(inputs)


class _Capture:
    """One CUDA graph and the memory that it reads and writes."""

    def __init__(self, run: Run, inputs: Sequence[Tensor]) -> None:
        device = inputs[0].device
        self._graph = torch.cuda.CUDAGraph()
        self._inputs = [tensor.clone() for tensor in inputs]
        stream = torch.cuda.Stream(device)
        stream.wait_stream(torch.cuda.current_stream(device))
        with torch.cuda.stream(stream):  # compiles, and lets cuDNN choose its algorithms, before the capture
            for _ in range(_WARM_UPS):
                run(*self._inputs)
        torch.cuda.current_stream(device).wait_stream(stream)
        with torch.cuda.graph(self._graph):
            self._outputs = run(*self._inputs)

    def replay(self, inputs: Sequence[Tensor]) -> list[Tensor]:
        for static, tensor in zip(self._inputs, inputs, strict=True):
            static.copy_(tensor)
        self._graph.replay()
        return [output.clone(memory_format=torch.contiguous_format) for output in self._outputs]


def _compiled(module: nn.Module, *, dynamic: bool) -> _Module:
    """By torch.compile, but as it stands on a GPU without Triton."""
    if not dynamic and find_spec("triton") is None:
        return module
    return torch.compile(module, dynamic=dynamic)


def _tuple_of(module: _Module) -> Run:
    def run(*inputs: Tensor) -> Sequence[Tensor]:
        outputs = module(*inputs)
        return (outputs,) if isinstance(outputs, Tensor) else outputs

    return run
