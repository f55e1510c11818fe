"""`cldyn train` as a user calls it: from a folder of pairs to weights, pictures and a record, with one command each."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from cldyn_core import CLDyN, tasks
from cldyn_core.checkpoint import load_weights
from cldyn_core.cli import main
from cldyn_core.data.synthetic import SceneConfig, write_sequence
from cldyn_core.train import cost
from cldyn_core.train.task_command import start_from

pytest.importorskip("jsonargparse")

SMALL = ["--recipe.steps=2", "--recipe.batch=2", "--recipe.size=64", "--recipe.validate_every=1", "--device=cpu"]


@pytest.fixture(scope="module")
def street(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("data") / "street"
    write_sequence(SceneConfig("dusk", 96, 64, frames=6, fps=0.5, seed=5), folder)
    return folder


@pytest.fixture
def small_frame(monkeypatch: pytest.MonkeyPatch) -> None:
    """Counts the arithmetic of a smaller frame: seconds less a command."""
    monkeypatch.setattr(cost, "FRAME", (64, 96))


def rows(run: Path) -> dict[tuple[int, str], float]:
    _, *found = csv.reader((run / "metrics.csv").read_text().splitlines())
    return {(int(step), name): float(value) for step, name, value in found}


def test_stage_one_with_one_command_leaves_a_readable_run(street: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    assert main(["train", "visual", str(street), "--out", str(run), *SMALL, "--hold_out=0.5"]) == 0
    record = json.loads((run / "cldyn.json").read_text())["record"]
    assert (record["stage"], record["data"], record["trainable_parameters"]) == ("visual", "3 pairs, 3 held out", 34761)
    assert 22 < record["gigaflops_of_a_frame_640x480"] < 23  # 9.9 G multiply-adds, and 1.3 for a dense Sobel
    assert {"validation/mean", "validation/average", "validation/maximum"} <= {name for _, name in rows(run)}
    assert json.loads((run / "config.json").read_text())["recipe"]["size"] == 64
    assert json.loads((run / "environment.json").read_text())["torch"] == torch.__version__
    assert load_weights(run / "cldyn.safetensors").architecture.encoder_blocks == 2


@pytest.mark.usefixtures("small_frame")
def test_tensorboard_shows_curves_and_pictures(street: Path, tmp_path: Path) -> None:
    accumulator = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    run = tmp_path / "run"
    pytest.importorskip("ultralytics")
    assert main(["train", "closed-loop", str(street), "--out", str(run), *SMALL]) == 0
    shown = accumulator.EventAccumulator(str(run), {"images": 0, "scalars": 0, "tensors": 0}).Reload()
    assert {"detection/gain", "validation/mean"} <= set(shown.Tags()["scalars"])
    pictures = shown.Images("detection/before_after_difference")
    assert [picture.step for picture in pictures] == [0, 1, 2]
    assert (pictures[0].width, pictures[0].height) == (3 * 96, 64)
    assert "detection/plan/text_summary" in shown.Tags()["tensors"]


@pytest.mark.usefixtures("small_frame")
def test_from_a_task_network_through_the_loop_to_the_joint_baseline(
    street: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("transformers")
    task = ["train", "task", str(street), "--network", "segformer-b0", "--given", "mixed", "--note", "for a test"]
    assert main([*task, "--out", str(tmp_path / "task"), *SMALL]) == 0
    weights = tmp_path / "task/network.safetensors"
    assert json.loads(weights.with_suffix(".json").read_text())["record"]["note"] == "for a test"
    loop = ["train", "closed-loop", str(street), "--task_tokens=false", "--segmentation.weights", str(weights)]
    loop += ["--out", str(tmp_path / "loop")]
    assert main([*loop, *SMALL]) == 0
    assert {"segmentation/loss", "validation/segmentation"} <= {name for _, name in rows(tmp_path / "loop")}
    assert main([*loop, *SMALL]) == 1
    assert "is not empty" in capfd.readouterr().err
    assert main([*loop, *SMALL, "--resume", "true"]) == 0
    joint = ["train", "joint", "--segmentation.folders", f"[{street}]", "--segmentation.weights", str(weights)]
    assert main([*joint, "--out", str(tmp_path / "joint"), *SMALL]) == 0
    moved = load_file(tmp_path / "joint/segmentation.safetensors")
    first = load_file(weights)
    assert not all(torch.equal(moved[name], first[name]) for name in first)
    record = json.loads((tmp_path / "joint/cldyn.json").read_text())["record"]
    assert record["trainable_parameters"] > 3_000_000
    stage_two = json.loads((tmp_path / "loop/cldyn.json").read_text())["record"]
    assert stage_two["trainable_parameters"] == 462_824 - 2 * 64  # the paper counts the prototypes
    costs = (stage_two["gigaflops_of_a_frame_640x480"], record["gigaflops_of_a_frame_640x480"])
    assert costs[0]["segmentation"] > costs[1]["segmentation"]


@pytest.mark.usefixtures("small_frame")
@pytest.mark.parametrize("compensation", ["fixed_choice", "no_bank", "convolution"])
def test_ablations_train_and_their_weights_load(street: Path, tmp_path: Path, compensation: str) -> None:
    pytest.importorskip("ultralytics")
    run = tmp_path / "run"
    words = ["train", "closed-loop", str(street), "--out", str(run), "--compensation", compensation]
    assert main([*words, *SMALL, "--recipe.closed_loop", "false", "--recipe.penalty", "0"]) == 0
    model = load_weights(run / "cldyn.safetensors")
    assert model.architecture.compensation == compensation
    start = load_weights(Path(tasks.__file__).parents[1] / "weights/cldyn.safetensors")
    assert torch.equal(model.vfn.decoder.out.weight, start.vfn.decoder.out.weight)
    assert rows(run)[0, "validation/mean"] == 1.0


@pytest.mark.usefixtures("small_frame")
def test_configuration_is_printed_read_and_checked(
    street: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit):
        main(["train", "visual", str(street), "--print_config=comments", "--recipe.steps", "2"])
    text = capfd.readouterr().out
    assert "# Pairs (of each task) in a step, all processes together." in text
    config = tmp_path / "my.yaml"
    config.write_text(text)
    assert main(["train", "visual", "--config", str(config), "--out", str(tmp_path / "run"), *SMALL[1:]]) == 0
    assert max(step for step, _ in rows(tmp_path / "run")) == 2
    with pytest.raises(SystemExit):
        main(["train", "visual", str(street), "--recipe.steps", "many"])
    assert "recipe.steps" in capfd.readouterr().err


def test_what_cannot_be_trained_is_said(street: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "plain/infrared").mkdir(parents=True)
    (tmp_path / "plain/visible").mkdir()
    for name, side in (("infrared", "infrared"), ("visible", "visible")):
        picture = next((street / side).glob("*.png"))
        (tmp_path / "plain" / name / "a.png").write_bytes(picture.read_bytes())
    assert main(["train", "closed-loop", str(tmp_path / "plain"), "--out", str(tmp_path / "run"), *SMALL]) == 1
    error = capfd.readouterr().err
    assert "nothing to train for" in error and "no labels for detection" in error
    assert not (tmp_path / "run").exists()
    assert main(["train", "task", str(street), "--network", "yolo99", "--out", str(tmp_path / "run"), *SMALL]) == 1
    assert "unknown model 'yolo99'" in capfd.readouterr().err


def test_a_start_from_foreign_tensors_takes_what_fits(tmp_path: Path) -> None:
    first, second = tasks.build("ctdnet-small", ()), tasks.build("ctdnet-small", ())
    state = first.module.state_dict()
    backbone = {name: value.half() for name, value in state.items() if not name.startswith("head")}
    save_file({k: v.contiguous() for k, v in backbone.items()}, tmp_path / "backbone.safetensors")
    assert start_from(second, tmp_path / "backbone.safetensors") == len(backbone)
    save_file({"odd": torch.zeros(1)}, tmp_path / "odd.safetensors")
    with pytest.raises(ValueError, match="only 0 of the"):
        start_from(second, tmp_path / "odd.safetensors")


def test_every_ablation_begins_as_the_identity() -> None:
    from cldyn_core.model import Architecture

    visible, infrared = torch.rand(2, 3, 16, 20), torch.rand(2, 1, 16, 20)
    for compensation in ("full", "fixed_choice", "no_bank", "convolution"):
        model = CLDyN(Architecture(compensation=compensation)).eval()  # type: ignore[arg-type]
        begun = model.begin(visible, infrared)
        assert torch.equal(model.compensate(begun, torch.rand(2, 4, 3, 3)).luma, model.fuse(begun).luma)
    with pytest.raises(ValueError, match="unknown compensation 'none'"):
        CLDyN(Architecture(compensation="none"))  # type: ignore[arg-type]
