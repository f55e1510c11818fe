"""OpenVINO on a CPU: the fastest backend there that needs no compiler."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from functools import lru_cache
from importlib import import_module
from typing import Any

import torch
from torch import Tensor

from cldyn_core.engine.executors.exportable import Graph
from cldyn_core.engine.executors.graph import GraphExecutor, Run
from cldyn_core.engine.executors.quality import Pairs
from cldyn_core.engine.executors.quantize import quantized, split_inputs
from cldyn_core.engine.kernels import KernelTables
from cldyn_core.environment import cpu_has_bf16
from cldyn_core.model import CLDyN
from cldyn_core.packages import missing_packages
from cldyn_core.types import Backend, Precision

_PACKAGES = {"openvino": "openvino"}
_HINTS = {Precision.FP32: "f32", Precision.BF16: "bf16", Precision.INT8: "f32"}


class OpenVinoExecutor(GraphExecutor):
    """The graphs converted and compiled in memory."""

    backend = Backend.OPENVINO

    @classmethod
    def unavailable(cls, device: torch.device, precision: Precision) -> str:
        """See Executor.unavailable."""
        if device.type != "cpu":
            return f"the backend openvino runs on the CPU here, not on {device}. Remedy: device cpu"
        if precision not in _HINTS:
            return f"the backend openvino runs in fp32, bf16 or int8 on a CPU, not {precision.value}"
        if precision is Precision.BF16 and not cpu_has_bf16():
            return "this CPU has no bf16 arithmetic (avx512_bf16 or amx_bf16). Remedy: precision fp32"
        packages = {**_PACKAGES, "nncf": "nncf"} if precision is Precision.INT8 else _PACKAGES
        return missing_packages(f"the backend openvino in {precision.value}", packages)

    def __init__(
        self,
        model: CLDyN,
        tables: KernelTables,
        device: torch.device,
        precision: Precision,
        calibration: Pairs = (),
    ) -> None:
        """calibration: pairs that int8 is calibrated with; required for it."""
        core()  # before one that nncf may make
        self._version = import_module("openvino").__version__.split("-")[0]
        with torch.inference_mode(False), torch.no_grad():
            int8 = precision is Precision.INT8
            self._calibration = split_inputs(model, tables, calibration) if int8 else {}
        super().__init__(model, tables, device, precision)
        self._calibration = {}

    def _build(self, graph: Graph) -> Run:
        converted = convert(graph)
        if graph.name in self._calibration:
            converted = quantized(converted, self._calibration[graph.name])
        return compiled(converted, graph, self.precision)

    def describe(self) -> str:
        """See Executor.describe."""
        return f"openvino {self._version} {self.precision.value}, {torch.get_num_threads()} threads"


@lru_cache(maxsize=1)
def core() -> Any:
    """The openvino.Core of this process. Of two, the one that goes last leaves the thread a stack for signals that is
    gone with the other: the next signal, Ctrl+C say, would end the process with a segmentation fault.
    """
    return import_module("openvino").Core()


def convert(graph: Graph) -> Any:
    """A graph as openvino.Model, with its names; height and width free."""
    openvino = import_module("openvino")

    examples = tuple(graph.inputs.values())
    shapes = [openvino.PartialShape(_free(example)) for example in examples]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # it traces with torch.jit
        model = openvino.convert_model(graph.module.eval(), example_input=examples, input=shapes)
    for port, name in zip((*model.inputs, *model.outputs), (*graph.inputs, *graph.outputs), strict=True):
        port.get_tensor().set_names({name})
    return model


def compiled(model: Any, graph: Graph, precision: Precision) -> Run:
    """Compile an openvino.Model of a graph; one request serves all frames, inputs and outputs are not copied."""
    openvino = import_module("openvino")

    settings = {
        "PERFORMANCE_HINT": "LATENCY",
        "INFERENCE_NUM_THREADS": torch.get_num_threads(),
        "INFERENCE_PRECISION_HINT": _HINTS[precision],
    }
    request = core().compile_model(model, "CPU", settings).create_infer_request()
    channels = tuple(graph.outputs.values())

    def run(*inputs: Tensor) -> list[Tensor]:
        outputs = [torch.empty(1, count, *inputs[0].shape[2:]) for count in channels]
        for i, tensor in enumerate(inputs):
            request.set_input_tensor(i, openvino.Tensor(tensor.numpy(), shared_memory=True))
        for i, tensor in enumerate(outputs):
            request.set_output_tensor(i, openvino.Tensor(tensor.numpy(), shared_memory=True))
        request.infer()
        return outputs

    return run


def _free(example: Tensor) -> Sequence[int]:
    return (*example.shape[:2], -1, -1) if example.ndim == 4 else example.shape
