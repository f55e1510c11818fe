"""A sample of pixels decides only where all pixels would decide the same."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from torch import Tensor

from cldyn_core import Architecture, CLDyN
from cldyn_core.a2si import A2SI
from cldyn_core.descriptors import Description
from cldyn_core.engine.folding import folded
from cldyn_core.engine.selection import Selection, doubt_of, sampled_features
from cldyn_core.types import BlockPlan


def made(seed: int, branches: int = 4) -> tuple[A2SI, Tensor, Description]:
    """A folded block with random norms, a bank, a described task."""
    torch.manual_seed(seed)
    model = CLDyN(Architecture(branches=branches)).eval()
    block = model.rsc_ir.blocks[0]
    assert isinstance(block, A2SI)
    for norm in (m for m in block.modules() if isinstance(m, torch.nn.BatchNorm2d)):
        norm.running_mean.normal_(0.0, 0.3)  # type: ignore[union-attr]
    return folded(block), model.bank().detach(), block.describe_task(torch.randn(1, 64, 5, 6))


def scene(height: int, width: int, seed: int) -> Tensor:
    """A feature with structure at several scales: (1, 8, H, W)."""
    generator = torch.Generator().manual_seed(seed)
    layers = [
        torch.nn.functional.interpolate(torch.randn(1, 8, n, n, generator=generator), (height, width), mode="bilinear")
        for n in (3, 12, 50)
    ]
    return torch.stack(layers).sum(0).clamp(min=-0.4)


def exact(block: A2SI, bank: Tensor, task: Description, x: Tensor) -> BlockPlan:
    return block.decide(bank, task, block.describe_image(x)).plan


@torch.no_grad()
def test_the_choice_never_changes_and_samples_make_part_of_it() -> None:
    choose = Selection(A2SI.describe_image)
    for seed in range(8):
        block, bank, task = made(seed)
        x = scene(190, 210, seed)
        wanted, got = exact(block, bank, task, x), choose(block, bank, task, x)
        assert torch.equal(wanted.configurations, got.configurations) and torch.equal(wanted.vectors, got.vectors)
    assert choose.counts.total() == 8 and 0 < choose.counts["all pixels"] < 8, choose.counts


@torch.no_grad()
def test_sampled_features_are_those_of_their_pixels_borders_included() -> None:
    block, _, _ = made(0)
    x = scene(9, 7, 0)
    everywhere = block.query.image(x)[0].flatten(1).T
    sampled = sampled_features(block, x, 200)  # every pixel, the corners too, almost surely
    distance = torch.cdist(sampled, everywhere, compute_mode="donot_use_mm_for_euclid_dist")
    assert float(distance.min(1).values.max()) < 1e-5
    assert len(distance.argmin(1).unique()) > 50


@torch.no_grad()
def test_only_a_clear_order_is_believed() -> None:
    block, bank, task = made(1, branches=1)
    x = scene(190, 210, 1)
    features = sampled_features(block, x, 4096)
    image = replace(block.describe_image(x), vectors=features.mean(0, keepdim=True))
    query = block.query(task, image)[0]
    clear = bank.clone()
    clear[:, 5] = query
    plan = block.decide(clear, task, image).plan
    assert plan.vectors.tolist() == [[5]] and doubt_of(block, clear, task, features, plan) < 1.0
    close = clear.clone()
    close[:, 6] = query + 0.001 * query.norm() * clear[0, 0] / clear[0, 0].norm()
    plan = block.decide(close, task, image).plan
    assert plan.vectors.tolist() == [[5]] and doubt_of(block, close, task, features, plan) > 1.0


@torch.no_grad()
def test_the_bound_holds_for_means_of_other_samples() -> None:
    """Where a sample is said to decide, independent samples of the same size choose alike."""
    checked = 0
    for seed in range(6):
        block, bank, task = made(seed)
        x = scene(300, 310, seed)
        features = sampled_features(block, x, 16384)
        described = block.describe_image(x)
        plan = block.decide(bank, task, replace(described, vectors=features.mean(0, keepdim=True))).plan
        if doubt_of(block, bank, task, features, plan) < 1.0:
            for k in range(3):
                part = features[torch.randint(16384, (16384,), generator=torch.Generator().manual_seed(k))]
                again = block.decide(bank, task, replace(described, vectors=part.mean(0, keepdim=True))).plan
                assert torch.equal(plan.vectors, again.vectors)
            checked += 1
    assert checked > 0


@torch.no_grad()
@pytest.mark.parametrize("size", [(5, 4), (60, 80)])
def test_small_images_are_described_whole(size: tuple[int, int]) -> None:
    choose = Selection(A2SI.describe_image)
    block, bank, task = made(3)
    choose(block, bank, task, scene(*size, 3))
    assert dict(choose.counts) == {"all pixels": 1}
