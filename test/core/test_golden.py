"""The network computes the reference's function: its recorded vectors. (Without them, test_model.py has an oracle of
our own.)
"""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from shared_data import SHARED
from torch import Tensor

from cldyn_core import CLDyN, CompensationPlan
from cldyn_core.color import rgb_to_ycbcr
from cldyn_core.losses import visual_loss

GOLDEN = sorted((SHARED / "golden").glob("*_b*.safetensors")) if SHARED else []

pytestmark = pytest.mark.skipif(SHARED is None, reason="the recorded reference vectors are not on this machine")


def relative(actual: Tensor, expected: Tensor) -> float:
    """Largest difference over the standard deviation of the expected values."""
    return float((actual - expected).abs().max() / expected.std())


def blocks_in_call_order(plan: CompensationPlan) -> list:
    return [block for pair in zip(plan.infrared, plan.visible, strict=True) for block in pair]


@pytest.mark.parametrize("path", GOLDEN, ids=lambda p: p.stem)
def test_recorded_vectors(path: Path) -> None:
    golden = load_file(path)
    model = CLDyN.from_reference(golden)
    visible, infrared, task_feature = golden["in.vis"], golden["in.ir"], golden["in.task"]
    injected: dict[str, list[Tensor]] = {"ir": [], "vi": []}
    for modality, rsc in (("ir", model.rsc_ir), ("vi", model.rsc_vi)):
        for block in rsc.blocks:
            block.register_forward_hook(lambda _m, _i, out, found=injected[modality]: found.append(out[0]))
    with torch.no_grad():
        first = model.first_pass(visible, infrared)
        second = model.compensated_pass(visible, infrared, task_feature)

    ycbcr = rgb_to_ycbcr(visible)
    assert relative(ycbcr, golden["out.ycbcr"]) < 1e-5
    assert relative(first.luma, golden["out.pre_y"]) < 1e-4
    assert relative(first.rgb, golden["out.pre_rgb"]) < 1e-4
    assert relative(second.luma, golden["out.comp_y"]) < 1e-4
    assert relative(second.rgb, golden["out.comp_rgb"]) < 1e-4
    assert relative(second.luma, golden["out.pre_y"]) > 1e-2, "the recorded compensation changes the image"
    assert first.plan is None and second.plan is not None
    for modality, outputs in injected.items():
        for i, output in enumerate(outputs):
            assert relative(output, golden[f"out.injected_{modality}_{i}"]) < 1e-4
    bank = golden["bvb"].view(4, 32, 256)
    for k, block in enumerate(blocks_in_call_order(second.plan)):
        assert torch.equal(block.configurations, golden[f"out.routing_index_{k}"])
        assert torch.equal(bank[block.configurations, block.vectors], golden[f"out.selected_basis_{k}"])
    _, intensity, gradient = visual_loss(first.luma, infrared, ycbcr[:, :1])
    torch.testing.assert_close(intensity.mean(), golden["out.loss_intensity_max"], rtol=1e-4, atol=0)
    torch.testing.assert_close(gradient.mean(), golden["out.loss_grad"], rtol=1e-4, atol=0)


@pytest.mark.parametrize("path", GOLDEN, ids=lambda p: p.stem)
def test_routing_logits(path: Path) -> None:
    golden = load_file(path)
    model = CLDyN.from_reference(golden)
    with torch.no_grad():
        x_ir, x_vi = golden["in.ir"], golden["out.ycbcr"][:, :1]
        for i in range(model.vfn.depth - 1):
            x_ir, x_vi = model.vfn.encoder_ir.block(i, x_ir), model.vfn.encoder_vi.block(i, x_vi)
            for k, (rsc, x) in enumerate(((model.rsc_ir, x_ir), (model.rsc_vi, x_vi))):
                block = rsc.blocks[i]
                logits = block.logits(block.describe_task(golden["in.task"]), block.describe_image(x))
                assert relative(logits, golden[f"out.routing_logits_{2 * i + k}"]) < 1e-4
            x_ir, x_vi = golden[f"out.injected_ir_{i}"], golden[f"out.injected_vi_{i}"]
