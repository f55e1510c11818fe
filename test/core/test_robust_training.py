"""What makes pairs worse in training, fused pairs that views are drawn from, scenes that are held out."""

from __future__ import annotations

import json
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch

from cldyn_core.checkpoint import resolve_weights
from cldyn_core.cli import main
from cldyn_core.data.labelled import open_labelled
from cldyn_core.data.synthetic import SceneConfig, write_sequence
from cldyn_core.engine.engine import FusionEngine
from cldyn_core.train import fused_pairs
from cldyn_core.train.draws import Draws
from cldyn_core.train.fused_pairs import FusedPairs
from cldyn_core.train.processes import Processes
from cldyn_core.train.reading import PairData, read_pairs
from cldyn_core.train.recipe import Recipe
from cldyn_core.types import FramePair, LabelledPair, LabelMap, Task

pytest.importorskip("jsonargparse")


def pairs(count: int, seed: int = 0) -> list[LabelledPair]:
    rng = np.random.default_rng(seed)
    return [
        LabelledPair(
            rng.integers(60, 200, (64, 64, 3), np.uint8), rng.integers(60, 200, (64, 64), np.uint8), None, f"{i}"
        )
        for i in range(count)
    ]


def differ(a: LabelledPair, b: LabelledPair) -> bool:
    return not (np.array_equal(a.visible, b.visible) and np.array_equal(a.infrared, b.infrared))


def test_the_share_of_the_pairs_is_made_worse_always_the_same_ones() -> None:
    recipe = Recipe(degraded=0.5, size=64, batch=40)
    draws = Draws(pairs(40), recipe, Processes(torch.device("cpu")))
    batch = draws.batch(1)
    worse = draws.degraded(batch, 1)
    changed = sum(differ(a, b) for a, b in zip(batch, worse, strict=True))
    assert 8 <= changed <= 32
    assert not any(differ(a, b) for a, b in zip(worse, draws.degraded(batch, 1), strict=True))
    assert any(differ(a, b) for a, b in zip(worse, draws.degraded(batch, 2), strict=True))
    clean = Draws(pairs(4), Recipe(size=64, batch=40), Processes(torch.device("cpu")))
    assert clean.degraded(batch, 1) == batch


@pytest.mark.parametrize(
    ("field", "fault"),
    [
        ({"degraded": 1.5}, "degraded must be in 0..1"),
        ({"degraded": 0.5, "degradations": []}, "degradations must name at least one"),
        ({"degradations": ["snow"]}, "unknown degradation 'snow'"),
    ],
)
def test_a_recipe_names_what_is_wrong_with_its_degradations(field: dict, fault: str) -> None:
    with pytest.raises(ValueError, match=fault):
        Recipe(**field)


def test_fused_pairs_are_what_the_engine_makes_of_them() -> None:
    engine = FusionEngine()
    (pair,) = pairs(1)
    fused = FusedPairs([pair], engine, Recipe(degraded=0.5, degradations=["dim:alpha=0.2"]), worse=2)
    assert len(fused) == 3
    assert np.array_equal(fused[0].visible, engine.step(FramePair(pair.visible, pair.infrared)).fused)
    assert fused[1].visible.mean() < 0.6 * fused[0].visible.mean()
    assert fused[1].name == fused[0].name


@pytest.fixture(scope="module")
def street(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("data") / "street"
    write_sequence(SceneConfig("dusk", 96, 64, frames=4, fps=0.5, seed=5), folder)
    return folder


def test_classes_may_count_as_background(street: Path) -> None:
    names = ("background", "person", "car")
    kept = open_labelled(street, Task.SEGMENTATION, names=names).load(0).target
    merged = open_labelled(street, Task.SEGMENTATION, names=names, background=["road", "sky"]).load(0).target
    assert isinstance(kept, LabelMap)
    assert isinstance(merged, LabelMap)
    own = json.loads((street / "meta.json").read_text())["semantic_classes"]
    raw = cv2.imread(str(street / "semantic/000000.png"), cv2.IMREAD_UNCHANGED)
    road = np.isin(raw, [own.index("road"), own.index("sky")])
    assert road.any()
    assert (kept.classes[road] == 255).all()
    assert (merged.classes[road] == 0).all()
    assert np.array_equal(kept.classes[~road], merged.classes[~road])


def test_a_task_network_trains_on_pairs_fused_once(street: Path, tmp_path: Path) -> None:
    options = ["--recipe.steps=2", "--recipe.batch=2", "--recipe.size=64", "--recipe.validate_every=1"]
    once = ["--recipe.fuse_once=true", "--recipe.degraded=0.5", "--recipe.worse_copies=1"]
    train = ["train", "task", str(street), "--network", "ctdnet-small", "--device=cpu", *options, *once]
    assert main([*train, "--out", str(tmp_path / "run")]) == 0
    record = json.loads((tmp_path / "run/network.json").read_text())["record"]
    assert (record["given"], record["data"]) == ("fused", "3 pairs, 1 held out")
    assert record["recipe"]["degraded"] == 0.5
    assert main([*train, "--given=visible", "--out", str(tmp_path / "other")]) != 0


def test_a_task_network_follows_the_compensation_of_its_own_loop(
    street: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    engines: list[FusionEngine] = []
    fuse = fused_pairs._fused
    monkeypatch.setattr(fused_pairs, "_fused", lambda pair, engine: (engines.append(engine), fuse(pair, engine))[1])
    options = ["--recipe.steps=1", "--recipe.batch=1", "--recipe.size=64", "--recipe.fuse_once=true", "--device=cpu"]
    train = ["train", "task", str(street), *options, "--given=compensated"]
    out = tmp_path / "run"
    init = str(resolve_weights("default", "saliency"))
    assert main([*train, "--init", init, "--out", str(out)]) == 0
    assert json.loads((out / "network.json").read_text())["record"]["given"] == "compensated"
    assert len(engines) == 4
    assert all((e.settings.task, e.settings.saliency_weights) == (Task.SALIENCY, init) for e in engines)
    assert main([*train, "--network=ctdnet-small", "--out", str(tmp_path / "other")]) != 0
    assert "closes the loop" in capsys.readouterr().err


def test_no_scene_teaches_and_judges(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    numbers = [0, 4, 8, 100, 104, 200, 204, 208, 300, 304]
    for number in numbers:
        for kind, shape in (("visible", (8, 8, 3)), ("infrared", (8, 8)), ("semantic", (8, 8))):
            (tmp_path / kind).mkdir(exist_ok=True)
            if kind != "semantic" or number != 200:  # one pair of a scene has no labels
                cv2.imwrite(str(tmp_path / kind / f"{number:05d}N.png"), rng.integers(0, 2, shape, np.uint8))
    (tmp_path / "meta.json").write_text('{"semantic_classes": ["background", "person"]}')
    data = PairData([str(tmp_path)], hold_out=0.4, scene_gap=20)
    all_train, all_held = read_pairs(data)
    train, held = read_pairs(data, Task.SEGMENTATION, ("background", "person"))
    scene = lambda pair: int(pair.name.rpartition("/")[2][:5]) // 100  # noqa: E731
    held_scenes = {scene(pair) for pair in all_held}
    assert {scene(pair) for pair in all_train}.isdisjoint(held_scenes)
    assert {scene(pair) for pair in held} <= held_scenes  # whatever labels are missing, the scenes are the same
    assert len(all_train) + len(all_held) == 10
    assert len(train) + len(held) == 9
