"""The backends compute what the reference backend computes; the choice among them tells what it does."""

from __future__ import annotations

import os
import subprocess
import sys
import warnings
from collections.abc import Callable
from importlib.util import find_spec

import pytest
import torch
from naive import random_tensors
from torch import Tensor

from cldyn_core import CLDyN
from cldyn_core.engine.executors import choose, compiled
from cldyn_core.engine.executors.base import Encoded, Executor
from cldyn_core.engine.executors.compiled import CapturedGraphs, CompiledExecutor
from cldyn_core.engine.executors.eager import EagerExecutor
from cldyn_core.engine.executors.exportable import FusionModule, InPrecision, split_graphs, whole_graph
from cldyn_core.engine.executors.onnx import OnnxRuntimeExecutor, bound, to_onnx
from cldyn_core.engine.executors.openvino import OpenVinoExecutor
from cldyn_core.engine.executors.quality import psnr, random_kernels, rendered_pairs
from cldyn_core.engine.kernels import BlockKernels, KernelTables, PlanKernels
from cldyn_core.types import Backend, Precision

CPU = torch.device("cpu")
SIZES = ((3, 3), (37, 61), (96, 128))


def needs(*packages: str) -> pytest.MarkDecorator:
    lacking = [package for package in packages if find_spec(package) is None]
    return pytest.mark.skipif(bool(lacking), reason=f"not installed: {', '.join(lacking)}")


ONNX = ("onnx", "onnxscript", "onnxruntime")


def model_of(blocks: int = 2, branches: int = 4) -> CLDyN:
    return CLDyN.from_reference(random_tensors(blocks, branches, seed=2))


@pytest.fixture(scope="module")
def model() -> CLDyN:
    return model_of()


@pytest.fixture(scope="module")
def tables(model: CLDyN) -> KernelTables:
    return KernelTables(model)


@pytest.fixture(scope="module")
def eager(model: CLDyN, tables: KernelTables) -> EagerExecutor:
    return EagerExecutor(model, tables, CPU, Precision.FP32)


def images(height: int, width: int, batch: int = 1) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(height)
    infrared, luma = torch.rand(2, batch, 1, height, width, generator=generator)
    return infrared, luma


def joined(plans: list[PlanKernels]) -> PlanKernels:
    """Plans of one image each as the plan of a batch."""

    def of(side: str) -> tuple[BlockKernels, ...]:
        blocks = zip(*(getattr(plan, side) for plan in plans), strict=True)
        return tuple(
            BlockKernels(torch.cat([b.configurations for b in block]), torch.cat([b.weights for b in block]))
            for block in blocks
        )

    return PlanKernels(of("infrared"), of("visible"))


@torch.inference_mode()
def assert_same(executor: Executor, eager: EagerExecutor, model: CLDyN, tables: KernelTables) -> None:
    """Every size, with and without kernels, whole and in two steps, alone and in a batch."""
    plans = random_kernels(model, tables, len(SIZES))
    for size, plan in zip(SIZES, plans, strict=True):
        pair = images(*size)
        encoded = executor.encode(*pair)
        expected = eager.encode(*pair)
        torch.testing.assert_close(encoded.infrared, expected.infrared, rtol=0, atol=1e-5)
        torch.testing.assert_close(encoded.visible, expected.visible, rtol=0, atol=1e-5)
        assert encoded.infrared.is_contiguous() and encoded.infrared.dtype is torch.float32
        for kernels in (None, plan):
            image = executor.finish(encoded, kernels)
            torch.testing.assert_close(image, eager.finish(expected, kernels), rtol=0, atol=1e-5)
    pair, batch = images(20, 30, batch=2), joined(plans[:2])
    torch.testing.assert_close(executor.fuse(*pair, batch), eager.fuse(*pair, batch), rtol=0, atol=1e-5)


@torch.inference_mode()
def assert_results_last(executor: Executor, eager: EagerExecutor) -> None:
    """A result is still the same after the next call of the same method."""
    first, second = images(24, 32), images(24, 33)
    held = executor.encode(*first)
    executor.encode(*images(24, 32)[::-1])
    torch.testing.assert_close(held.infrared, eager.encode(*first).infrared, rtol=0, atol=1e-5)
    image = executor.finish(held, None)
    executor.finish(executor.encode(*second), None)
    torch.testing.assert_close(image, eager.fuse(*first, None), rtol=0, atol=1e-5)


@pytest.mark.parametrize(("blocks", "branches"), [(2, 4), (3, 1)])
@torch.no_grad()
def test_exportable_form_is_the_same_function(blocks: int, branches: int) -> None:
    """In float64: the injections of these random weights blow rounding up, a hundredfold with every block."""
    model = model_of(blocks, branches).double()
    tables = KernelTables(model)
    eager = EagerExecutor(model, tables, CPU, Precision.FP32)
    module = FusionModule(model, tables)
    off, on = torch.tensor([0.0, 1.0]).double()
    for size, kernels in zip(SIZES, random_kernels(model, tables, len(SIZES)), strict=True):
        infrared, luma = (image.double() for image in images(*size))
        dense = kernels.dense()[0]
        compensated, plain = eager.fuse(infrared, luma, kernels), eager.fuse(infrared, luma, None)
        torch.testing.assert_close(module(infrared, luma, dense, on), compensated, rtol=0, atol=1e-10)
        assert torch.equal(module(infrared, luma, dense, off), plain), "gain 0 is exactly the uncompensated pass"
        assert (compensated - plain).abs().max() > 1e-3


def test_nothing_is_built_for_kernels_that_change_nothing() -> None:
    untrained = CLDyN().eval()
    assert list(split_graphs(untrained, KernelTables(untrained))) == ["encode", "open"]
    one_block = model_of(blocks=1)
    with pytest.raises(ValueError, match="two or more blocks"):
        whole_graph(one_block, KernelTables(one_block))


@needs("openvino")
def test_openvino(model: CLDyN, tables: KernelTables, eager: EagerExecutor) -> None:
    executor, reason = choose.create(Backend.OPENVINO, Precision.AUTO, model, tables, CPU)
    assert isinstance(executor, OpenVinoExecutor) and executor.precision is Precision.FP32 and not reason
    assert_same(executor, eager, model, tables)
    assert_results_last(executor, eager)
    assert executor.describe().startswith("openvino 20")
    executor.close()


SIGNALLED = """
import signal
import torch
from cldyn_core import CLDyN
from cldyn_core.engine.executors.openvino import OpenVinoExecutor
from cldyn_core.engine.kernels import KernelTables
from cldyn_core.types import Precision

model = CLDyN().eval()
first, second = (OpenVinoExecutor(model, KernelTables(model), torch.device("cpu"), Precision.FP32) for _ in range(2))
del first
del second
signal.signal(signal.SIGUSR1, lambda *_: print("alive"))
signal.raise_signal(signal.SIGUSR1)
"""


@needs("openvino")
def test_signals_are_survived_when_openvino_is_gone() -> None:
    paths = os.pathsep.join(sys.path)
    done = subprocess.run(
        [sys.executable, "-c", SIGNALLED], env={**os.environ, "PYTHONPATH": paths}, capture_output=True, text=True
    )
    assert (done.returncode, done.stdout) == (0, "alive\n"), done.stderr


@needs(*ONNX)
@pytest.mark.timeout(240)
def test_onnxruntime() -> None:
    """Of a model without an injection, which spares an export; test_export.py has the injection."""
    untrained = CLDyN().eval()
    tables = KernelTables(untrained)
    executor = OnnxRuntimeExecutor(untrained, tables, CPU, Precision.FP32)
    eager = EagerExecutor(untrained, tables, CPU, Precision.FP32)
    assert_same(executor, eager, untrained, tables)
    assert_results_last(executor, eager)
    assert "CPU" in executor.describe()


@needs(*ONNX)
@torch.no_grad()
def test_half_precision_as_onnx(model: CLDyN, tables: KernelTables, eager: EagerExecutor) -> None:
    """What a GPU is given in fp16, run on the CPU: fp32 outside, fp16 inside, near the reference but not it."""
    import onnxruntime

    graph = split_graphs(model, tables)["encode"]
    content = to_onnx(graph, torch.float16).SerializeToString()
    session = onnxruntime.InferenceSession(content, providers=["CPUExecutionProvider"])
    pair = images(37, 61)
    infrared, _ = bound(session, graph, CPU)(*pair)
    expected = eager.encode(*pair).infrared
    assert 1e-6 < float((infrared - expected).abs().max() / expected.std()) < 2e-2


def test_compiled_where_there_is_no_compiler(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CXX", "no-such-compiler")
    assert "apt-get install g++" in CompiledExecutor.unavailable(CPU, Precision.FP32)
    assert "fp32 on a CPU" in CompiledExecutor.unavailable(CPU, Precision.FP16)
    assert "int8" in CompiledExecutor.unavailable(torch.device("cuda"), Precision.INT8)


def test_compiled_without_compiling(
    model: CLDyN, tables: KernelTables, eager: EagerExecutor, monkeypatch: pytest.MonkeyPatch
) -> None:
    """All of the backend but torch's compiler, which takes a minute."""
    monkeypatch.setattr(compiled.torch, "compile", lambda module, dynamic: module)
    executor = CompiledExecutor(model, tables, CPU, Precision.FP32)
    assert_same(executor, eager, model, tables)
    assert_results_last(executor, eager)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
@torch.inference_mode()
def test_compiled_on_a_gpu(model: CLDyN, tables: KernelTables, eager: EagerExecutor) -> None:
    device = torch.device("cuda")
    on_device = model_of().to(device)
    executor = CompiledExecutor(on_device, KernelTables(on_device), device, Precision.FP16)
    for size, kernels in zip(SIZES[1:], random_kernels(model, tables, 2), strict=True):
        pair = images(*size)
        for plan in (None, kernels):
            image = executor.fuse(*(each.to(device) for each in pair), plan).cpu()
            assert psnr(image, eager.fuse(*pair, plan)) > 40


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
def test_captured_graphs_follow_inputs_and_sizes() -> None:
    plain: list[int] = []

    def uncaptured(x: Tensor, y: Tensor) -> Tensor:
        plain.append(x.shape[2])
        return x * y + 1

    captured = CapturedGraphs(lambda x, y: x * y + 1, uncaptured)
    for size in (4, 5, 6, 7, 8, 9, 4):
        for value in (2.0, 3.0):
            x = torch.full((1, 1, size, 2), value, device="cuda")
            (result,) = captured(x, x)
            assert (result == value * value + 1).all()
    assert len(captured._captured) == compiled._SIZES and plain == [9, 9]


@torch.no_grad()
def test_in_precision_keeps_float32_outside() -> None:
    module = InPrecision(torch.nn.Linear(4, 4), torch.bfloat16)
    assert module(torch.ones(1, 4)).dtype is torch.float32
    assert module.module.weight.dtype is torch.bfloat16


@pytest.mark.parametrize("precision", [Precision.BF16, Precision.FP16])
def test_precision_that_the_processor_lacks(precision: Precision, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("cldyn_core.environment.cpu_flags", lambda: frozenset({"avx2"}))
    assert precision.value in OpenVinoExecutor.unavailable(CPU, precision)
    assert "device cpu" in OpenVinoExecutor.unavailable(torch.device("cuda"), Precision.FP32)


def test_psnr() -> None:
    image = torch.zeros(1, 1, 4, 4)
    assert psnr(image, image) == float("inf")
    assert psnr(image + 0.1, image) == pytest.approx(20.0, abs=1e-4)
    assert psnr(image * float("nan"), image) == -float("inf")


def test_rendered_pairs_are_images_and_the_same_each_time() -> None:
    first = rendered_pairs(2)
    rendered_pairs.cache_clear()
    for (infrared, luma), (again, luma_again) in zip(first, rendered_pairs(2), strict=True):
        assert infrared.shape == luma.shape == (1, 1, 96, 128)
        assert torch.equal(infrared, again) and torch.equal(luma, luma_again)
        assert luma.min() >= 0 and luma.max() <= 1 and luma.std() > 0.01


class Fake(Executor):
    """A backend whose faults can be chosen."""

    missing = ""
    broken = False
    noise = 0.0
    """Added in all but fp32."""
    precisions: tuple[Precision, ...] = (Precision.FP32,)

    @classmethod
    def unavailable(cls, device: torch.device, precision: Precision) -> str:
        return cls.missing or ("" if precision in cls.precisions else f"{cls.backend.value} has no {precision.value}")

    def __init__(
        self, model: CLDyN, tables: KernelTables, device: torch.device, precision: Precision, **_calibration: object
    ) -> None:
        if self.broken:
            raise RuntimeError("out of order")
        self.precision, self.device = precision, device
        self._eager = EagerExecutor(model, tables, device, Precision.FP32)

    def encode(self, infrared: Tensor, luma: Tensor) -> Encoded:
        return self._eager.encode(infrared, luma)

    def finish(self, encoded: Encoded, kernels: PlanKernels | None) -> Tensor:
        return self._eager.finish(encoded, kernels) + (0.0 if self.precision is Precision.FP32 else self.noise)


Create = Callable[..., tuple[str, str]]


@pytest.fixture
def create(model: CLDyN, tables: KernelTables, monkeypatch: pytest.MonkeyPatch) -> Create:
    """`create` as "backend precision" and its reason; all backends but torch are fakes, missing unless described."""
    original = choose._class_of

    def call(backend: str, precision: str = "auto", **described: dict[str, object]) -> tuple[str, str]:
        def class_of(wanted: Backend) -> tuple[type[Executor], str]:
            if wanted is Backend.TORCH:
                return original(wanted)
            faults = described.get(wanted.value, {"missing": f"no {wanted.value} here"})
            return type("AnyFake", (Fake,), {"backend": wanted, **faults}), ""

        monkeypatch.setattr(choose, "_class_of", class_of)
        executor, reason = choose.create(Backend(backend), Precision(precision), model, tables, CPU)
        return f"{executor.backend.value} {executor.precision.value}", reason

    return call


def test_automatic_choice_takes_the_fastest_and_says_nothing(create: Create) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert create("auto", native={}, openvino={}) == ("native fp32", "")
        assert create("auto", openvino={}, onnxruntime={}) == ("openvino fp32", "")
        assert create("auto", onnxruntime={}) == ("onnxruntime fp32", "")
        assert create("auto") == ("torch fp32", "")


def test_a_named_backend_that_is_missing_gives_way_to_the_next(create: Create) -> None:
    with pytest.warns(UserWarning, match="no openvino here"):
        made, reason = create("openvino", native={}, onnxruntime={})
    assert made == "onnxruntime fp32"
    assert "no openvino here" in reason and "onnxruntime fp32 runs in its place" in reason
    with pytest.warns(UserWarning, match="no compiled here"):
        assert create("compiled", native={})[0] == "native fp32"


def test_a_backend_that_cannot_be_built_gives_way(create: Create) -> None:
    with pytest.warns(UserWarning, match="RuntimeError: out of order"):
        assert create("auto", native={"broken": True}, openvino={})[0] == "openvino fp32"


def test_reduced_precision_must_prove_itself(create: Create) -> None:
    both = (Precision.FP32, Precision.BF16)
    assert create("openvino", "bf16", openvino={"precisions": both, "noise": 0.001}) == ("openvino bf16", "")
    with pytest.warns(UserWarning, match=r"40\.0 dB from the reference's, at least 45 dB"):
        made, _ = create("openvino", "bf16", openvino={"precisions": both, "noise": 0.01})
    assert made == "openvino fp32", "the named backend in fp32, before any other"


def test_a_backend_that_computes_something_else_is_refused(create: Create) -> None:
    odd = {"precisions": (Precision.BF16,), "noise": float("nan")}
    with pytest.warns(UserWarning, match="-inf dB"):
        assert create("openvino", "bf16", openvino=odd)[0] == "torch fp32"


def test_int8_needs_pairs_and_is_proven_on_others(
    create: Create, model: CLDyN, tables: KernelTables, monkeypatch: pytest.MonkeyPatch
) -> None:
    int8 = {"precisions": (Precision.FP32, Precision.INT8)}
    with pytest.warns(UserWarning, match="7 pairs or more of your cameras"):
        assert create("openvino", "int8", openvino=int8)[0] == "openvino fp32"
    given: dict[str, object] = {}
    kind = type("AnyFake", (Fake,), {"backend": Backend.OPENVINO, **int8})
    monkeypatch.setattr(kind, "__init__", lambda self, *args, calibration: (
        given.update(calibration=calibration), Fake.__init__(self, *args))[1])  # fmt: skip
    monkeypatch.setattr(choose, "_class_of", lambda _backend: (kind, ""))
    original = choose.worst_psnr
    monkeypatch.setattr(
        choose, "worst_psnr", lambda e, r, pairs, k: given.update(proof=pairs) or original(e, r, pairs, k)
    )
    pairs = [images(16, 16 + i) for i in range(8)]
    executor, reason = choose.create(Backend.OPENVINO, Precision.INT8, model, tables, CPU, pairs)
    assert (executor.precision, reason) == (Precision.INT8, "")
    assert (given["calibration"], given["proof"]) == (pairs[:2], pairs[2:])


def test_a_named_precision_is_looked_for_in_all_backends(create: Create) -> None:
    bf16 = {"precisions": (Precision.FP32, Precision.BF16)}
    assert create("auto", "bf16", native={}, openvino=bf16) == ("openvino bf16", "")
    with pytest.warns(UserWarning, match="native has no bf16"):
        assert create("auto", "bf16", native={})[0] == "native fp32"


def test_a_backend_that_cannot_be_imported_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(choose._CLASSES, Backend.NATIVE, ("no_such_module", "NativeExecutor"))
    kind, reason = choose._class_of(Backend.NATIVE)
    assert kind is None and "native cannot be imported" in reason
