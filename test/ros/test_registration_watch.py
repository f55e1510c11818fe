"""What the node says of infrared images that lie beside the visible ones."""

from __future__ import annotations

import time
from collections.abc import Callable

import numpy as np
import pytest

pytest.importorskip("rclpy")
pytest.importorskip("vision_msgs", reason="vision_msgs is not built; run make setup")

from diagnostic_msgs.msg import DiagnosticArray
from ros_bench import MakeBench, wait_for

from cldyn_core import tasks
from cldyn_core.data.synthetic import SceneConfig, render_frame
from cldyn_core.engine import FusionEngine
from cldyn_core.registration.misregistration import Shift
from cldyn_core.types import FramePair, Task
from cldyn_ros import active, registration_watch
from cldyn_ros.explain import SyncState
from cldyn_ros.health import Health, InputState, Level, Report
from cldyn_ros.registration_watch import RegistrationWatch
from cldyn_ros.sync import Counts, Source

PAIR = FramePair(np.zeros((8, 8, 3), np.uint8), np.zeros((8, 8), np.uint8))


class Engine:
    """Says what it is told to."""

    def __init__(self) -> None:
        self.answer: Shift | Exception | None = None
        self.asked = 0

    def misregistration(self, pair: FramePair) -> Shift | None:
        self.asked += 1
        if isinstance(self.answer, Exception):
            raise self.answer
        return self.answer


def fusion_report(health: Health) -> Report:
    inputs = {source: InputState("/t", 1) for source in Source}
    sync = SyncState(50.0, {source: Counts() for source in Source}, None)
    return next(r for r in health.reports("", inputs, sync, {}) if r.name == "fusion")


def test_it_looks_once_a_second_and_an_error_costs_nothing_else() -> None:
    engine, health, now = Engine(), Health(), [0.0]
    watch = RegistrationWatch(engine, health, lambda: now[0])
    for _ in range(40):
        now[0] += 0.1
        assert watch.look(PAIR, 8.0) == ""
    assert engine.asked == pytest.approx(4, abs=1)
    report = fusion_report(health)
    assert (report.level, report.values["misregistration px"]) == (Level.OK, "not known")

    engine.answer, now[0] = Shift(-9.0, 2.0, 0.2), 10.0
    warning = watch.look(PAIR, 8.0)
    assert (
        "lies 9 px beside the visible one (x -9.0, y +2.0: right, down), more than registration.warn_px (8)" in warning
    )
    assert "cldyn data calibrate, doc/calibration.md" in warning
    report = fusion_report(health)
    assert (report.level, report.message) == (Level.WARN, warning)
    assert report.values["misregistration px"] == "9.2 (x -9.0, y +2.0)"

    now[0] = 11.5
    assert watch.look(PAIR, 10.0) == ""
    assert fusion_report(health).level == Level.OK

    engine.answer, now[0] = MemoryError("none left"), 13.0
    assert watch.look(PAIR, 8.0) == ""
    report = fusion_report(health)
    assert (report.level, report.values["misregistration px"]) == (Level.OK, "not known")
    assert report.values["registration check errors"] == "1" and "none left" in report.values["last error"]

    asked = engine.asked
    assert watch.look(PAIR, 0.0) == ""
    assert engine.asked == asked and "misregistration px" not in fusion_report(health).values


def test_a_camera_that_was_knocked_is_told_until_it_is_registered_again(
    make_bench: MakeBench, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(registration_watch, "PERIOD_S", 0.0)
    monkeypatch.setattr(active, "DIAGNOSTICS_S", 0.1)
    monkeypatch.setattr(tasks, "available_tasks", lambda settings: (Task.NONE,))
    street = render_frame(SceneConfig("day", 320, 240, seed=1), 0)
    bench = make_bench(engine=FusionEngine, device="cpu")
    diagnostics = bench.listen("/diagnostics", DiagnosticArray)
    frame = 0

    def told(infrared: np.ndarray, wanted: Callable[[bytes, str, str | None], bool]) -> None:
        """Until /diagnostics says what is wanted of level, message and misregistration, while pairs go on."""

        def found() -> bool:
            nonlocal frame
            frame += 1
            bench.show("infrared", frame * 50_000_000, infrared)
            bench.show("visible", frame * 50_000_000, street.visible)
            time.sleep(0.05)
            fusion = [s for m in diagnostics[-1:] for s in m.status if s.name.endswith("fusion")]
            values = [{pair.key: pair.value for pair in s.values} for s in fusion]
            return any(
                wanted(s.level, s.message, v.get("misregistration px")) for s, v in zip(fusion, values, strict=True)
            )

        wait_for(found)

    told(street.infrared, lambda level, _, px: level == b"\x00" and px is not None and px.startswith("0."))
    knocked = np.roll(street.infrared, 14, axis=1)
    told(knocked, lambda level, text, _: level == b"\x01" and "lies 14 px beside the visible one (x +14." in text)
    assert bench.set_parameter("registration.homography", [1.0, 0.0, -14.0, 0.0, 1.0, 0.0, 0.0, 0.0, 1.0]).successful
    told(knocked, lambda level, _, px: level == b"\x00" and px is not None and px.startswith("0."))
    assert bench.set_parameter("registration.warn_px", 0.0).successful
    told(knocked, lambda level, _, px: px is None)
