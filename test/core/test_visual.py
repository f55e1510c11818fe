"""Stage 1 on small pictures: it learns, again and again the same, and is judged beside average and maximum."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch

from cldyn_core import CLDyN
from cldyn_core.checkpoint import load_weights
from cldyn_core.losses import missing_edges, vector_loss, visual_loss
from cldyn_core.metrics.fusion import score
from cldyn_core.train.run import run
from cldyn_core.train.run_folder import RunFolder
from cldyn_core.train.visual import Visual, VisualTraining
from cldyn_core.types import LabelledPair, as_batch

RECIPE = VisualTraining(steps=40, batch=4, size=32, validate_every=20)


def waves(count: int, seed: int) -> list[LabelledPair]:
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[:64, :72]
    pairs = []
    for a, b in rng.uniform(3, 9, (count, 2)):
        visible = np.repeat((127 + 120 * np.cos(y / b))[..., None], 3, 2)
        pairs.append(LabelledPair(visible.astype(np.uint8), (127 + 120 * np.sin(x / a)).astype(np.uint8)))
    return pairs


def prepare(recipe: VisualTraining = RECIPE) -> Visual:
    torch.manual_seed(0)
    return Visual(CLDyN(), waves(4, 0), waves(2, 1), recipe)


def test_it_learns_and_is_reproducible(tmp_path: Path) -> None:
    first = prepare()
    start = first.validate()["mean"]
    best = run(first, RunFolder(tmp_path / "a", {}))
    assert best["mean"] < 0.7 * start
    assert run(prepare(), RunFolder(tmp_path / "b", {})) == best
    again = Visual(load_weights(tmp_path / "a/cldyn.safetensors"), waves(1, 0), waves(2, 1), RECIPE)
    assert again.validate()["mean"] == pytest.approx(best["mean"], rel=1e-5)


def test_only_the_fusion_network_moves(tmp_path: Path) -> None:
    training = prepare()
    before = {name: value.clone() for name, value in training.model.state_dict().items()}
    run(training, RunFolder(tmp_path / "run", {}), stop_after=2)
    after = training.model.state_dict()
    moved = {name for name, value in after.items() if not torch.equal(value, before[name])}
    assert {name.split(".")[0] for name in moved} == {"vfn"}


def test_the_network_is_judged_beside_average_and_maximum() -> None:
    (pair,) = waves(1, 5)
    figures = Visual(CLDyN(), [pair], [pair], RECIPE).validate()
    infrared, luma = as_batch(pair.infrared), as_batch(pair.visible[..., 0])
    assert figures["maximum"] == pytest.approx(
        float(visual_loss(torch.maximum(infrared, luma), infrared, luma)[0]), rel=1e-4
    )
    assert figures["average"] == pytest.approx(float(visual_loss((infrared + luma) / 2, infrared, luma)[0]), rel=1e-4)


def test_it_needs_pairs() -> None:
    with pytest.raises(ValueError, match="stage 1: needs pairs"):
        Visual(CLDyN(), waves(1, 0), [], RECIPE)


def test_the_vector_loss_minds_the_direction_of_an_edge() -> None:
    edge, flat = torch.zeros(1, 1, 8, 8), torch.zeros(1, 1, 8, 8)
    edge[..., 4:] = 1.0
    for loss in (visual_loss, vector_loss):
        assert float(loss(edge, edge, flat)[2]) == pytest.approx(0.0)
        assert float(loss(edge / 2, edge, flat)[2]) > 0.5
    assert float(visual_loss(-edge, edge, flat)[2]) == pytest.approx(0.0)  # as steep, but the wrong way
    assert float(vector_loss(-edge, edge, flat)[2]) > 1.0


def test_missing_edges_are_those_that_q_abf_misses() -> None:
    rng = np.random.default_rng(3)
    images = [cv2.GaussianBlur(rng.integers(0, 256, (48, 64), np.uint8), (0, 0), 2) for _ in range(3)]
    infrared, luma, fused = (as_batch(image) for image in images)
    missing = float(missing_edges(fused, infrared, luma))
    assert 1 - missing == pytest.approx(score(images[0], images[1], images[2], ("qabf",))["qabf"], abs=2e-3)
    moved = fused.clone().requires_grad_()
    missing_edges(moved, infrared, luma).sum().backward()
    assert moved.grad is not None
    assert moved.grad.isfinite().all()
    assert float(missing_edges(fused - 0.02 * moved.grad / moved.grad.abs().max(), infrared, luma)) < missing


def test_a_robust_training_sees_worse_pairs_and_is_judged_by_the_clean_ones(tmp_path: Path) -> None:
    always = replace(RECIPE, degraded=1.0, degradations=["dim:alpha=0.4"], steps=60)
    start = prepare(always).validate()["mean"]
    assert start != prepare(replace(always, degraded=0.0)).validate()["mean"]
    assert run(prepare(always), RunFolder(tmp_path / "run", {}))["mean"] < 0.8 * start
    model = load_weights(tmp_path / "run/cldyn.safetensors")
    (pair,) = waves(1, 9)
    infrared, luma = as_batch(pair.infrared), as_batch(pair.visible[..., 0])
    with torch.no_grad():
        fused = model.vfn(0.4 * infrared, 0.4 * luma)
    assert fused.mean() > 1.5 * 0.4 * torch.maximum(infrared, luma).mean()  # it brightens what was dimmed
