"""Task tokens: zeros change nothing, others keep the plans of the tasks apart, each learns from its own task alone."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from naive import random_tensors

from cldyn_core import CLDyN, Task
from cldyn_core.a2si import A2SI
from cldyn_core.checkpoint import WeightsError, load_weights, manifest_path, save_weights
from cldyn_core.engine.executors import Encoded
from cldyn_core.engine.kernels import KernelTables
from cldyn_core.engine.planner import Planner
from cldyn_core.engine.selection import Selection
from cldyn_core.model import Architecture
from cldyn_core.train.closed_loop_command import take_compensation

TASKS = (Task.DETECTION, Task.SEGMENTATION, Task.SALIENCY)
FEATURE = torch.randn(1, 16, 3, 5, generator=torch.Generator().manual_seed(3))


def pair() -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(4)
    return torch.rand(1, 3, 17, 23, generator=generator), torch.rand(1, 1, 17, 23, generator=generator)


def encode(model: CLDyN, visible: torch.Tensor, infrared: torch.Tensor) -> Encoded:
    begun = model.begin(visible, infrared)
    return Encoded(begun.infrared, begun.visible)


def with_tokens(scale: float, folder: Path) -> tuple[CLDyN, CLDyN]:
    """A model without, and the same one with task tokens of that size."""
    plain = CLDyN.from_reference(random_tensors(2, 4, seed=6))
    save_weights(plain, folder / "plain.safetensors")
    model = CLDyN(Architecture(task_tokens=True)).eval()
    model.vfn.load_state_dict(plain.vfn.state_dict())
    take_compensation(model, folder / "plain.safetensors")
    torch.manual_seed(5)
    for name, parameter in model.named_parameters():
        if ".tokens." in name:
            parameter.data = scale * torch.randn_like(parameter)
    return plain, model


@torch.inference_mode()
def test_tokens_of_zeros_change_nothing_and_others_part_the_tasks(tmp_path: Path) -> None:
    plain, model = with_tokens(0.0, tmp_path)
    expected = plain.compensated_pass(*pair(), FEATURE)
    for task in (Task.NONE, *TASKS):
        assert torch.equal(model.compensated_pass(*pair(), FEATURE, task).rgb, expected.rgb)
    plain, model = with_tokens(2.0, tmp_path)
    plans = {task: model.compensated_pass(*pair(), FEATURE, task).plan.describe() for task in TASKS}  # type: ignore[union-attr]
    assert len(set(plans.values())) == len(TASKS)
    assert torch.equal(model.compensated_pass(*pair(), FEATURE).rgb, expected.rgb)  # no task, no token
    encoded = encode(model, *pair())
    planner = Planner(model, KernelTables(model))
    for task, plan in plans.items():
        assert planner.plan(encoded, FEATURE, task).describe() == plan


@torch.inference_mode()
def test_a_sample_of_the_pixels_decides_as_all_of_them_do(tmp_path: Path) -> None:
    _, model = with_tokens(2.0, tmp_path)
    encoded = encode(model, torch.rand(1, 3, 160, 160), torch.rand(1, 1, 160, 160))
    exact, sampled = Planner(model, KernelTables(model)), Selection(A2SI.describe_image)
    quick = Planner(model, KernelTables(model), sampled)
    for task in TASKS:
        assert quick.plan(encoded, FEATURE, task).describe() == exact.plan(encoded, FEATURE, task).describe()
    assert sampled.counts["4096 pixels"]  # else nothing was compared


def test_a_token_learns_from_its_own_task(tmp_path: Path) -> None:
    _, model = with_tokens(0.1, tmp_path)
    model.train()
    for block in (model.rsc_ir.blocks[0], model.rsc_vi.blocks[0]):
        torch.nn.init.normal_(block.zero_conv.weight)  # type: ignore[arg-type,union-attr]
    model.compensated_pass(*pair(), FEATURE, Task.SEGMENTATION).rgb.square().sum().backward()
    for block in (model.rsc_ir.blocks[0], model.rsc_vi.blocks[0]):
        for token in block.tokens.parameters():  # type: ignore[union-attr]
            assert token.grad is not None
            assert [bool(row.any()) for row in token.grad] == [False, True, False]


def test_weight_files_say_that_they_have_tokens(tmp_path: Path) -> None:
    _, model = with_tokens(1.0, tmp_path)
    path = tmp_path / "tokens.safetensors"
    save_weights(model, path)
    assert json.loads(manifest_path(path).read_text())["architecture"]["task_tokens"] is True
    assert "task_tokens" not in json.loads(manifest_path(tmp_path / "plain.safetensors").read_text())["architecture"]
    loaded = load_weights(path)
    assert all(torch.equal(tensor, loaded.state_dict()[name]) for name, tensor in model.state_dict().items())
    plain = CLDyN()
    take_compensation(plain, path)  # left out where there is no place for them
    assert torch.equal(plain.bank(), model.bank())
    manifest = json.loads(manifest_path(path).read_text())
    manifest["architecture"]["task_tokens"] = 1
    manifest_path(path).write_text(json.dumps(manifest))
    with pytest.raises(WeightsError, match="architecture"):
        load_weights(path)
    with pytest.raises(ValueError, match="takes no task tokens"):
        CLDyN(Architecture(compensation="convolution", task_tokens=True))
