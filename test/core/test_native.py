"""The C++ engine computes what the reference backend computes, whatever the size, the plan and the instructions."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Sequence
from functools import cache

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from naive import random_tensors
from torch import Tensor

from cldyn_core import CLDyN, load_weights
from cldyn_core.checkpoint import resolve_weights
from cldyn_core.color import rgb_to_ycbcr
from cldyn_core.data.synthetic import SceneConfig, render_frame
from cldyn_core.engine.executors import Executor
from cldyn_core.engine.executors.eager import EagerExecutor
from cldyn_core.engine.executors.native import NativeExecutor
from cldyn_core.engine.kernels import KernelTables, PlanKernels
from cldyn_core.engine.native import library
from cldyn_core.types import BlockPlan, CompensationPlan, Precision, as_batch

CPU = torch.device("cpu")

pytestmark = pytest.mark.skipif(library.library_path() is None, reason="the C++ engine was not built here")


@cache
def executors(depth: int, branches: int, threads: int) -> tuple[KernelTables, Executor, Executor]:
    model = CLDyN.from_reference(random_tensors(depth, branches, seed=depth))
    tables = KernelTables(model)
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    native = NativeExecutor(model, tables, CPU, Precision.FP32)
    torch.set_num_threads(before)
    return tables, EagerExecutor(model, tables, CPU, Precision.FP32), native


def pair(height: int, width: int, seed: int) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    infrared, luma = torch.rand(2, 1, 1, height, width, generator=generator)
    return infrared, luma


def random_plan(depth: int, branches: int, seed: int) -> CompensationPlan:
    generator = torch.Generator().manual_seed(seed)

    def block() -> BlockPlan:
        return BlockPlan(*(torch.randint(0, n, (1, branches), generator=generator) for n in (4, 32)))

    return CompensationPlan(*(tuple(block() for _ in range(depth - 1)) for _ in range(2)))


def passes(executor: Executor, images: Sequence[Tensor], kernels: PlanKernels | None) -> list[Tensor]:
    """Features of both modalities, and the fused image."""
    with torch.inference_mode():
        encoded = executor.encode(*images)
        luma = executor.finish(encoded, kernels)
        return [encoded.infrared, encoded.visible, luma]


@settings(max_examples=40, deadline=None)
@given(
    height=st.integers(3, 70),
    width=st.integers(3, 230),
    threads=st.sampled_from((1, 2, 5)),
    network=st.sampled_from(((1, 4), (2, 1), (2, 4), (2, 7))),
    seed=st.integers(0, 99),
)
def test_equals_the_reference_backend(
    height: int, width: int, threads: int, network: tuple[int, int], seed: int
) -> None:
    tables, eager, native = executors(*network, threads)
    images = pair(height, width, seed)
    for kernels in (None, tables.look_up(random_plan(*network, seed))):
        expected = passes(eager, images, kernels)
        for actual, wanted in zip(passes(native, images, kernels), expected, strict=True):
            scale = max(1.0, float(wanted.abs().max()))
            assert float((actual - wanted).abs().max()) < 3e-5 * scale  # random weights amplify rounding


def test_equals_the_reference_backend_to_1e_5_with_the_bundled_weights() -> None:
    model = load_weights(resolve_weights("default", "cldyn"))
    tables = KernelTables(model)
    frame = render_frame(SceneConfig("day", 320, 256, 1, seed=4), 0)
    images = (as_batch(frame.infrared), rgb_to_ycbcr(as_batch(frame.visible))[:, :1])
    expected = passes(EagerExecutor(model, tables, CPU, Precision.FP32), images, None)
    for actual, wanted in zip(passes(NativeExecutor(model, tables, CPU, Precision.FP32), images, None), expected,
                              strict=True):  # fmt: skip
        assert float((actual - wanted).abs().max()) < 1e-5


def test_a_deeper_network_is_as_exact_as_the_reference_backend() -> None:
    """Three encoder blocks of random weights amplify rounding: both backends against float64."""
    model = CLDyN.from_reference(random_tensors(3, 4, seed=1))
    tables, eager, native = executors(3, 4, 2)
    kernels = tables.look_up(random_plan(3, 4, seed=5))
    images = pair(64, 96, seed=3)
    double = model.double()
    exact_tables = KernelTables(double)
    exact = EagerExecutor(double, exact_tables, CPU, Precision.FP32)
    truth = passes(exact, [image.double() for image in images], exact_tables.look_up(random_plan(3, 4, seed=5)))[-1]
    model.float()
    error = {}
    for name, executor in (("eager", eager), ("native", native)):
        error[name] = float((passes(executor, images, kernels)[-1] - truth).abs().max())
    assert error["native"] < max(1e-5, 4 * error["eager"]), error


def test_sizes_may_change_and_results_do_not_depend_on_what_came_before() -> None:
    _, _, native = executors(2, 4, 2)
    first = passes(native, pair(40, 50, 0), None)[-1]
    passes(native, pair(9, 201, 1), None)
    assert torch.equal(passes(native, pair(40, 50, 0), None)[-1], first)


def test_results_do_not_depend_on_the_number_of_threads() -> None:
    one, two, five = (passes(executors(2, 4, n)[2], pair(67, 90, 2), None)[-1] for n in (1, 2, 5))
    torch.testing.assert_close(one, two, rtol=0, atol=1e-6)  # the channel attention sums bands
    torch.testing.assert_close(one, five, rtol=0, atol=1e-6)


def test_features_of_an_older_image_are_refused() -> None:
    _, _, native = executors(2, 4, 1)
    with torch.inference_mode():
        old = native.encode(*pair(10, 12, 0))
        native.encode(*pair(10, 12, 1))
    with pytest.raises(ValueError, match="newest"):
        _ = old.infrared
    with pytest.raises(ValueError, match="encoded last"):
        native.finish(old, None)


def test_what_it_cannot_run_is_said() -> None:
    assert "CPU only" in NativeExecutor.unavailable(torch.device("cuda"), Precision.FP32)
    assert "fp16" in NativeExecutor.unavailable(CPU, Precision.FP16)
    assert NativeExecutor.unavailable(CPU, Precision.FP32) == ""


@pytest.mark.parametrize("limit", ["generic", "avx2"])
def test_narrower_instructions_give_the_same(limit: str) -> None:
    """In a process of its own: the choice is made once."""
    code = """
import test_native as t, torch
tables, eager, native = t.executors(2, 4, 2)
images, kernels = t.pair(45, 133, 0), tables.look_up(t.random_plan(2, 4, 0))
both = zip(t.passes(native, images, kernels), t.passes(eager, images, kernels))
worst = max(float((a - b).abs().max()) for a, b in both)
assert worst < 1e-5, worst
print(native.describe())
"""
    environment = {**os.environ, "CLDYN_ISA": limit, "PYTHONPATH": os.path.dirname(__file__)}
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    if limit == "generic":
        assert "baseline" in done.stdout
