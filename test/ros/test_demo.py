"""The demonstration, small: real node and replayer over DDS; and that a broken promise is told."""

from __future__ import annotations

import dataclasses
import os
import subprocess
import sys
from pathlib import Path

import cv2
import pytest

pytest.importorskip("vision_msgs", reason="vision_msgs is not built; run make setup")

from cldyn_core.tasks import available_tasks
from cldyn_core.types import Task
from cldyn_ros.bag_files import BagReader
from cldyn_ros.demo.examine import Evidence, FrameReport, Row, SwitchReport
from cldyn_ros.demo.folder import clear_folder
from cldyn_ros.demo.material import Material
from cldyn_ros.demo.performance import Performance, Switch
from cldyn_ros.demo.sheet import COLUMNS
from cldyn_ros.demo.summary import promises


def run_demo(out: Path, *arguments: object) -> subprocess.CompletedProcess[str]:
    words = [sys.executable, "-m", "cldyn_ros.demo", "--out", str(out), *map(str, arguments)]
    env = os.environ | {"ROS_DOMAIN_ID": str((int(os.environ["ROS_DOMAIN_ID"]) + 1) % 102), "OMP_NUM_THREADS": "1"}
    return subprocess.run(words, capture_output=True, text=True, timeout=110, env=env, check=False)


def test_the_demo_keeps_its_promises(tmp_path: Path) -> None:
    done = run_demo(tmp_path / "demo", "--frames", 9, "--size", "96x64", "--rate", 2)
    assert done.returncode == 0, done.stdout + done.stderr
    with BagReader(tmp_path / "demo" / "output.mcap") as bag:
        counts = {topic.name: topic.count for topic in bag.topics}
    assert counts["/cldyn/fused/image_raw"] == counts["/cldyn/status"] == 9
    assert counts["/cldyn/fused/camera_info"] == 9
    summary = (tmp_path / "demo" / "summary.md").read_text()
    assert "rendered street, night, seed 10, 96x64; 9 pairs" in summary
    assert "- [ ]" not in summary and summary.count("- [x]") == 11
    assert "| none | total | " in summary
    sheet = cv2.imread(str(tmp_path / "demo" / "contact_sheet.png"))
    assert sheet.shape[1] > 4 * 480 and sheet.std() > 20


def test_a_folder_that_cannot_be_shown_is_named(tmp_path: Path) -> None:
    done = run_demo(tmp_path / "demo", "--pairs", tmp_path / "nowhere")
    assert done.returncode == 2
    assert "nowhere: does not exist" in done.stderr and "Traceback" not in done.stderr


@pytest.fixture
def kept() -> tuple[Evidence, Performance]:
    """A performance of six frames at which all went well."""
    tasks = ["none"] * 2 + ["detection"] * 2 + ["none"] * 2
    material = Material(Path("in.mcap"), "test", 6, 1.0, (Task.NONE, Task.DETECTION, Task.NONE))
    evidence = Evidence(material, played={"/visible/image_raw": list(range(6)), "/infrared/image_raw": list(range(6))})
    for stamp, task in enumerate(tasks):
        values = {"task": task, "plan": "ir0 1:4" if task != "none" else "", "error": ""}
        evidence.reports.append(FrameReport(stamp, task, values))
        evidence.fused_stamps.add(stamp)
    evidence.published["/cldyn/detections"] = 2
    evidence.switches = [
        SwitchReport(Switch(task, after, 1.0, True), 1, 0) for task, after in ((Task.DETECTION, 2), (Task.NONE, 4))
    ]
    picture = cv2.UMat(2, 2, cv2.CV_8UC3).get()
    evidence.rows = [Row(task, dict.fromkeys(COLUMNS, picture)) for task in ("none", "detection")]
    refused = "task takes one of none, detection, segmentation, saliency"
    return evidence, Performance(Path("out.mcap"), [], refused, {"node": 0, "replay": 0})


def broken(evidence: Evidence, performance: Performance) -> list[str]:
    return [promise.text for promise in promises(evidence, performance) if not promise.kept]


def test_all_promises_are_kept_when_all_went_well(kept: tuple[Evidence, Performance]) -> None:
    assert broken(*kept) == []


def test_each_fault_breaks_its_promise(kept: tuple[Evidence, Performance]) -> None:
    evidence, performance = kept

    def after(**changes: object) -> list[str]:
        return broken(dataclasses.replace(evidence, **changes), performance)  # type: ignore[arg-type]

    assert after(fused_stamps={0, 1, 2}) == ["every status belongs to a published fused image"]
    assert after(published=type(evidence.published)()) == ["detections were published"]
    assert after(switches=evidence.switches[:1]) == [
        "every switch was accepted and showed",
        "no frame was lost around a switch",
    ]
    lost = [dataclasses.replace(evidence.switches[0], lost=1), evidence.switches[1]]
    assert after(switches=lost) == ["no frame was lost around a switch"]
    assert after(rows=[Row("none", {})]) == ["all pictures of the sheet were recorded"]
    assert "every task ran: detection, none" in after(reports=[r for r in evidence.reports if r.task == "none"])
    evidence.reports[2].values["plan"] = ""
    assert broken(evidence, performance) == ["every frame with a task was compensated by a plan"]
    evidence.reports[2].values["error"] = "detection: boom"
    assert broken(evidence, performance) == ["no task network failed"]
    performance.exit_codes["node"] = 1
    performance.refused_nonsense = ""
    assert set(broken(evidence, performance)) == {
        "no task network failed",
        "both processes ended cleanly",
        "a task that does not exist was refused with the choices",
    }


def test_without_a_task_network_there_is_no_plan_to_promise(kept: tuple[Evidence, Performance]) -> None:
    evidence, performance = kept
    material = dataclasses.replace(evidence.material, schedule=(Task.NONE, Task.NONE))
    reports = [FrameReport(r.stamp_ns, "none", {**r.values, "task": "none", "plan": ""}) for r in evidence.reports]
    alone = dataclasses.replace(evidence, material=material, reports=reports, switches=evidence.switches[1:])
    assert broken(alone, performance) == []


def test_the_schedule_has_every_task_that_runs_here() -> None:
    from cldyn_ros.demo.material import _schedule

    assert _schedule() == (*available_tasks(), Task.NONE)


def test_only_an_earlier_demo_is_replaced(tmp_path: Path) -> None:
    folder = tmp_path / "demo"
    clear_folder(folder)
    for name in ("input.mcap", "summary.md"):
        (folder / name).write_text("old")
    (folder / ".output.mcap.abc").mkdir()
    clear_folder(folder)
    assert not list(folder.iterdir())
    (folder / "summary.md").write_text("old")
    (folder / "thesis.md").write_text("dear")
    done = run_demo(folder)
    assert done.returncode == 2 and "holds thesis.md" in done.stderr
    assert sorted(path.name for path in folder.iterdir()) == ["summary.md", "thesis.md"]
    with pytest.raises(ValueError, match="not a folder"):
        clear_folder(folder / "thesis.md")
