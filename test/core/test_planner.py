"""The planner: the choice of the whole model, without its images."""

from __future__ import annotations

from typing import Any

import pytest
import torch
import torch.nn.functional as F
from naive import random_tensors

from cldyn_core import CLDyN, descriptors
from cldyn_core.a2si import A2SI
from cldyn_core.descriptors import BasisQuery, Description, SequenceDescriptor
from cldyn_core.engine.executors import Encoded
from cldyn_core.engine.folding import folded
from cldyn_core.engine.kernels import KernelTables
from cldyn_core.engine.native import library
from cldyn_core.engine.native.describer import NativeDescriber
from cldyn_core.engine.planner import Planner, by_all_pixels
from cldyn_core.model import Architecture, Beginning
from cldyn_core.types import BlockPlan, CompensationPlan


@pytest.fixture(autouse=True)
def no_gradients() -> Any:
    torch.manual_seed(0)
    with torch.inference_mode():
        yield


def begin(model: CLDyN, batch: int = 2) -> Beginning:
    return model.begin(torch.rand(batch, 3, 17, 23), torch.rand(batch, 1, 17, 23))


def plan(model: CLDyN, begun: Beginning, feature: torch.Tensor, **options: Any) -> CompensationPlan:
    return Planner(model, KernelTables(model), **options).plan(Encoded(begun.infrared, begun.visible), feature)


def text(plan: CompensationPlan | None, batch: int = 2) -> list[str]:
    assert plan is not None
    return [plan.describe(sample) for sample in range(batch)]


def fixed_choice() -> CLDyN:
    model = CLDyN(Architecture(compensation="fixed_choice")).eval()
    for parameter in model.parameters():
        parameter.add_(0.1 * torch.randn(parameter.shape))
    return model


def without_query(part: str) -> CLDyN:
    model = CLDyN.from_reference(random_tensors(3, 4, seed=5))
    for rsc in (model.rsc_ir, model.rsc_vi):
        for block in rsc.blocks:
            (block.query.mlp if part == "query" else block.architecture)[-1].weight.zero_()
    return model


@pytest.mark.parametrize("branches", [1, 4, 7])
@pytest.mark.parametrize("blocks", [2, 3])
def test_plan_is_the_model_s(blocks: int, branches: int) -> None:
    model, plans = CLDyN.from_reference(random_tensors(blocks, branches, seed=blocks + branches)), set()
    begun = begin(model)
    for scale in (0.1, 1.0, 5.0, 25.0):
        feature = scale * torch.randn(2, 64, 3, 5)
        expected = text(model.compensate(begun, feature).plan)
        assert text(plan(model, begun, feature)) == expected
        plans |= set(expected)
    assert len(plans) > 1  # there was something to choose


def test_plan_of_a_fixed_choice_is_the_model_s_and_needs_no_image_for_configurations() -> None:
    model = fixed_choice()
    begun, feature = begin(model), torch.randn(2, 9, 40)
    assert text(plan(model, begun, feature)) == text(model.compensate(begun, feature).plan)
    block = model.rsc_ir.blocks[0]
    assert isinstance(block, A2SI) and not block.considers_configurations and block.considers_vectors
    assert block.describe_image(begun.infrared).configurations.count_nonzero() == 0


@pytest.mark.parametrize("part", ["query", "selector"])
def test_a_choice_without_weights_is_not_prepared_and_is_the_same(part: str, monkeypatch: pytest.MonkeyPatch) -> None:
    model = without_query(part)
    begun, feature = begin(model), 5 * torch.randn(2, 64, 3, 5)
    with monkeypatch.context() as patch:
        patch.setattr("cldyn_core.a2si.has_weights", lambda network: True)
        expected = text(plan(model, begun, feature))
    used: list[str] = []
    for owner, name in ((BasisQuery, "image_mean"), (BasisQuery, "task_mean"), (SequenceDescriptor, "forward")):
        original = getattr(owner, name)

        def count(self: Any, *args: Any, name: str = name, original: Any = original) -> Any:
            used.append(name)
            return original(self, *args)

        monkeypatch.setattr(owner, name, count)
    assert text(plan(model, begun, feature)) == expected
    blocks = 4
    if part == "query":  # the four sequences left are of the configurations
        assert used == ["forward"] * blocks
    else:
        assert [used.count(name) for name in ("task_mean", "image_mean", "forward")] == [blocks] * 3


def test_weights_in_training_may_still_come() -> None:
    model = without_query("query").train()
    block = model.rsc_ir.blocks[0]
    assert isinstance(block, A2SI) and block.considers_vectors
    assert block.describe_image(torch.rand(2, 8, 9, 9)).vectors.count_nonzero() > 0


def test_the_way_of_choosing_can_be_replaced() -> None:
    model = CLDyN.from_reference(random_tensors(3, 4, seed=5))
    begun, feature, calls = begin(model), torch.randn(2, 64, 3, 5), []

    def choose(block: A2SI, bank: torch.Tensor, task: Description, x: torch.Tensor) -> BlockPlan:
        calls.append(tuple(x.shape))
        return by_all_pixels(block, bank, task, x.flip(1))

    assert text(plan(model, begun, feature, choose=choose)) != text(plan(model, begun, feature))
    assert calls == [(2, 8, 17, 23)] * 4


def test_the_cpp_describer_is_as_good() -> None:
    if library.library_path() is None:
        pytest.skip("the C++ engine was not built here")
    model = CLDyN.from_reference(random_tensors(2, 4, seed=6))
    block, describe = folded(model.rsc_vi.blocks[0]), NativeDescriber()
    assert isinstance(block, A2SI)
    with torch.no_grad():
        for height, width in ((3, 3), (17, 130), (70, 41)):
            x = torch.randn(1, 8, height, width, generator=torch.Generator().manual_seed(width))
            wanted, got = block.describe_image(x), describe(block, x)
            torch.testing.assert_close(got.configurations, wanted.configurations, rtol=1e-5, atol=1e-5)
            torch.testing.assert_close(got.vectors, wanted.vectors, rtol=1e-5, atol=1e-5)
            assert describe(block, x, vectors=False).vectors.count_nonzero() == 0
            torch.testing.assert_close(describe(block, x, vectors=False).configurations, got.configurations)


def test_half_precision_features_are_taken() -> None:
    model = CLDyN.from_reference(random_tensors(2, 4, seed=5))
    begun, feature = begin(model), torch.randn(2, 64, 3, 5).half()
    assert text(plan(model, begun, feature)) == text(plan(model, begun, feature.float()))


@pytest.mark.parametrize("shape", [(2, 64), (1, 64, 3, 5)])
def test_refused_features(shape: tuple[int, ...]) -> None:
    model = CLDyN.from_reference(random_tensors(2, 4, seed=5))
    with pytest.raises(ValueError, match=r"rank >= 3 with B = 2"):
        plan(model, begin(model), torch.randn(shape))


@pytest.mark.parametrize("length", [1, 2, 7, descriptors._PIECE, descriptors._PIECE + 1, 20_000])
@pytest.mark.parametrize("training", [False, True])
def test_a_long_sequence_in_pieces_is_the_two_convolutions(length: int, training: bool) -> None:
    descriptor, sequence = SequenceDescriptor(4, 8).train(training), torch.randn(2, 1, length)
    double = [layer.weight.double() for layer in (descriptor.first, descriptor.second)]
    hidden = F.leaky_relu(F.conv1d(sequence.double(), double[0], padding=1), 0.2)
    expected = F.conv1d(hidden, double[1], padding=1).mean(-1)
    torch.testing.assert_close(descriptor(sequence).double(), expected, rtol=1e-5, atol=1e-6)
