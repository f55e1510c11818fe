"""`cldyn export`: the fusion network as a file for other runtimes. Kernels are inputs: one file serves all plans."""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from importlib import import_module
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save as to_safetensors

from cldyn_core import __version__
from cldyn_core.checkpoint import load_weights, read_manifest, resolve_weights, write_whole
from cldyn_core.engine.executors import onnx, openvino
from cldyn_core.engine.executors.eager import EagerExecutor
from cldyn_core.engine.executors.exportable import Graph, whole_graph
from cldyn_core.engine.executors.graph import Run
from cldyn_core.engine.executors.quality import (
    BAR_DB,
    HELD_OUT,
    Pairs,
    pairs_of,
    psnr,
    random_kernels,
    rendered_pairs,
    split_calibration,
)
from cldyn_core.engine.executors.quantize import quantized, whole_inputs
from cldyn_core.engine.kernels import KernelTables
from cldyn_core.model import CLDyN
from cldyn_core.packages import missing_packages
from cldyn_core.types import Precision

EXPORT_FORMAT = "cldyn-export-1"
_SUFFIXES = {"onnx": ".onnx", "openvino": ".xml"}
_RENDERED_SIZES = ((96, 128), (75, 101))
_CALIBRATION_PAIRS = 16
_ROUNDING_DB = 80.0  # a mean error of 1e-4: rounding, whatever the weights make of it
_CPU = torch.device("cpu")


@dataclass(frozen=True)
class Check:
    """How far an exported file is from the reference backend, on one pair."""

    height: int
    width: int
    gain: float
    max_difference: float
    psnr_db: float
    """inf for equal images."""

    def passes(self, precision: Precision) -> bool:
        """Whether that is near enough."""
        return self.psnr_db >= (_ROUNDING_DB if precision is Precision.FP32 else BAR_DB)

    def __str__(self) -> str:
        return (
            f"{self.width}x{self.height}, gain {self.gain:g}: largest difference {self.max_difference:.1e}, "
            f"{self.psnr_db:.1f} dB"
        )


def add_export_command(commands: Any) -> None:
    """Add `export` to the sub-commands of a parser."""
    parser = commands.add_parser("export", help="the fusion network for ONNX Runtime, TensorRT or OpenVINO")
    parser.add_argument("--format", choices=sorted(_SUFFIXES), required=True)
    parser.add_argument("-o", "--out", type=Path, required=True, help="the .onnx, or the .xml, to write")
    parser.add_argument("--weights", default="default", help="default, paper (bundled ones) or a .safetensors file")
    known = (Precision.FP32, Precision.INT8)
    parser.add_argument("--precision", type=Precision, choices=known, default=Precision.FP32, metavar="fp32|int8")
    parser.add_argument("--calibrate", type=Path, metavar="FOLDER", help="pairs that int8 is calibrated with")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Write, check, tell."""
    check_request(args.format, args.out, args.precision, args.calibrate)
    path = resolve_weights(args.weights, "cldyn")
    model, manifest = load_weights(path), read_manifest(path)
    calibration = pairs_of(args.calibrate, _CALIBRATION_PAIRS + HELD_OUT) if args.calibrate else ()
    files, checks = export(model, manifest["sha256"], args.format, args.out, args.precision, calibration)
    for check in checks:
        print(check)
    print("\n".join(f"{file}  {file.stat().st_size / 1e6:.2f} MB" for file in files))
    return 0


def check_request(kind: str, out: Path, precision: Precision, calibrate: Path | None) -> None:
    """Raise ValueError or ImportError, with the remedy, for what cannot be exported here."""
    if out.suffix != _SUFFIXES[kind]:
        raise ValueError(f"{out}: a file of {kind} ends in {_SUFFIXES[kind]}")
    packages = {"openvino": "openvino"}
    if kind == "onnx":
        packages = {**onnx.EXPORT_PACKAGES, "onnxruntime": "onnxruntime"}
    if precision is Precision.INT8:
        packages["nncf"] = "nncf"
        if kind != "openvino":
            raise ValueError("int8 is exported for openvino only. Remedy: --format openvino")
    if (calibrate is not None) != (precision is Precision.INT8):
        raise ValueError("--precision int8 and --calibrate FOLDER go together")
    lacking = missing_packages(f"the export for {kind}", packages)
    if lacking:
        raise ImportError(lacking)


@torch.no_grad()
def export(
    model: CLDyN, digest: str, kind: str, out: Path, precision: Precision, calibration: Pairs = ()
) -> tuple[list[Path], list[Check]]:
    """Write a model in evaluation mode as `kind` ("onnx", "openvino"), its table of kernels (.kernels.safetensors) and
    a description (.json) beside it. digest: sha256 of its weights; calibration: pairs for int8, the last six of which
    only check it.

    What was written is read back and compared with the reference backend. Returns the files and the comparisons;
    raises ValueError, and leaves no file, where one does not pass.
    """
    proof: Pairs = [pair for size in _RENDERED_SIZES for pair in rendered_pairs(1, *size)]
    if precision is Precision.INT8:
        calibration, held_out = split_calibration(calibration)
        proof = _two_sizes(held_out)
    tables = KernelTables(model)
    graph = whole_graph(model, tables)
    out.parent.mkdir(parents=True, exist_ok=True)
    files = [out, *([out.with_suffix(".bin")] if kind == "openvino" else [])]
    if kind == "onnx":
        write_whole(out, onnx.to_onnx(graph).SerializeToString())
    else:
        converted = openvino.convert(graph)
        if precision is Precision.INT8:
            converted = quantized(converted, whole_inputs(model, tables, calibration))
        import_module("openvino").save_model(converted, out, compress_to_fp16=False)
    checks = list(_checks(_read_back(kind, out, graph), model, tables, proof))
    failed = sorted((check for check in checks if not check.passes(precision)), key=lambda check: check.psnr_db)
    if failed:
        for file in files:
            file.unlink()
        raise ValueError(f"{out}: does not compute what the model does, and was deleted: {failed[0]}")
    beside = {
        out.with_suffix(".kernels.safetensors"): _kernel_table(tables),
        out.with_suffix(".json"): _description(graph, digest, kind, precision, checks),
    }
    for file, content in beside.items():
        write_whole(file, content)
    return [*files, *beside], checks


def _read_back(kind: str, path: Path, graph: Graph) -> Run:
    if kind == "openvino":
        return openvino.compiled(openvino.core().read_model(path), graph, Precision.FP32)
    session = import_module("onnxruntime").InferenceSession(str(path), providers=["CPUExecutionProvider"])
    return onnx.bound(session, graph, _CPU)


def _two_sizes(pairs: Pairs) -> Pairs:
    """Every other pair cut to an odd size."""
    odd = [
        (infrared[..., :-21, :-27].contiguous(), luma[..., :-21, :-27].contiguous()) for infrared, luma in pairs[1::2]
    ]
    return [*pairs[::2], *odd]


def _checks(run: Run, model: CLDyN, tables: KernelTables, pairs: Pairs) -> Iterator[Check]:
    """Each pair without the kernels of a plan at random and with them."""
    reference = EagerExecutor(model, tables, _CPU, Precision.FP32)
    for (infrared, luma), kernels in zip(pairs, random_kernels(model, tables, len(pairs)), strict=True):
        for gain in (0.0, 1.0):
            expected = reference.fuse(infrared, luma, kernels if gain else None)
            (image,) = run(infrared, luma, kernels.dense()[0], torch.tensor(gain))
            height, width = luma.shape[2:]
            yield Check(height, width, gain, float((image - expected).abs().max()), psnr(image, expected))


def _kernel_table(tables: KernelTables) -> bytes:
    sides = {"infrared": tables.infrared, "visible": tables.visible}
    return to_safetensors({side: torch.stack([block.weights for block in blocks]) for side, blocks in sides.items()})


def _description(graph: Graph, digest: str, kind: str, precision: Precision, checks: list[Check]) -> bytes:
    kernels = list(graph.inputs["kernels"].shape)
    image = [1, 1, "height", "width"]
    document = {
        "format": EXPORT_FORMAT,
        "version": __version__,
        "runtime": kind,
        "precision": precision.value,
        "weights_sha256": digest,
        "type": "float32",
        "least_height_and_width": 3,
        "inputs": {
            "infrared": {"shape": image, "range": [0, 1]},
            "luma": {"shape": image, "range": [0, 1], "what": "Y of the visible image (YCbCr, JFIF)"},
            "kernels": {"shape": kernels, "what": "modality (infrared, visible), block, branch, dilation - 1, out, "
                        "in, y, x"},
            "gain": {"shape": [], "range": [0, 1], "what": "0: not compensated, 1: compensated"},
        },
        "outputs": {"fused": {"shape": image, "range": [0, 1], "what": "luma of the fused image"}},
        "kernel_table": {
            "shape": [kernels[1], 4, 32, *kernels[4:]],
            "what": "block, configuration, vector, out, in, y, x; one tensor for each modality",
            "look_up": "kernels = 0; for a branch of the plan that has (configuration, vector): "
            "kernels[modality, block, branch, max(configuration, 1) - 1] = table[modality][block, configuration, "
            "vector]",
        },
        "checks": [{**asdict(check), "psnr_db": min(check.psnr_db, 999.0)} for check in checks],
    }  # fmt: skip
    return (json.dumps(document, indent=2) + "\n").encode()
