"""`cldyn eval stream` on a rendered sequence, with a compensation that changes the image."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from evaluation_runs import cells, evaluate

from cldyn_core.bench.subject import write_subject
from cldyn_core.cli import main
from cldyn_core.data.synthetic import SceneConfig, write_sequence
from cldyn_core.evaluate.stream_records import likeness
from cldyn_core.types import BlockPlan, CompensationPlan, LoopMode, StepResult, Task

pytest.importorskip("jsonargparse")
pytest.importorskip("faster_coco_eval")
pytest.importorskip("ultralytics")

FRAMES = 5


@pytest.fixture(scope="module")
def street(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("data") / "street"
    write_sequence(SceneConfig("dusk", 96, 64, frames=FRAMES, fps=30, seed=7), folder)
    return folder


@pytest.fixture(scope="module")
def report(street: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    folder = tmp_path_factory.mktemp("stream")
    write_subject(folder / "random.safetensors")
    return evaluate(
        folder / "out",
        "stream",
        street,
        f"--fusion={folder / 'random.safetensors'}",
        "--periods=[1, 3, 15]",
        "--metrics=[mi, qabf]",
    )


def test_plans_are_made_as_often_as_the_period_says(report: dict[str, Any]) -> None:
    rows = cells(report["tables"][0])
    assert list(rows) == ["exact", "stream, period 1", "stream, period 3", "stream, period 15", "open"]
    assert [row["planned"] for row in rows.values()] == [1.0, 1.0, 2 / FRAMES, 1 / FRAMES, None]


def test_the_first_frame_and_exact_itself_are_alike(report: dict[str, Any]) -> None:
    rows = cells(report["tables"][0])
    assert rows["exact"]["agreement"] == rows["exact"]["sets"] == 1.0
    assert rows["exact"]["psnr"] == rows["exact"]["least_psnr"] == "inf"
    for name in ("stream, period 1", "stream, period 3"):
        assert 1 / FRAMES <= rows[name]["agreement"] <= 1.0  # the first frame is planned as exact plans it
        assert float(rows[name]["least_psnr"]) <= float(rows[name]["psnr"])
    assert rows["open"]["agreement"] is None and 0 < rows["open"]["least_psnr"] < rows["open"]["psnr"] < 60


def test_quality_and_its_differences_from_exact(report: dict[str, Any]) -> None:
    quality, differences = (cells(report["tables"][i]) for i in (1, 2))
    assert {"mi", "qabf", "map"} <= set(quality["open"])  # the renderer writes boxes
    for name, row in differences.items():
        for key, value in row.items():
            assert value == pytest.approx(quality[name][key] - quality["exact"][key], abs=1e-9)
    assert "exact" not in differences and abs(differences["open"]["mi"]) > 1e-3
    assert report["notes"] == []


def test_an_untrained_compensation_is_told(street: Path, tmp_path: Path) -> None:
    from cldyn_core import CLDyN
    from cldyn_core.checkpoint import save_weights

    save_weights(CLDyN(), tmp_path / "new.safetensors")
    words = [f"--fusion={tmp_path / 'new.safetensors'}", "--periods=[2]", "--metrics=[]", "--frames=3"]
    found = evaluate(tmp_path / "out", "stream", street, *words)
    rows = cells(found["tables"][0])
    assert rows["open"]["psnr"] == "inf" and rows["stream, period 2"]["planned"] == pytest.approx(2 / 3)
    assert "no plan changes the image" in found["notes"][0]


def test_a_stream_flickers_beside_single_pairs(street: Path, report: dict[str, Any], tmp_path: Path) -> None:
    write_subject(tmp_path / "random.safetensors")
    words = [f"--fusion={tmp_path / 'random.safetensors'}", "--metrics=[mi]", "--flicker=true"]
    methods = "--methods=[vfn, cldyn-detection, cldyn-detection-stream]"
    found = evaluate(tmp_path / "out", "fusion", street, methods, *words)
    rows = cells(found["tables"][0])
    assert list(rows) == ["vfn", "cldyn-detection", "cldyn-detection-stream"]
    counts = found["tables"][0]["rows"][2]["values"]
    assert (counts["mi"]["count"], counts["flicker_brightness"]["count"]) == (FRAMES, FRAMES - 2)
    known = cells(report["tables"][0])
    for name, way in (("cldyn-detection", "exact"), ("cldyn-detection-stream", "stream, period 15")):
        for key in ("flicker_brightness", "flicker_structure"):
            assert rows[name][key] == pytest.approx(known[way][key], abs=0.02)
    assert set(found["histograms"][0]["series"]) == {"cldyn-detection", "cldyn-detection-stream"}


@pytest.mark.parametrize(
    ("words", "remedy"),
    [(["--limit=3"], "frames"), (["--task=none"], "--task detection"), (["--periods=[0]"], "at least 1")],
)
def test_refusals(street: Path, tmp_path: Path, words: list[str], remedy: str, capfd: pytest.CaptureFixture) -> None:
    try:
        status = main(["eval", "stream", str(street), "--out", str(tmp_path), *words])
    except SystemExit as exit:  # the parser's own
        status = int(str(exit.code))
    assert status in (1, 2)
    assert remedy in capfd.readouterr().err


def step(red: int, chosen: list[list[int]]) -> StepResult:
    pairs = torch.tensor(chosen)
    block = BlockPlan(pairs[None, :, 0], pairs[None, :, 1])
    image = np.full((4, 5, 3), red, np.uint8)
    return StepResult(image, Task.DETECTION, LoopMode.STREAM, plan=CompensationPlan((block,), (block,)))


def test_likeness_counts_branches_in_order_and_sets_without() -> None:
    exact = step(10, [[1, 4], [2, 0]])
    assert likeness(exact, exact) == {"error": 0.0, "agreement": 1.0, "sets": 1.0}
    assert likeness(step(13, [[2, 0], [1, 4]]), exact) == {"error": 9.0, "agreement": 0.0, "sets": 1.0}
    assert likeness(step(10, [[1, 4], [2, 1]]), exact) == {"error": 0.0, "agreement": 0.5, "sets": 0.0}
