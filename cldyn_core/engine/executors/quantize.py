"""int8 by post-training quantization (NNCF), calibrated with pairs and, for the injection, with plans at random."""

from __future__ import annotations

import io
import logging
import re
from collections.abc import Sequence
from contextlib import redirect_stdout
from importlib import import_module
from typing import Any

import torch
from torch import Tensor

from cldyn_core.engine.executors.eager import EagerExecutor
from cldyn_core.engine.executors.quality import Pairs, random_kernels
from cldyn_core.engine.kernels import KernelTables
from cldyn_core.model import CLDyN
from cldyn_core.types import Precision

_LOGGER = logging.getLogger("nncf")
_ENCODE = re.compile(r"encoder_(ir|vi)\.(stem|blocks\.0)\.")  # parts of FusionModule.encode, as converted
Inputs = tuple[Tensor, ...]
"""Of one graph, for one pair."""


def split_inputs(model: CLDyN, tables: KernelTables, pairs: Pairs) -> dict[str, list[Inputs]]:
    """What the graphs of `split_graphs` that are quantized ("open", "finish") see of these pairs, by name.

    "encode" stays in fp32: it is a fifth of the work, and the plan is made of what it gives.
    """
    eager = EagerExecutor(model, tables, torch.device("cpu"), Precision.FP32)
    whole = whole_inputs(model, tables, pairs)
    encoded = [eager.encode(infrared, luma) for infrared, luma, *_ in whole]
    sides = [(each.infrared, each.visible) for each in encoded]
    found: dict[str, list[Inputs]] = {"open": list(sides)}
    if not tables.identity:
        found["finish"] = [(*side, *rest) for side, (_, _, *rest) in zip(sides, whole, strict=True)]
    return found


def whole_inputs(model: CLDyN, tables: KernelTables, pairs: Pairs) -> list[Inputs]:
    """What `whole_graph` sees of these pairs."""
    gain, plans = torch.ones(()), random_kernels(model, tables, len(pairs))
    return [(*pair, plan.dense()[0], gain) for pair, plan in zip(pairs, plans, strict=True)]


def quantized(model: Any, inputs: Sequence[Inputs]) -> Any:
    """An int8 copy of an openvino.Model, its ranges taken from these inputs. The encoder and the convolutions whose
    kernels are inputs stay in fp32.
    """
    nncf = import_module("nncf")
    kept = [op.get_friendly_name() for op in model.get_ops() if _stays(op)]
    level = _LOGGER.level
    _LOGGER.setLevel(logging.ERROR)
    try:
        with redirect_stdout(io.StringIO()):  # progress bars
            return nncf.quantize(
                model,
                nncf.Dataset([tuple(tensor.numpy() for tensor in each) for each in inputs]),
                subset_size=len(inputs),
                preset=nncf.QuantizationPreset.MIXED,
                ignored_scope=nncf.IgnoredScope(names=kept),
            )
    finally:
        _LOGGER.setLevel(level)


def _stays(op: Any) -> bool:
    if op.get_type_name() != "Convolution":
        return False
    given = op.input_value(1).get_node().get_type_name() != "Constant"
    return given or _ENCODE.search(op.get_friendly_name()) is not None
