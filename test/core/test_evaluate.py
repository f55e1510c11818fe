"""`cldyn eval` as a user calls it: tables, cache, several processes, somebody else's images, clear errors."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import cv2
import numpy as np
import pytest
from evaluation_runs import QUICK, cells, evaluate

from cldyn_core.cli import main
from cldyn_core.data.synthetic import SceneConfig, write_sequence
from cldyn_core.evaluate.methods import parse_method
from cldyn_core.evaluate.units import DataSpec, Measurer, Unit
from cldyn_core.train import cost
from cldyn_core.types import Task

pytest.importorskip("jsonargparse")
pytest.importorskip("faster_coco_eval")
pytest.importorskip("py_sod_metrics")
pytest.importorskip("ultralytics")


@pytest.fixture(scope="module")
def street(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("data") / "street"
    write_sequence(SceneConfig("dusk", 96, 80, frames=4, fps=0.5, seed=7), folder)
    return folder


@pytest.fixture(autouse=True)
def small_frame(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cost, "FRAME", (64, 96))


def test_images_that_somebody_else_fused_are_a_row_like_any_other(street: Path, tmp_path: Path) -> None:
    theirs = tmp_path / "theirs"
    theirs.mkdir()
    for path in (street / "visible").glob("*.png"):
        cv2.imwrite(str(theirs / path.name), cv2.imread(str(path)))
    report = evaluate(tmp_path / "out", "detection", street, "--method", f"theirs={theirs}", "--metrics=[mi]")
    rows = cells(report["tables"][0])
    assert list(rows) == ["visible", "infrared", "average", "maximum", "laplacian", "vfn", "cldyn", "theirs"]
    assert rows["theirs"] == rows["visible"] != rows["infrared"]
    assert rows["theirs"]["mi"] > rows["average"]["mi"] > 0
    page = (tmp_path / "out/report.html").read_text()
    assert "theirs" in page and "cldyn minus vfn" in page
    assert report["command"].startswith("cldyn eval detection")
    (curve,) = report["curves"]
    assert curve["series"]["theirs"] == curve["series"]["visible"] and len(curve["series"]["vfn"]) == 101


def test_what_was_measured_is_not_measured_again(street: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    words = ("fusion", street, "--methods=[average, vfn]", "--metrics=[en, cc]")
    first = evaluate(tmp_path, *words)
    (kept,) = (tmp_path / "cache").glob("average-*.jsonl")
    whole = kept.read_text()
    kept.write_text(whole[:-30])  # interrupted while the last record was written
    from cldyn_core.evaluate import units

    loads: list[int] = []
    measure = units.Measurer.measure
    monkeypatch.setattr(
        units.Measurer, "measure", lambda self, index, wanted: (loads.append(index), measure(self, index, wanted))[1]
    )
    again = evaluate(tmp_path, *words)
    assert loads == [3] and kept.read_text() == whole
    assert again["tables"] == first["tables"]


def test_a_flicker_is_the_same_in_whatever_order_a_process_gets_its_frames(street: Path) -> None:
    units = [Unit(parse_method(name, Task.NONE, "default", {}), flicker=True) for name in ("average", "maximum")]
    ordered, mixed = (Measurer(DataSpec((str(street),)), units, "cpu") for _ in range(2))
    records = [ordered.measure(index, (0, 1)) for index in range(4)]
    for index in (3, 1, 0, 2, 3, 0, 2, 1):
        np.testing.assert_equal(mixed.measure(index, (0, 1)), records[index])


def test_other_classes_are_other_records(street: Path, tmp_path: Path) -> None:
    words = ("detection", tmp_path / "street", "--methods=[visible]")
    shutil.copytree(street, tmp_path / "street")
    first = evaluate(tmp_path / "out", *words)
    classes = tmp_path / "street/classes.txt"
    classes.write_text("".join(reversed(classes.read_text().splitlines(keepends=True))))
    assert cells(evaluate(tmp_path / "out", *words)["tables"][1]) != cells(first["tables"][1])


def test_one_image_does_not_serve_two_data_sets(
    street: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    shutil.copytree(street, tmp_path / "other")
    theirs = tmp_path / "theirs"
    shutil.copytree(street / "visible", theirs)
    words = ["eval", "fusion", str(street), str(tmp_path / "other"), "--methods=[average]", f"--method=theirs={theirs}"]
    words += ["--metrics=[en]", "--out", str(tmp_path / "out"), *QUICK]
    assert main(words) == 1
    assert "serves street/000000 and other/000000" in capfd.readouterr().err
    for name in ("street", "other"):
        shutil.copytree(street / "visible", theirs / name)
    assert main(words) == 0


def test_two_processes_measure_what_one_does(street: Path, tmp_path: Path) -> None:
    words = ("fusion", street, "--methods=[maximum, vfn]", "--metrics=[qabf, sd]")
    one = evaluate(tmp_path / "one", *words)
    assert main(["eval", *map(str, words), "--out", str(tmp_path / "two"), *QUICK, "--workers=2"]) == 0
    two = json.loads((tmp_path / "two/report.json").read_text())
    for name, row in cells(one["tables"][0]).items():
        assert cells(two["tables"][0])[name] == pytest.approx(row, rel=1e-6)


def test_fusion_shows_cldyn_for_every_task_and_its_plans(street: Path, tmp_path: Path) -> None:
    report = evaluate(tmp_path, "fusion", street)
    assert {"vfn", "cldyn-detection"} <= set(cells(report["tables"][0]))
    assert [column["key"] for column in report["tables"][0]["columns"]] == ["mi", "qabf", "qcb", "qcv", "cc"]
    (plans,) = report["histograms"]
    assert sum(plans["series"]["cldyn-detection"]) == pytest.approx(1)


def test_a_sequence_shows_its_flicker(street: Path, tmp_path: Path) -> None:
    report = evaluate(tmp_path, "fusion", street, "--methods=[average, vfn]", "--metrics=[qcc]", "--flicker=true")
    rows = cells(report["tables"][0])
    assert list(rows["vfn"]) == ["cc", "flicker_brightness", "flicker_structure"]
    assert rows["average"]["flicker_brightness"] == pytest.approx(0, abs=0.3)  # as steady as its sources
    counts = report["tables"][0]["rows"][0]["values"]
    assert (counts["cc"]["count"], counts["flicker_brightness"]["count"]) == (4, 2)


def test_complex_scenes_have_a_column_each_and_a_curve(street: Path, tmp_path: Path) -> None:
    conditions = "--degradations=[alpha0.4, alpha0.8, fog-100m]"
    report = evaluate(tmp_path, "complex", street, conditions, "--task=none", "--methods=[average, vfn]")
    titles = [column["title"] for column in report["tables"][0]["columns"]]
    assert titles == ["as they are", "alpha0.4", "alpha0.8", "fog-100m"]
    rows = cells(report["tables"][0])
    assert all(len(set(row.values())) == 4 for row in rows.values())
    (curve,) = report["curves"]
    assert [point[0] for point in curve["series"]["vfn"]] == [0.4, 0.8, 1.0]


def test_ablation_puts_weights_side_by_side(street: Path, tmp_path: Path) -> None:
    from cldyn_core.checkpoint import load_weights, resolve_weights, save_weights

    model = load_weights(resolve_weights("default", "cldyn"))
    save_weights(model, tmp_path / "mine.safetensors")
    report = evaluate(tmp_path / "out", "ablation", street, "--method", f"mine={tmp_path / 'mine.safetensors'}")
    rows = cells(report["tables"][0])
    assert list(rows) == ["vfn", "cldyn", "mine"]
    assert rows["mine"] == rows["cldyn"]
    assert {"detection.map50", "segmentation.miou", "saliency.f_mean"} <= set(rows["vfn"])


def test_ablation_says_why_a_task_is_not_there(street: Path, tmp_path: Path) -> None:
    shutil.copytree(street, tmp_path / "few", ignore=shutil.ignore_patterns("saliency", "semantic"))
    report = evaluate(tmp_path / "out", "ablation", tmp_path / "few")
    assert "detection.map50" in cells(report["tables"][0])["vfn"]
    assert report["notes"]


def test_cross_detector_has_a_table_a_detector(street: Path, tmp_path: Path) -> None:
    from cldyn_core import tasks
    from cldyn_core.types import M3FD_CLASSES

    other = tasks.build("yolov5s", M3FD_CLASSES)
    tasks.save_network(other, tmp_path / "other.safetensors", {})
    report = evaluate(
        tmp_path / "out", "cross-detector", street, f"--detectors=[default, {tmp_path / 'other.safetensors'}]"
    )
    assert [table["title"].split()[0] for table in report["tables"]] == ["default", "other"]
    assert all(list(cells(table)) == ["vfn", "cldyn"] for table in report["tables"])


def test_efficiency_counts_what_a_method_costs(street: Path, tmp_path: Path) -> None:
    rows = cells(
        evaluate(tmp_path, "efficiency", street, "--repeats=1", "--methods=[average, vfn, cldyn]")["tables"][0]
    )
    assert rows["vfn"]["trainable"] * 1e6 == 34761
    assert rows["cldyn"]["parameters"] > rows["cldyn"]["trainable"] > rows["vfn"]["trainable"]
    assert rows["cldyn"]["gflops"] > 2 * rows["vfn"]["gflops"]
    assert all(row["latency"] > 0 for row in rows.values())


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["fusion"], "nothing to evaluate on"),
        (["fusion", "nowhere"], "nowhere"),
        (["fusion", "{street}", "--methods=[best]"], "unknown method 'best'"),
        (["fusion", "{street}", "--methods=[vfn, vfn]"], "'vfn' is there twice"),
        (["fusion", "{street}", "--methods=[cldyn]"], "needs a task"),
        (["fusion", "{street}", "--metrics=[beauty]"], 'no fusion metric "beauty"'),
        (["fusion", "{street}", "--method=theirs=nowhere"], "neither a folder"),
        (["fusion", "{street}", "--method=theirs={street}"], "no fused image for"),
        (["fusion", "{street}", "--methods=[average]", "--reference=best"], "reference 'best'"),
        (["complex", "{street}", "--degradations=[hail]"], "unknown degradation 'hail'"),
        (["segmentation", "{street}", "--segmentation=none.safetensors"], "none.safetensors"),
        (["fusion", "{street}", "--flicker=true", "--limit=2"], "flicker needs every frame"),
        (["fusion", "{street}", "--methods=[cldyn-detection-stream]"], "single pairs make no stream"),
        (["detection", "{street}", "--method=cldyn-detection-stream"], "single pairs make no stream"),
        (["detection", "{street}", "--split=held_out", "--scene_gap=9"], "nothing is held out"),
        (["robustness", "{street}", "--set=runs"], "expected NAME=FOLDER"),
        (["robustness", "{street}", "--set=a=default", "--set=a=default"], "names of their own"),
        (["robustness", "{street}", "--set=a={street}"], "set 'a' has no fusion network"),
        (["detection", "{street}", "--rounds=0"], "rounds"),
        (["detection", "{street}", "--left_out=[Tram]"], "'Tram' is no class"),
    ],
)
def test_what_cannot_be_evaluated_is_said(
    words: list[str], message: str, street: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    status = main(["eval", *(word.format(street=street) for word in words), "--out", str(tmp_path), "--workers=1"])
    assert status == 1
    assert message in capfd.readouterr().err


def test_bundled_weights_are_a_method_by_their_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    spec = parse_method("theirs=paper", Task.DETECTION, "default", {})
    assert (spec.kind, spec.source) == ("cldyn", "paper")
    with pytest.raises(ValueError, match=r"nor one of the bundled weights \(default, paper\)"):
        parse_method("theirs=nothing", Task.DETECTION, "default", {})
    (tmp_path / "paper").mkdir()
    assert parse_method("theirs=paper", Task.DETECTION, "default", {}).kind == "folder"
