"""What `cldyn bench` compares with computes the paper's function: the recorded vectors, and the project's network."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from naive import random_tensors
from safetensors.torch import load_file
from shared_data import SHARED
from torch import Tensor

from cldyn_core import CLDyN, CompensationPlan
from cldyn_core.bench.reference_loop import ReferenceFrame, reference_frame

GOLDEN = sorted((SHARED / "golden").glob("*_b*.safetensors")) if SHARED else []


def relative(actual: Tensor, expected: Tensor) -> float:
    """Largest difference over the standard deviation of the expected values."""
    return float((actual - expected).abs().max() / expected.std())


def frame(model: CLDyN, visible: Tensor, infrared: Tensor, feature: Tensor) -> ReferenceFrame:
    with torch.inference_mode():
        return reference_frame(model, visible, infrared, lambda _: feature)


def integers(plan: CompensationPlan) -> list[list[list[int]]]:
    blocks = (*plan.infrared, *plan.visible)
    return [part.tolist() for block in blocks for part in (block.configurations, block.vectors)]


@pytest.mark.skipif(SHARED is None, reason="the recorded reference vectors are not on this machine")
@pytest.mark.parametrize("path", GOLDEN, ids=lambda p: p.stem)
def test_recorded_vectors(path: Path) -> None:
    golden = load_file(path)
    made = frame(CLDyN.from_reference(golden), golden["in.vis"], golden["in.ir"], golden["in.task"])
    assert relative(made.first, golden["out.pre_rgb"]) < 1e-4
    assert relative(made.fused, golden["out.comp_rgb"]) < 1e-4
    bank = golden["bvb"].view(4, 32, 256)
    blocks = [block for pair in zip(made.plan.infrared, made.plan.visible, strict=True) for block in pair]
    for k, block in enumerate(blocks):
        assert torch.equal(block.configurations, golden[f"out.routing_index_{k}"])
        assert torch.equal(bank[block.configurations, block.vectors], golden[f"out.selected_basis_{k}"])


@pytest.mark.parametrize(("depth", "branches", "batch"), [(2, 4, 1), (3, 7, 2), (1, 4, 1)])
def test_the_project_s_network_computes_the_same(depth: int, branches: int, batch: int) -> None:
    model = CLDyN.from_reference(random_tensors(depth, branches, seed=depth)).double()  # rounding says nothing here
    generator = torch.Generator().manual_seed(7)
    visible = torch.rand((batch, 3, 40, 53), generator=generator).double()
    infrared = torch.rand((batch, 1, 40, 53), generator=generator).double()
    feature = torch.randn((batch, 64, 2, 3), generator=generator).double()
    seen: list[Tensor] = []
    with torch.inference_mode():
        ours = model(visible, infrared, lambda first: (seen.append(first), feature)[1])
    made = frame(model, visible, infrared, feature)
    torch.testing.assert_close(made.first.clamp(0, 1), seen[0], atol=1e-9, rtol=0)
    torch.testing.assert_close(made.fused, ours.rgb, atol=1e-9, rtol=0)
    assert ours.plan is not None and integers(made.plan) == integers(ours.plan)
    if depth > 1:
        assert (made.fused - made.first).abs().max() > 1e-2, "the compensation changes the image"


def test_every_piece_of_work_is_told() -> None:
    model = CLDyN.from_reference(random_tensors(2, 4, seed=1))
    laps: list[str] = []
    with torch.inference_mode():
        reference_frame(model, torch.rand(1, 3, 8, 9), torch.rand(1, 1, 8, 9), lambda x: x, laps.append)
    of_modality = ["execute", "plan"]
    assert laps == ["convert", "execute", "convert", "task", *of_modality, *of_modality, "execute", "convert"]
