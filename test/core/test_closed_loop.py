"""Stage 2 with a small task network: what moves and what does not, that it helps, that a resumed run is the same."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from cldyn_core import CLDyN, Task
from cldyn_core.checkpoint import load_weights, save_weights
from cldyn_core.model import Architecture
from cldyn_core.tasks.base import TaskNetwork
from cldyn_core.train.closed_loop import ClosedLoop, ClosedLoopTraining
from cldyn_core.train.closed_loop_command import take_compensation
from cldyn_core.train.optimization import Optimization
from cldyn_core.train.run import run as run_training
from cldyn_core.train.run_folder import RunFolder
from cldyn_core.types import LabelledPair, SaliencyMap

RECIPE = ClosedLoopTraining(steps=6, batch=2, size=32, learning_rate=1e-2, selection_stride=2, validate_every=2)


class Brightness(TaskNetwork):
    """Wants the marked pixels `bright` or dark: a task whose loss a compensation can lower."""

    kind = "brightness"

    def __init__(self, model: str = "any", names: Sequence[str] = (), bright: float = 1.0) -> None:
        torch.manual_seed(7)
        self.task, self.model, self.names, self.bright = Task.SALIENCY, model, tuple(names), bright  # type: ignore[misc]
        self.module = nn.Sequential(nn.Conv2d(3, 6, 3, stride=4), nn.BatchNorm2d(6))
        self.scale = 1.0

    @classmethod
    def models(cls) -> tuple[str, ...]:
        return ("any",)

    def feature(self, image: Tensor) -> Tensor:
        return self.module(image) * 10 * self.bright

    def losses(self, image: Tensor, targets: Sequence[Any]) -> Tensor:
        marks = torch.stack([torch.from_numpy(target.values).float() / 255 for target in targets])
        wrong = (image.mean(1) - self.bright * marks - (1 - self.bright) * (1 - marks)).square()
        return self.scale * (wrong.mean((1, 2)) + 0 * self.module[0].weight.sum())

    def predict(self, image: Tensor) -> list:
        return []


def scenes(count: int, seed: int) -> list[LabelledPair]:
    rng = np.random.default_rng(seed)
    made = []
    for k in range(count):
        values = np.zeros((40, 48), np.uint8)
        y, x = rng.integers(0, 20, 2)
        values[y : y + 18, x : x + 20] = 255
        infrared = np.where(values > 0, 150, 60).astype(np.uint8) + rng.integers(0, 20, values.shape).astype(np.uint8)
        visible = rng.integers(40, 120, (40, 48, 3)).astype(np.uint8)
        made.append(LabelledPair(visible, infrared, SaliencyMap(values), f"scene {seed}-{k}"))
    return made


def prepare(recipe: ClosedLoopTraining = RECIPE, two: bool = False) -> ClosedLoop:
    torch.manual_seed(0)
    networks: dict[Task, TaskNetwork] = {Task.SALIENCY: Brightness()}
    if two:
        networks[Task.SEGMENTATION] = Brightness(bright=0.0)
    return ClosedLoop(
        load_weights(Path(__file__).parents[2] / "cldyn_core/weights/cldyn.safetensors"),
        networks,
        dict.fromkeys(networks, scenes(6, 1)),
        dict.fromkeys(networks, scenes(3, 2)),
        recipe,
    )


def run(loop: ClosedLoop, folder: Path, resume: bool = False, stop_after: int | None = None) -> dict[str, float]:
    return run_training(loop, RunFolder(folder, {}, resume), stop_after=stop_after)


def gradient_of(loop: ClosedLoop, step: int) -> tuple[Tensor, dict[str, float]]:
    rows, figures = loop.gradients(step)
    return loop.combine(rows, step), figures


def test_only_the_compensation_moves(tmp_path: Path) -> None:
    loop = prepare(two=True)
    network = loop.networks[Task.SALIENCY].module
    before = {k: v.clone() for k, v in {**loop.model.state_dict(), **network.state_dict()}.items()}
    run(loop, tmp_path / "run")
    after = {**loop.model.state_dict(), **network.state_dict()}
    moved = {name for name, value in after.items() if not torch.equal(value, before[name])}
    assert moved and all(name.startswith(("rsc_", "bank.")) for name in moved)
    assert not any("prototypes" in name for name in moved)


def test_every_parameter_of_the_compensation_gets_gradient() -> None:
    loop = prepare(two=True)
    for rsc in (loop.model.rsc_ir, loop.model.rsc_vi):
        nn.init.normal_(rsc.blocks[0].zero_conv.weight, std=0.3)  # type: ignore[union-attr,arg-type]
    loop.measure()
    sizes = [parameter.numel() for parameter in loop.parameters]
    touched = torch.zeros(len(sizes), dtype=torch.bool)
    for step in range(1, 13):
        gradient, _ = gradient_of(loop, step)
        touched |= torch.tensor([bool(part.abs().max() > 0) for part in gradient.split(sizes)])
    assert touched.all()


def test_it_helps_pairs_that_it_has_not_seen(tmp_path: Path) -> None:
    best = run(prepare(replace(RECIPE, steps=30, validate_every=10)), tmp_path / "run")
    assert best["mean"] < 0.97
    loop = prepare()
    loop.model.load_state_dict(load_weights(tmp_path / "run" / ClosedLoop.weights_file).state_dict())
    loop.measure()
    assert loop.validate()["mean"] == pytest.approx(best["mean"], rel=1e-4)


def test_a_resumed_run_is_the_same_run(tmp_path: Path) -> None:
    whole, halves = prepare(two=True), prepare(two=True)
    run(whole, tmp_path / "whole")
    run(halves, tmp_path / "halves", stop_after=2)
    resumed = prepare(two=True)
    run(resumed, tmp_path / "halves", resume=True)
    for name, value in whole.model.state_dict().items():
        assert torch.equal(value, resumed.model.state_dict()[name]), name
    assert (tmp_path / "whole/metrics.csv").read_text() == (tmp_path / "halves/metrics.csv").read_text()


def test_a_run_is_not_overwritten_nor_resumed_with_another_recipe(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="to resume from"):
        RunFolder(tmp_path / "none", {}, resume=True)
    run(prepare(), tmp_path / "run", stop_after=1)
    with pytest.raises(FileExistsError, match="--resume"):
        RunFolder(tmp_path / "run", {}, resume=False)
    with pytest.raises(ValueError, match="changed: batch"):
        RunFolder(tmp_path / "run", {"batch": 3}, resume=True)


def test_a_broken_loss_stops_and_names_the_batch(tmp_path: Path) -> None:
    loop = prepare()
    loop.measure()
    loop.networks[Task.SALIENCY].scale = math.nan  # type: ignore[attr-defined]
    with pytest.raises(FloatingPointError, match=r"saliency: the loss is nan at step 1, batch scene 1-"):
        loop.gradients(1)


def test_recomputing_gives_the_same_gradient() -> None:
    kept, again = prepare(), prepare(replace(RECIPE, recompute=True))
    for loop in (kept, again):
        loop.measure()
    (one, _), (other, _) = gradient_of(kept, 1), gradient_of(again, 1)
    assert one.norm() > 0
    torch.testing.assert_close(other, one)


def test_the_penalty_weighs_images_that_became_worse() -> None:
    plain, heavy = prepare(replace(RECIPE, penalty=0.0)), prepare()
    for loop in (plain, heavy):
        torch.manual_seed(3)
        for rsc in (loop.model.rsc_ir, loop.model.rsc_vi):
            nn.init.normal_(rsc.blocks[0].zero_conv.weight, std=2.0)  # type: ignore[union-attr,arg-type]
        loop.measure()
    (gradient, figures), (weighted, _) = gradient_of(plain, 1), gradient_of(heavy, 1)
    assert figures["saliency/gain"] < 0
    assert weighted.norm() > 1.5 * gradient.norm()


def test_the_plan_depends_on_the_task() -> None:
    torch.manual_seed(0)
    model = CLDyN().eval()
    visible, infrared = torch.rand(4, 3, 32, 32), torch.rand(4, 1, 32, 32)
    plans = [
        model.compensated_pass(visible, infrared, scale * torch.randn(4, 64, 4, 4)).plan.describe()  # type: ignore[union-attr]
        for scale in (1.0, 30.0)
    ]
    assert plans[0] != plans[1]


def test_sampled_selection_differs_only_in_training() -> None:
    torch.manual_seed(0)
    block: Any = CLDyN().eval().rsc_ir.blocks[0]
    x = torch.rand(2, 8, 33, 21)
    described = block.describe_image(x)
    block.training_stride = 4
    assert torch.equal(block.describe_image(x).configurations, described.configurations)
    assert torch.equal(block.describe_image(x).vectors, described.vectors)
    sampled = block.train().describe_image(x)
    assert not torch.equal(sampled.configurations, described.configurations)
    assert not torch.equal(sampled.vectors, described.vectors)
    block.eval()
    everywhere = block.query.image(x)[:, :, 2:-2:4, 2:-2:4].flatten(2).transpose(1, 2).flatten(0, 1)
    torch.testing.assert_close(block.query._sampled(x, 4), everywhere)


def test_the_noise_of_the_choices_settles(monkeypatch: pytest.MonkeyPatch) -> None:
    loop = prepare(replace(RECIPE, settle=0.5))
    loop.measure()
    assert [loop.recipe.noise(step) for step in (1, 2, 3, 4, 6)] == pytest.approx([1, 2 / 3, 1 / 3, 0, 0])
    assert RECIPE.noise(RECIPE.steps) == 1.0

    def gradient(step: int, loudest: int) -> Tensor:
        noise = torch.zeros(1, 2, RECIPE.batch, 4, 4)
        noise[..., loudest] = 100.0
        monkeypatch.setattr(loop._running, "draw_noise", lambda *_: noise)
        return gradient_of(loop, step)[0]

    for block in (loop.model.rsc_ir.blocks[0], loop.model.rsc_vi.blocks[0]):
        nn.init.normal_(block.zero_conv.weight)
    assert not torch.equal(gradient(1, 0), gradient(1, 3))
    assert torch.equal(gradient(4, 0), gradient(4, 3))


def test_restraint_keeps_the_image_near_the_uncompensated_one(tmp_path: Path) -> None:
    def change(restraint: float) -> float:
        loop = prepare(replace(RECIPE, steps=12, restraint=restraint, validate_every=12))
        nn.init.zeros_(loop.model.rsc_ir.blocks[0].zero_conv.weight)  # type: ignore[union-attr,arg-type]
        nn.init.zeros_(loop.model.rsc_vi.blocks[0].zero_conv.weight)  # type: ignore[union-attr,arg-type]
        loop.measure()
        optimization = Optimization(loop)
        return sum(optimization.step(step)["saliency/change"] for step in range(1, 13))

    assert change(100.0) < 0.5 * change(0.0)


@pytest.mark.parametrize("fixed", [False, True])
def test_fixed_statistics_are_those_of_the_start(fixed: bool, tmp_path: Path) -> None:
    loop = prepare(replace(RECIPE, fixed_statistics=fixed))
    before = {name: value.clone() for name, value in loop.model.state_dict().items() if "running_" in name}
    run(loop, tmp_path / "run")
    after = loop.model.state_dict()
    assert all(torch.equal(after[name], value) for name, value in before.items()) is fixed


def test_a_compensation_moves_to_another_fusion_network(tmp_path: Path) -> None:
    torch.manual_seed(1)
    giver, taker, other = CLDyN(), CLDyN(), CLDyN(Architecture(branches=2))
    save_weights(giver, tmp_path / "giver.safetensors")
    before = {name: tensor.clone() for name, tensor in taker.state_dict().items()}
    take_compensation(taker, tmp_path / "giver.safetensors")
    for name, tensor in taker.state_dict().items():
        source = before if name.startswith("vfn.") else giver.state_dict()
        assert torch.equal(tensor, source[name]), name
    with pytest.raises(ValueError, match=r"giver\.safetensors has the architecture .*Remedy"):
        take_compensation(other, tmp_path / "giver.safetensors")


@pytest.mark.parametrize(
    ("field", "value"),
    [("size", 40), ("batch", 0), ("validate_every", 0), ("settle", 1.5), ("settle", -1), ("restraint", -1)],
)
def test_impossible_recipes_are_refused(field: str, value: float) -> None:
    with pytest.raises(ValueError, match=field):
        replace(RECIPE, **{field: value})


def test_tasks_without_data_are_refused() -> None:
    with pytest.raises(ValueError, match="at least one task"):
        ClosedLoop(CLDyN(), {}, {}, {}, RECIPE)
    with pytest.raises(ValueError, match="saliency: needs pairs"):
        ClosedLoop(CLDyN(), {Task.SALIENCY: Brightness()}, {Task.SALIENCY: scenes(1, 0)}, {Task.SALIENCY: []}, RECIPE)
