"""Which backend runs: the one that was named, or the fastest one here; each proves itself before it is used."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from importlib import import_module
from typing import Any

import torch

from cldyn_core.engine.executors.base import Executor
from cldyn_core.engine.executors.eager import EagerExecutor
from cldyn_core.engine.executors.quality import (
    BAR_DB,
    Pairs,
    random_kernels,
    rendered_pairs,
    split_calibration,
    worst_psnr,
)
from cldyn_core.engine.kernels import KernelTables
from cldyn_core.model import CLDyN
from cldyn_core.types import Backend, Precision

_CLASSES = {
    Backend.NATIVE: ("native", "NativeExecutor"),
    Backend.OPENVINO: ("openvino", "OpenVinoExecutor"),
    Backend.ONNXRUNTIME: ("onnx", "OnnxRuntimeExecutor"),
    Backend.COMPILED: ("compiled", "CompiledExecutor"),
    Backend.TORCH: ("eager", "EagerExecutor"),
}
_FASTEST_FIRST = {
    "cuda": (Backend.COMPILED, Backend.ONNXRUNTIME, Backend.TORCH),
    "cpu": (Backend.NATIVE, Backend.OPENVINO, Backend.ONNXRUNTIME, Backend.TORCH),
}
_PROOF_PAIRS = 3


def create(
    backend: Backend,
    precision: Precision,
    model: CLDyN,
    tables: KernelTables,
    device: torch.device,
    calibration: Pairs = (),
) -> tuple[Executor, str]:
    """The executor, and why it is not what was asked for ("" when it is), which is warned of as well.

    A backend or precision that cannot run here, cannot be built, or is further than BAR_DB from the reference backend
    gives way to the next one. calibration: real pairs, without which there is no int8. May take seconds.
    """
    lacks: list[str] = []  # of interest only where what was asked for is lacking
    faults: list[str] = []
    for candidate, arithmetic in _candidates(backend, precision, device):
        kind, reason = _class_of(candidate)
        reason = reason or kind.unavailable(device, arithmetic)
        if reason:
            lacks.append(reason)
            continue
        try:
            executor = _build(kind, model, tables, device, arithmetic, calibration)
        except Exception as fault:  # whatever a library does, the next one may run
            faults.append(f"{candidate.value} {arithmetic.value}: {type(fault).__name__}: {fault}")
            continue
        as_asked = backend in {Backend.AUTO, candidate} and precision in {Precision.AUTO, arithmetic}
        return executor, _warn([*([] if as_asked else lacks), *faults], executor)
    raise AssertionError("the backend torch runs everywhere")


def _candidates(backend: Backend, precision: Precision, device: torch.device) -> Iterator[tuple[Backend, Precision]]:
    """What to try, in order: what was asked for, in fp32 what has not that precision, then what follows in speed."""
    order = _FASTEST_FIRST["cuda" if device.type == "cuda" else "cpu"]
    if backend is not Backend.AUTO:
        order = (backend, *(order[order.index(backend) + 1 :] if backend in order else order))
    wanted = precision
    if precision is Precision.AUTO:
        wanted = Precision.FP16 if device.type == "cuda" else Precision.FP32
    elif backend is Backend.AUTO:  # the precision is all that was asked for
        pairs = [(each, arithmetic) for arithmetic in (wanted, Precision.FP32) for each in order]
        yield from dict.fromkeys(pairs)
        return
    pairs = [(each, arithmetic) for each in order for arithmetic in (wanted, Precision.FP32)]
    yield from dict.fromkeys(pairs)


def _class_of(backend: Backend) -> tuple[Any, str]:
    """The class of a backend, or why it cannot be imported."""
    module, name = _CLASSES[backend]
    try:
        return getattr(import_module(f"cldyn_core.engine.executors.{module}"), name), ""
    except ImportError as fault:
        return None, f"the backend {backend.value} cannot be imported: {fault}"


def _build(
    kind: type[Executor],
    model: CLDyN,
    tables: KernelTables,
    device: torch.device,
    precision: Precision,
    calibration: Pairs,
) -> Executor:
    """Build and prove. Raises ValueError for a lack of quality, and whatever a library raises."""
    extra: dict[str, Any] = {}
    proof: Pairs = ()
    if precision is Precision.INT8:
        extra["calibration"], proof = split_calibration(calibration)
    executor = kind(model, tables, device, precision, **extra)
    if isinstance(executor, EagerExecutor):
        return executor
    proof = proof or rendered_pairs(_PROOF_PAIRS)
    with torch.inference_mode():
        reference = EagerExecutor(model, tables, device, Precision.FP32)
        found = worst_psnr(executor, reference, proof, random_kernels(model, tables, len(proof)))
    if found < BAR_DB:
        executor.close()
        raise ValueError(f"its images are {found:.1f} dB from the reference's, at least {BAR_DB:.0f} dB are asked for")
    return executor


def _warn(reasons: list[str], executor: Executor) -> str:
    if not reasons:
        return ""
    text = f"{'; '.join(dict.fromkeys(reasons))}; {executor.describe()} runs in its place"
    warnings.warn(text, stacklevel=3)
    return text
