"""ONNX Runtime: on a CPU, and on a GPU through CUDA or TensorRT."""

from __future__ import annotations

import logging
import warnings
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from cldyn_core.engine.executors.exportable import Graph, InPrecision
from cldyn_core.engine.executors.graph import GraphExecutor, Run
from cldyn_core.engine.kernels import KernelTables
from cldyn_core.model import CLDyN
from cldyn_core.packages import missing_packages
from cldyn_core.types import Backend, Precision

EXPORT_PACKAGES = {"onnx": "onnx", "onnxscript": "onnxscript"}
"""What writing ONNX needs beside torch."""
_MIN_SIDE = 3


class OnnxRuntimeExecutor(GraphExecutor):
    """The graphs exported in memory, one session each."""

    backend = Backend.ONNXRUNTIME

    @classmethod
    def unavailable(cls, device: torch.device, precision: Precision) -> str:
        """See Executor.unavailable."""
        lacking = missing_packages("the backend onnxruntime", {**EXPORT_PACKAGES, "onnxruntime": "onnxruntime"})
        if lacking:
            return lacking
        if device.type == "cpu":
            fits = precision is Precision.FP32
            return "" if fits else f"the backend onnxruntime runs in fp32 on a CPU, not {precision.value}"
        if precision not in {Precision.FP32, Precision.FP16}:
            return f"the backend onnxruntime runs in fp32 or fp16 on a GPU, not {precision.value}"
        return "" if _has_cuda() else "this onnxruntime has no CUDA. Remedy: pip install onnxruntime-gpu in its place"

    def __init__(self, model: CLDyN, tables: KernelTables, device: torch.device, precision: Precision) -> None:
        onnxruntime = import_module("onnxruntime")

        self._version, self._providers = onnxruntime.__version__, _providers(device, precision)
        self._ran: set[str] = set()
        super().__init__(model, tables, device, precision)

    def _build(self, graph: Graph) -> Run:
        onnxruntime = import_module("onnxruntime")

        half = self.precision is Precision.FP16
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = torch.get_num_threads()
        content = to_onnx(graph, torch.float16 if half else torch.float32).SerializeToString()
        session = onnxruntime.InferenceSession(content, options, providers=self._providers)
        first = session.get_providers()[0]
        if self.device.type == "cuda" and first == "CPUExecutionProvider":
            raise RuntimeError("onnxruntime cannot start CUDA here. Remedy: the CUDA and cuDNN that it was built for")
        self._ran.add(first.removesuffix("ExecutionProvider"))
        return bound(session, graph, self.device)

    def describe(self) -> str:
        """See Executor.describe."""
        ran = ", ".join(sorted(self._ran))
        return f"onnxruntime {self._version} {self.precision.value}, {ran}, {torch.get_num_threads()} threads"


def to_onnx(graph: Graph, dtype: torch.dtype = torch.float32) -> Any:
    """A graph as onnx.ModelProto, with its names; height and width free. dtype: inside; outside it is float32."""
    module = (graph.module if dtype is torch.float32 else InPrecision(graph.module, dtype)).eval()
    free = {axis: torch.export.Dim(name, min=_MIN_SIDE) for axis, name in ((2, "height"), (3, "width"))}
    shapes = tuple(free if example.ndim == 4 else None for example in graph.inputs.values())
    quiet = logging.getLogger("torch.onnx")
    level = quiet.level
    quiet.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # the exporter's own deprecations
            program = torch.onnx.export(
                module,
                tuple(graph.inputs.values()),
                dynamo=True,
                dynamic_shapes=shapes if dtype is torch.float32 else (shapes,),
                input_names=list(graph.inputs),
                output_names=list(graph.outputs),
                verbose=False,
            )
    finally:
        quiet.setLevel(level)
    assert program is not None
    return program.model_proto


def bound(session: Any, graph: Graph, device: torch.device) -> Run:
    """Run a session on torch's own memory: inputs and outputs are not copied, on a GPU they do not leave it."""
    where = (device.type, device.index or 0)
    channels = graph.outputs

    def bind(act: Any, name: str, tensor: Tensor) -> None:
        act(name, *where, np.float32, tuple(tensor.shape), tensor.data_ptr())

    def run(*inputs: Tensor) -> list[Tensor]:
        binding = session.io_binding()
        outputs = [torch.empty(1, count, *inputs[0].shape[2:], device=device) for count in channels.values()]
        for name, tensor in zip(graph.inputs, inputs, strict=True):
            bind(binding.bind_input, name, tensor)
        for name, tensor in zip(channels, outputs, strict=True):
            bind(binding.bind_output, name, tensor)
        if device.type == "cuda":
            torch.cuda.current_stream(device).synchronize()  # the session has a stream of its own
        session.run_with_iobinding(binding)
        return outputs

    return run


def _providers(device: torch.device, precision: Precision) -> list[tuple[str, dict[str, Any]]]:
    """Those that are there, best first; what one cannot run falls to the next."""
    onnxruntime = import_module("onnxruntime")

    wanted: list[tuple[str, dict[str, Any]]] = [("CPUExecutionProvider", {})]
    if device.type == "cuda":
        index = {"device_id": device.index or 0}
        tensorrt = {**index, "trt_fp16_enable": precision is Precision.FP16}
        wanted = [("TensorrtExecutionProvider", tensorrt), ("CUDAExecutionProvider", index), *wanted]
    there = onnxruntime.get_available_providers()
    return [provider for provider in wanted if provider[0] in there]


def _has_cuda() -> bool:
    """Whether the package brings the CUDA provider, seen without importing it."""
    spec = find_spec("onnxruntime")
    assert spec is not None and spec.origin is not None
    return (Path(spec.origin).parent / "capi" / "libonnxruntime_providers_cuda.so").exists()
