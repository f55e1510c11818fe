"""`cldyn eval switch`, `cldyn eval robustness`, and the loss beside the figures: networks of every task, tiny pairs."""

from __future__ import annotations

import shutil
from math import isnan
from pathlib import Path

import numpy as np
import pytest
import torch
from evaluation_runs import cells, evaluate

from cldyn_core import tasks
from cldyn_core.bench.subject import write_subject
from cldyn_core.checkpoint import resolve_weights
from cldyn_core.data.labelled import open_labelled
from cldyn_core.data.synthetic import SEMANTIC_CLASSES, SceneConfig, write_sequence
from cldyn_core.evaluate.figures import combined, mean_figure
from cldyn_core.evaluate.methods import Methods, MethodSpec
from cldyn_core.evaluate.robustness import _Measured, _tables
from cldyn_core.types import Task, as_batch

for package in ("jsonargparse", "faster_coco_eval", "py_sod_metrics", "ultralytics", "transformers"):
    pytest.importorskip(package)

LOOPS = ["cldyn-detection", "cldyn-segmentation", "cldyn-saliency"]


@pytest.fixture(scope="module")
def street(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("data") / "street"
    write_sequence(SceneConfig("dusk", 96, 64, frames=3, fps=0.5, seed=7), folder)
    return folder


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A set: a compensation that changes the image, the bundled detector, two random networks."""
    folder = tmp_path_factory.mktemp("weights")
    write_subject(folder / "cldyn.safetensors")
    torch.manual_seed(0)
    for suffix in (".safetensors", ".json"):
        shutil.copy(resolve_weights("default", "detector").with_suffix(suffix), folder)
    tasks.save_network(tasks.build("segformer-b0", SEMANTIC_CLASSES), folder / "segmenter.safetensors", {})
    tasks.save_network(tasks.build("ctdnet-small", []), folder / "saliency.safetensors", {})
    return folder


def options(weights: Path) -> list[str]:
    files = {"fusion": "cldyn", "segmentation": "segmenter", "saliency": "saliency"}
    return [f"--{option}={weights / name}.safetensors" for option, name in files.items()]


def test_switch_judges_every_loop_by_every_task(street: Path, weights: Path, tmp_path: Path) -> None:
    report = evaluate(tmp_path, "switch", street, *options(weights))
    figures, apart = (cells(table) for table in report["tables"])
    assert list(figures) == ["vfn", *LOOPS] and report["notes"] == []
    keys = ["detection.map50", "detection.loss", "segmentation.miou", "segmentation.loss"]
    assert [column["key"] for column in report["tables"][0]["columns"]] == [*keys, "saliency.f_mean", "saliency.loss"]
    assert all(figures[name]["saliency.loss"] != figures["vfn"]["saliency.loss"] for name in LOOPS)
    titles = {column["key"]: column["title"] for column in report["tables"][1]["columns"]}
    far = {f"cldyn-{task}": {titles[key]: value for key, value in row.items()} for task, row in apart.items()}
    assert list(far) == LOOPS
    for name, row in far.items():
        assert set(row) == {"vfn", *LOOPS} - {name} and row["vfn"] > 0  # of itself there is no distance
        assert all(row[other] == pytest.approx(far[other][name]) for other in LOOPS if other != name)
    assert max(row[other] for row in far.values() for other in row if other != "vfn") > 0


def test_the_loss_is_that_of_the_network_on_the_fused_image(street: Path, weights: Path, tmp_path: Path) -> None:
    report = evaluate(tmp_path, "saliency", street, "--methods=[vfn]", "--loss=true", *options(weights))
    methods = Methods(torch.device("cpu"))
    network = methods.network(Task.SALIENCY, str(weights / "saliency.safetensors"))
    fuse = methods.build(MethodSpec("vfn", "vfn", str(weights / "cldyn.safetensors")))
    folder = open_labelled(street, Task.SALIENCY)
    losses = []
    with torch.inference_mode():
        for pair in map(folder.load, range(len(folder))):
            losses.append(float(network.losses(as_batch(fuse(pair).image), [pair.target])))
    assert cells(report["tables"][0])["vfn"]["loss"] == pytest.approx(np.mean(losses), rel=1e-4)


def test_each_task_has_its_own_folders(street: Path, weights: Path, tmp_path: Path) -> None:
    for folder, kept in (("boxes", "labels"), ("maps", "semantic")):
        shutil.copytree(street, tmp_path / folder)
        for name in {"labels", "semantic", "saliency"} - {kept}:
            shutil.rmtree(tmp_path / folder / name)
    report = evaluate(
        tmp_path / "out", "switch", tmp_path / "boxes", tmp_path / "maps", *options(weights), "--methods=[vfn]"
    )
    assert report["facts"]["data of detection"] == "3 pairs of boxes"
    assert report["facts"]["data of segmentation"] == "3 pairs of maps"
    (note,) = report["notes"]
    assert "no labels for saliency" in note
    assert set(cells(report["tables"][0])["vfn"]) == {
        "detection.map50", "detection.loss", "segmentation.miou", "segmentation.loss"
    }  # fmt: skip


def test_robustness_compares_what_sets_lose(street: Path, weights: Path, tmp_path: Path) -> None:
    other = tmp_path / "other"
    other.mkdir()
    write_subject(other / "cldyn.safetensors")
    torch.manual_seed(1)
    tasks.save_network(tasks.build("ctdnet-small", []), other / "saliency.safetensors", {})
    sets = [f"--set=clean={weights}", f"--set=rain={other}", "--set=bundled=default"]
    report = evaluate(tmp_path / "out", "robustness", street, *sets, "--degradations=[alpha0.4, fog-100m]")
    tables = {table["key"]: table for table in report["tables"]}
    titles = [column["title"] for column in tables["detection"]["columns"]]
    assert titles == ["as they are", "alpha0.4", "fog-100m"]
    assert list(cells(tables["detection"])) == ["clean", "bundled"]
    assert list(cells(tables["segmentation"])) == ["clean", "bundled"]
    figures, lost, share = (cells(tables[f"detection{kind}"]) for kind in ("", "-lost", "-share"))
    assert list(share) == ["bundled"] and list(cells(tables["saliency-share"])) == ["rain", "bundled"]
    for name, row in lost.items():
        assert row == {f"c{i}": pytest.approx(figures[name]["c0"] - figures[name][f"c{i + 1}"]) for i in (0, 1)}
    assert "rain: no detector.safetensors" in report["notes"]
    assert "saliency network of rain" in report["facts"]
    alone = evaluate(tmp_path / "alone", "robustness", street, sets[0], "--degradations=[alpha0.4]")
    assert {table["key"] for table in alone["tables"]} >= {"segmentation", "segmentation-lost"}
    assert not any(table["key"].endswith("-share") for table in alone["tables"])


def test_a_combined_figure_is_resampled_with_its_parts() -> None:
    first, second = mean_figure([3.0, 5.0, 4.0, 8.0]), mean_figure([1.0, 3.0, 2.0, 6.0])
    difference = combined(np.subtract, first, second)
    assert difference.value == 2.0 and difference.count == 4
    np.testing.assert_allclose(difference.drawn(50), 2.0)  # each image differs by 2, whichever are drawn
    assert np.ptp(first.drawn(50)) > 0


def test_what_is_lost_is_a_share_of_what_the_baseline_loses() -> None:
    of_sets = {"clean": [(0.8, 0.6), (0.4, 0.2), (0.9, 0.7)], "rain": [(0.7, 0.5), (0.5, 0.3), (0.8, 0.6)]}
    found = {
        name: _Measured([mean_figure(of_images) for of_images in figures], {}) for name, figures in of_sets.items()
    }
    whole, lost, share = _tables(Task.SALIENCY, ["", "fog-100m", "glare"], found, "clean", 20)
    values = {table.key: {row.name: [cell.value for cell in row.values.values()] for row in table.rows}
              for table in (whole, lost, share)}  # fmt: skip
    assert values["saliency"] == {"clean": pytest.approx([0.7, 0.3, 0.8]), "rain": pytest.approx([0.6, 0.4, 0.7])}
    assert values["saliency-lost"] == {"clean": pytest.approx([0.4, -0.1]), "rain": pytest.approx([0.2, -0.1])}
    assert list(values["saliency-share"]) == ["rain"]
    fog, glare = values["saliency-share"]["rain"]
    assert fog == pytest.approx(0.5) and isnan(glare)  # clean loses nothing in glare
    assert (whole.reference, lost.reference) == ("clean", "clean")
