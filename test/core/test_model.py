"""The network against a naive oracle, and its properties: identity at birth, batch and size freedom, determinism,
gradients.
"""

from __future__ import annotations

import pytest
import torch
from naive import naive_forward, random_tensors

from cldyn_core import CLDyN, WeightsError
from cldyn_core.model import Architecture
from cldyn_core.reference import to_reference_name


def pair(batch: int, height: int, width: int, seed: int = 0) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    return torch.rand(batch, 3, height, width, generator=generator), torch.rand(
        batch, 1, height, width, generator=generator
    )


@pytest.mark.parametrize(
    ("blocks", "branches", "batch", "size", "feature"),
    [
        (2, 4, 2, (21, 33), (16, 3, 5)),
        (1, 4, 1, (16, 16), (8, 2, 2)),
        (3, 1, 1, (19, 10), (7, 11)),
        (2, 9, 3, (12, 17), (20, 4)),
        (2, 32, 1, (3, 3), (4, 1, 1)),
    ],
)
def test_agrees_with_the_oracle(blocks: int, branches: int, batch: int, size: tuple, feature: tuple) -> None:
    tensors = random_tensors(blocks, branches, seed=blocks * 100 + branches)
    model = CLDyN.from_reference(tensors).double()
    assert model.architecture == Architecture(blocks, branches if blocks > 1 else 4)
    visible, infrared = (x.double() for x in pair(batch, *size))
    task = torch.randn(batch, *feature, generator=torch.Generator().manual_seed(1)).double()
    with torch.no_grad():
        first = model.first_pass(visible, infrared)
        second = model.compensated_pass(visible, infrared, task)
    naive_first, naive_second, choices = naive_forward(tensors, visible, infrared, task)
    torch.testing.assert_close(first.luma, naive_first, rtol=0, atol=1e-10)
    torch.testing.assert_close(second.luma, naive_second, rtol=0, atol=1e-10)
    assert second.plan is not None
    for b in range(batch):
        calls = []
        for ir, vi in zip(second.plan.infrared, second.plan.visible, strict=True):
            for block in (ir, vi):
                calls.append(list(zip(block.configurations[b].tolist(), block.vectors[b].tolist(), strict=True)))
        assert calls == choices[b]


def test_a_batch_is_its_images_one_by_one() -> None:
    model = CLDyN.from_reference(random_tensors(2, 4, seed=3))
    visible, infrared = pair(3, 24, 20)
    task = torch.randn(3, 12, 4, 3)
    with torch.no_grad():
        together = model.compensated_pass(visible, infrared, task).rgb
        alone = [model.compensated_pass(visible[i : i + 1], infrared[i : i + 1], task[i : i + 1]).rgb for i in range(3)]
    torch.testing.assert_close(together, torch.cat(alone), rtol=0, atol=1e-5)


def test_a_new_model_compensates_nothing() -> None:
    torch.manual_seed(0)
    model = CLDyN().eval()
    visible, infrared = pair(2, 31, 17)
    with torch.no_grad():
        first = model.first_pass(visible, infrared)
        second = model.compensated_pass(visible, infrared, torch.randn(2, 6, 3, 3))
    assert torch.equal(first.rgb, second.rgb)
    assert second.plan is not None and second.plan.infrared[0].configurations.shape == (2, 4)


def test_evaluation_is_deterministic_and_training_samples() -> None:
    model = CLDyN.from_reference(random_tensors(2, 4, seed=5))
    visible, infrared = pair(1, 16, 16)
    task = torch.randn(1, 5, 4, 4)
    with torch.no_grad():
        images = [model.compensated_pass(visible, infrared, task).rgb for _ in range(3)]
    assert all(torch.equal(image, images[0]) for image in images)
    for rsc in (model.rsc_ir, model.rsc_vi):
        rsc.train()
    torch.manual_seed(0)
    with torch.no_grad():
        plans = {model.compensated_pass(visible, infrared, task).plan.describe() for _ in range(8)}
    assert len(plans) > 1


def test_the_loop_asks_the_task_about_the_first_image() -> None:
    model = CLDyN.from_reference(random_tensors(2, 4, seed=6))
    visible, infrared = pair(1, 16, 24)
    seen = []

    def requirement(image: torch.Tensor) -> torch.Tensor:
        seen.append(image)
        return image[:, :, ::4, ::4] * 3

    with torch.no_grad():
        closed = model(visible, infrared, requirement)
        first = model.first_pass(visible, infrared).rgb.clamp(0, 1)
        expected = model.compensated_pass(visible, infrared, first[:, :, ::4, ::4] * 3)
    assert torch.equal(seen[0], first)
    assert torch.equal(closed.rgb, expected.rgb)


def test_every_parameter_of_the_compensation_learns() -> None:
    torch.manual_seed(0)
    model = CLDyN(Architecture(2, 4)).train()
    for rsc in (model.rsc_ir, model.rsc_vi):
        for block in rsc.blocks:
            torch.nn.init.normal_(block.zero_conv.weight, std=0.3)
    visible, infrared = pair(4, 24, 24)
    touched: set[str] = set()
    for step in range(12):  # a configuration that no branch chose gets its turn in another step
        model.zero_grad()
        task = torch.randn(4, 9, 4, 4, generator=torch.Generator().manual_seed(step))
        model.compensated_pass(visible, infrared, task).rgb.square().mean().backward()
        touched |= {n for n, p in model.named_parameters() if p.grad is not None and p.grad.abs().max() > 0}
    wanted = {n for n, _ in model.named_parameters() if n.startswith(("rsc_", "bank"))}
    assert wanted <= touched, sorted(wanted - touched)
    assert not any("prototypes" in n for n, _ in model.named_parameters()), "prototypes are frozen"


def test_published_parameter_counts() -> None:
    model = CLDyN()
    assert sum(p.numel() for p in model.vfn.parameters()) == 34_761
    # The reference counts its 4 x 16 prototypes per modality as parameters; here they are buffers.
    prototypes = sum(block.prototypes.numel() for rsc in (model.rsc_ir, model.rsc_vi) for block in rsc.blocks)
    compensation = [*model.rsc_ir.parameters(), *model.rsc_vi.parameters(), *model.bank.parameters()]
    assert sum(p.numel() for p in compensation) + prototypes == 462_824


def test_bank_and_prototypes_start_orthonormal() -> None:
    model = CLDyN()
    bank = model.bank().flatten(0, 1)
    torch.testing.assert_close(bank @ bank.T, torch.eye(128), rtol=0, atol=1e-5)
    p = model.rsc_ir.blocks[0].prototypes
    torch.testing.assert_close(p @ p.T, torch.eye(4), rtol=0, atol=1e-5)


@pytest.mark.parametrize(
    ("visible", "infrared", "text"),
    [
        ((1, 3, 8, 8), (1, 1, 8, 9), "same B, H, W"),
        ((1, 1, 8, 8), (1, 1, 8, 8), "same B, H, W"),
        ((1, 3, 2, 8), (1, 1, 2, 8), "at least 3"),
    ],
)
def test_pairs_that_do_not_fit_are_refused(visible: tuple, infrared: tuple, text: str) -> None:
    with pytest.raises(ValueError, match=text):
        CLDyN().first_pass(torch.rand(visible), torch.rand(infrared))


@pytest.mark.parametrize("shape", [(1, 5), (2, 5, 3)])
def test_task_features_that_do_not_fit_are_refused(shape: tuple) -> None:
    with pytest.raises(ValueError, match="rank >= 3 with B = 1"):
        CLDyN().eval().compensated_pass(*pair(1, 8, 8), torch.rand(shape))


@pytest.mark.parametrize("branches", [0, 33])
def test_impossible_branch_counts_are_refused(branches: int) -> None:
    with pytest.raises(ValueError, match="1 to 32 branches"):
        CLDyN(Architecture(2, branches))


def test_a_damaged_reference_checkpoint_is_refused() -> None:
    tensors = random_tensors(2, 4, seed=0)
    name = to_reference_name("rsc_ir.blocks.0.zero_conv.bias")
    with pytest.raises(WeightsError, match="1 tensors missing"):
        CLDyN.from_reference({k: v for k, v in tensors.items() if k != name})
    with pytest.raises(WeightsError, match="1 unknown"):
        CLDyN.from_reference({**tensors, "vfn.frb3.weight": torch.zeros(1)})
    with pytest.raises(WeightsError, match=r"expected \(8,\)"):
        CLDyN.from_reference({**tensors, name: torch.zeros(9)})
    with pytest.raises(WeightsError, match="no VFN encoder blocks"):
        CLDyN.from_reference({"bvb": torch.zeros(4, 32, 256)})


def test_bfloat16_checkpoints_are_read_as_float32() -> None:
    tensors = random_tensors(2, 4, seed=0)
    model = CLDyN.from_reference({**tensors, "bvb": tensors["bvb"].bfloat16()})
    assert model.bank().dtype == torch.float32
    torch.testing.assert_close(model.bank(), tensors["bvb"].view(4, 32, 256), rtol=1e-2, atol=1e-2)


def test_the_bank_is_taken_in_both_shapes_and_nothing_else_is_reshaped() -> None:
    tensors = random_tensors(2, 4, seed=0)
    flat = CLDyN.from_reference({**tensors, "bvb": tensors["bvb"].reshape(128, 256)})
    assert torch.equal(flat.bank(), tensors["bvb"].view(4, 32, 256))
    name = "vfn.frb1.mlp_aa.0.weight"
    for wrong in ({name: tensors[name].T}, {"bvb": tensors["bvb"].reshape(256, 128)}):
        with pytest.raises(WeightsError, match=f"{next(iter(wrong))} has shape"):
            CLDyN.from_reference({**tensors, **wrong})


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_a_task_feature_of_another_precision_is_taken(dtype: torch.dtype) -> None:
    model = CLDyN.from_reference(random_tensors(2, 4, seed=4))
    visible, infrared = pair(1, 20, 24)
    task = torch.randn(1, 12, 4, 3, generator=torch.Generator().manual_seed(0)).to(dtype)
    with torch.no_grad():
        given = model.compensated_pass(visible, infrared, task)
        same = model.compensated_pass(visible, infrared, task.float())
    assert given.rgb.dtype == torch.float32 and torch.equal(given.rgb, same.rgb)
