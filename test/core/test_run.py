"""What all trainings share: resume, early stop, running average, half precision, recipes, reading, two processes."""

from __future__ import annotations

import csv
import math
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor, nn

from cldyn_core.cli import main
from cldyn_core.data.labelled import open_labelled
from cldyn_core.data.synthetic import SceneConfig, write_sequence
from cldyn_core.train import cost
from cldyn_core.train.draws import Draws
from cldyn_core.train.processes import Processes
from cldyn_core.train.reading import PairData, Reader, read_pairs
from cldyn_core.train.recipe import Recipe
from cldyn_core.train.run import run
from cldyn_core.train.run_folder import RunFolder
from cldyn_core.train.training import Training
from cldyn_core.types import LabelledPair, Task

RECIPE = Recipe(steps=12, batch=2, size=32, learning_rate=0.1, validate_every=3)
CPU = Processes(torch.device("cpu"))


class Line(Training):
    """Fits a line through noisy points, with dropout: all that a run must repeat."""

    stage = "line"
    weights_file = "line.pt"

    def __init__(self, recipe: Recipe, spoil: Callable[[int, Tensor], Tensor] = lambda _, losses: losses) -> None:
        torch.manual_seed(0)
        self.net = nn.Sequential(nn.Linear(3, 8), nn.Dropout(0.3), nn.Linear(8, 1))
        super().__init__({"net": self.net}, recipe, CPU)
        self._spoil = spoil

    def gradients(self, step: int) -> tuple[Tensor, dict[str, float]]:
        x = torch.rand((4, 3), generator=torch.Generator().manual_seed(step))
        self.net.train()
        with self.autocast():
            losses = (self.net(x)[:, 0] - x.sum(1)).square().float()
        losses = self._spoil(step, losses)
        pairs = [LabelledPair(np.zeros((1, 1, 3), np.uint8), np.zeros((1, 1), np.uint8), None, f"point {step}")]
        return self.gradient_row(losses, "line", pairs, step)[None], {"loss": self.average(losses)}

    @torch.no_grad()
    def validate(self) -> dict[str, float]:
        self.net.eval()
        x = torch.rand((8, 3), generator=torch.Generator().manual_seed(99))
        return {"mean": float((self.net(x)[:, 0] - x.sum(1)).square().mean())}

    def save(self, path: Path, record: Any) -> None:
        torch.save({"weights": self.net.state_dict(), "record": dict(record)}, path)

    def weights(self) -> Tensor:
        return torch.cat([p.detach().flatten() for p in self.parameters])


@pytest.mark.parametrize("changes", [{}, {"average": 0.8}, {"precision": "float16"}, {"warmup": 4}])
def test_interrupted_and_resumed_is_uninterrupted(tmp_path: Path, changes: dict[str, Any]) -> None:
    recipe = replace(RECIPE, **changes)
    whole = Line(recipe)
    best = run(whole, RunFolder(tmp_path / "whole", {}))
    run(Line(recipe), RunFolder(tmp_path / "parts", {}), stop_after=6)
    resumed = Line(recipe)
    assert run(resumed, RunFolder(tmp_path / "parts", {}, resume=True)) == best
    assert torch.equal(resumed.weights(), whole.weights())
    assert (tmp_path / "whole/metrics.csv").read_text() == (tmp_path / "parts/metrics.csv").read_text()


def test_the_average_is_judged_and_kept_while_the_weights_go_on(tmp_path: Path) -> None:
    training = Line(replace(RECIPE, average=0.9))
    best = run(training, RunFolder(tmp_path / "run", {}))
    last = training.validate()["mean"]
    assert last != best["mean"]
    stored = torch.load(tmp_path / "run/line.pt", weights_only=True)
    training.net.load_state_dict(stored["weights"])
    assert training.validate()["mean"] == best["mean"]
    assert stored["record"]["held_out"]["mean"] == round(best["mean"], 5)


def test_a_run_without_progress_stops(tmp_path: Path) -> None:
    steps: list[int] = []
    recipe = replace(RECIPE, steps=60, learning_rate=0.0, patience=2)
    run(Line(recipe), RunFolder(tmp_path / "run", {}), lambda progress: steps.append(progress.step))
    assert steps[-1] == 6


def test_a_loss_that_is_not_finite_stops_the_run_and_leaves_the_last_state(tmp_path: Path) -> None:
    broken = Line(RECIPE, lambda step, losses: losses * (math.nan if step == 8 else 1))
    with pytest.raises(FloatingPointError, match="line: the loss is nan at step 8, batch point 8"):
        run(broken, RunFolder(tmp_path / "run", {}))
    resumed = Line(RECIPE)
    run(resumed, RunFolder(tmp_path / "run", {}, resume=True))
    whole = Line(RECIPE)
    run(whole, RunFolder(tmp_path / "whole", {}))
    assert torch.equal(resumed.weights(), whole.weights())


def test_half_precision_skips_an_overflow_and_halves_the_scale(tmp_path: Path) -> None:
    def overflow(step: int, losses: Tensor) -> Tensor:
        return losses + torch.sqrt(losses * 0) if step == 2 else losses  # finite, with an infinite gradient

    training = Line(replace(RECIPE, precision="float16"), overflow)
    scales: list[float] = []
    run(training, RunFolder(tmp_path / "run", {}), lambda progress: scales.append(progress.figures["loss_scale"]))
    assert scales[1] == 2 * scales[2]
    assert torch.isfinite(training.weights()).all()
    with pytest.raises(FloatingPointError, match="gradient is not finite at step 2"):
        run(Line(RECIPE, overflow), RunFolder(tmp_path / "float32", {}))


@pytest.mark.parametrize("field", ["steps", "batch", "size", "validate_every", "validate_side"])
def test_impossible_recipes_are_refused(field: str) -> None:
    with pytest.raises(ValueError, match=field):
        replace(RECIPE, **{field: 0})
    with pytest.raises(ValueError, match="size must be a multiple of 32"):
        replace(RECIPE, size=40)
    with pytest.raises(ValueError, match="average"):
        replace(RECIPE, average=1.0)


def test_every_pair_is_drawn_once_an_epoch_whatever_the_order_of_asking() -> None:
    pairs = [LabelledPair(np.zeros((8, 8, 3), np.uint8), np.zeros((8, 8), np.uint8), None, str(k)) for k in range(6)]
    asked = Draws(pairs, RECIPE, CPU)
    names = [pair.name for step in (1, 2, 3) for pair in asked.batch(step)]
    assert sorted(names) == [str(k) for k in range(6)]
    assert [pair.name for pair in Draws(pairs, RECIPE, CPU).batch(3)] == names[4:]


def test_pairs_beyond_the_memory_are_read_when_asked_for(tmp_path: Path) -> None:
    write_sequence(SceneConfig("day", 64, 48, frames=4, seed=5), tmp_path / "street")
    folder = open_labelled(tmp_path / "street", Task.DETECTION)
    items = [(folder, i) for i in range(4)]
    kept, read = Reader(items), Reader(items, memory=20_000)
    assert len(read._kept) == 1
    for one, other in zip(kept, read, strict=True):
        assert np.array_equal(one.visible, other.visible) and one.name == other.name
    assert [pair.name for pair in read[1:3]] == [kept[1].name, kept[2].name]
    with pytest.raises(IndexError):
        read[4]


def test_pairs_are_held_out_by_share_or_by_part(tmp_path: Path) -> None:
    for name, count in (("a", 10), ("b", 3)):
        write_sequence(SceneConfig("day", 64, 48, frames=count, seed=5), tmp_path / name)
    folders = [str(tmp_path / "a"), str(tmp_path / "b")]
    train, held_out = read_pairs(PairData(folders, hold_out=0.2))
    assert (len(train), len(held_out)) == (10, 3)
    assert [pair.name[0] for pair in held_out] == ["a", "a", "b"]
    train, held_out = read_pairs(PairData(folders[:1], split="parts"))
    assert (len(train), len(held_out)) == (8, 1)
    with pytest.raises(ValueError, match="hold_out must be above 0"):
        PairData(folders, hold_out=0.0)


def test_a_batch_that_cannot_be_shared_is_refused() -> None:
    three = Processes(torch.device("cpu"))
    three.count = 3
    with pytest.raises(ValueError, match="a batch of 4 cannot be shared by 3 processes"):
        three.part(4)


BOTH = """
import sys
from functools import cache
from cldyn_core.cli import main
from cldyn_core.train import cost, start
cost.FRAME = (64, 96)
start.start = cache(start.start)  # the second training takes the processes that the first one started
sys.exit(any([main(words) for words in {commands}]))
"""


def test_two_processes_do_what_one_does(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("lightning_fabric")
    monkeypatch.setattr(cost, "FRAME", (64, 96))
    write_sequence(SceneConfig("night", 96, 64, frames=5, fps=0.5, seed=3), tmp_path / "street")
    stages = {"visual": ["--recipe.size=32"], "closed-loop": ["--recipe.size=64", "--fusion=paper"]}

    def command(stage: str, devices: int) -> list[str]:
        words = ["train", stage, str(tmp_path / "street"), "--out", str(tmp_path / f"{stage}{devices}"), *stages[stage]]
        words += ["--devices", str(devices), "--device", "cpu", "--recipe.steps", "3", "--recipe.batch", "4"]
        return [*words, "--recipe.validate_every", "2"]

    script = tmp_path / "both.py"
    script.write_text(BOTH.format(commands=[command(stage, 2) for stage in stages]))
    with subprocess.Popen(
        [sys.executable, script], stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True
    ) as two:
        assert [main(command(stage, 1)) for stage in stages] == [0, 0]
        _, errors = two.communicate(timeout=240)
    assert two.returncode == 0, errors
    for stage in stages:
        one, other = (metrics(tmp_path / f"{stage}{devices}") for devices in (1, 2))
        assert one.keys() == other.keys() and (3, "gradient_norm") in one and (3, "validation/mean") in one
        for key, value in one.items():
            assert other[key] == pytest.approx(value, rel=1e-3, abs=1e-5), (stage, key)
        weights = (load_file(tmp_path / f"{stage}{devices}/cldyn.safetensors") for devices in (1, 2))
        first, second = (torch.cat([value.float().flatten() for value in file.values()]) for file in weights)
        # Adam moves a weight whose gradient is nothing but rounding as far as any other.
        assert float(torch.isclose(first, second, rtol=1e-3, atol=1e-5).float().mean()) > 0.95


def metrics(folder: Path) -> dict[tuple[int, str], float]:
    """What a run logged, by step and name."""
    _, *rows = csv.reader((folder / "metrics.csv").read_text().splitlines())
    return {(int(step), name): float(value) for step, name, value in rows}
