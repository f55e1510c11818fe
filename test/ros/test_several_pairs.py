"""Several camera pairs in one process, and the newest-frame rule under overload, on real DDS."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import textwrap
import time
from collections.abc import Sequence
from typing import Any

import pytest

pytest.importorskip("rclpy")
pytest.importorskip("vision_msgs", reason="vision_msgs is not built; run make setup")

from diagnostic_msgs.msg import DiagnosticArray
from ros_bench import Bench, FakeEngine, MakeBench, wait_for
from sensor_msgs.msg import Image

from cldyn_core.engine.turn import Turn
from cldyn_core.types import EngineSettings, FramePair, StepResult
from cldyn_ros.pairs import node_arguments, pair_names
from cldyn_ros.stamps import stamp_ns
from cldyn_ros.sync import Source

T0 = 1_700_000_000_000_000_000
PERIOD_S, STEP_S = 0.03, 0.1


def told(msg: DiagnosticArray) -> dict[str, str]:
    return {pair.key: pair.value for pair in msg.status[0].values}


class Overloaded(FakeEngine):
    """Slower than the camera; notes how many pairs had been made when each of its frames was chosen."""

    def __init__(self, settings: EngineSettings, turn: Turn) -> None:
        super().__init__(settings)
        self.turn, self.step_s, self.bench = turn, STEP_S, None
        self.chosen: list[tuple[int, int]] = []

    def step(self, pair: FramePair) -> StepResult:
        if self.bench is not None:
            made = self.bench.node._active._pairer.counts(Source.VISIBLE).paired
            self.chosen.append((round((pair.stamp_ns - T0) / 1e9 / PERIOD_S), made))
        return super().step(pair)


def overload(benches: Sequence[Bench], namespaces: Sequence[str], frames: int) -> list[list[DiagnosticArray]]:
    """Show every bench so many pairs, one a period; the statuses of each, complete."""
    statuses = [
        bench.listen(f"{name}/cldyn/status", DiagnosticArray, 100)
        for bench, name in zip(benches, namespaces, strict=True)
    ]
    for bench in benches:
        bench.engine.bench = bench
    started = time.monotonic()
    for k in range(frames):
        time.sleep(max(0.0, started + k * PERIOD_S - time.monotonic()))
        for bench, name in zip(benches, namespaces, strict=True):
            for source in ("infrared", "visible"):
                bench.show(source, T0 + round(k * PERIOD_S * 1e9), topic=f"{name}/{source}/image_raw")
    for bench, status in zip(benches, statuses, strict=True):
        bench.wait_until_offered(frames)
        wait_for(
            lambda status=status: status and stamp_ns(status[-1].header) == T0 + round((frames - 1) * PERIOD_S * 1e9)
        )
    return statuses


def test_an_overloaded_node_always_takes_the_newest_pair(make_bench: MakeBench) -> None:
    """So the age of a fused image is at most a period and a step, whatever the cameras do."""
    bench = make_bench(engine=lambda settings: Overloaded(settings, Turn()))
    (status,) = overload([bench], [""], 40)
    fused = len(bench.engine.chosen)
    assert 5 <= fused < 30
    assert all(made - 2 <= frame <= made - 1 for frame, made in bench.engine.chosen), bench.engine.chosen
    assert len(status) == fused and int(told(status[-1])["superseded"]) == 40 - fused
    latencies = sorted(float(told(msg)["total ms"]) / 1e3 for msg in status)
    assert (
        latencies[fused // 2] < PERIOD_S + 2 * STEP_S
    )  # a queue would make it 1 s; the second step is for the machine


def test_pairs_that_share_networks_take_turns_and_each_takes_its_newest(make_bench: MakeBench) -> None:
    turn, names = Turn(), ("/front", "/rear", "/left")
    benches = [
        make_bench(engine=lambda settings: Overloaded(settings, turn), cli_args=["--ros-args", "-r", f"__ns:={name}"])
        for name in names
    ]
    statuses = overload(benches, names, 40)
    for bench, status in zip(benches, statuses, strict=True):
        assert all(made - 2 <= frame <= made - 1 for frame, made in bench.engine.chosen), bench.engine.chosen
        assert len(status) == len(bench.engine.chosen)
    counts = [len(bench.engine.chosen) for bench in benches]
    assert min(counts) >= 2 and max(counts) - min(counts) <= 1, counts


SCRIPT = """
    import sys
    sys.path.insert(0, {folder!r})
    from ros_bench import FakeEngine
    from cldyn_ros.fusion_node import main

    def factory(settings):
        print("ready", flush=True)
        return FakeEngine(settings)

    sys.exit(main(engine_factory=factory))
"""


def test_one_process_is_a_node_for_each_pair(make_bench: MakeBench) -> None:
    bench = make_bench(start=False)  # plays the cameras; its own node stays unconfigured
    script = textwrap.dedent(SCRIPT).format(folder=os.path.dirname(__file__))
    ros = ["--ros-args", "-r", "__ns:=/robot", "-r", "/robot/rear/visible/image_raw:=/color", "-p", "task:=detection"]
    command = [sys.executable, "-c", script, "--pairs", "front,rear", *ros]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    try:
        assert process.stdout is not None
        assert [process.stdout.readline() for _ in range(2)] == ["ready\n"] * 2
        fused = {name: bench.listen(f"/robot/{name}/cldyn/fused/image_raw", Image) for name in ("front", "rear")}
        status = bench.listen("/robot/front/cldyn/status", DiagnosticArray)
        bench.show("infrared", T0, topic="/robot/rear/infrared/image_raw")
        bench.show("visible", T0, topic="/color")
        wait_for(lambda: fused["rear"])
        assert bench.set_parameter("task", "none", node="/robot/front/cldyn").successful
        for source in ("infrared", "visible"):
            bench.show(source, T0 + 5, topic=f"/robot/front/{source}/image_raw")
        wait_for(lambda: fused["front"] and status)
        assert [stamp_ns(msg.header) for msg in fused["front"] + fused["rear"]] == [T0 + 5, T0]
        assert told(status[0])["task"] == "none" and status[0].status[0].hardware_id == "robot/front/cldyn"
        assert bench.get_parameter("task", node="/robot/rear/cldyn") == "detection"
        process.send_signal(signal.SIGINT)
        _, errors = process.communicate(timeout=15)
    finally:
        process.kill()
    assert process.returncode == 0, errors
    assert "Traceback" not in errors


def test_names_of_pairs(rclpy_session: Any, capsys: pytest.CaptureFixture[str]) -> None:
    assert pair_names([]) == pair_names(["--pairs="]) == []
    assert node_arguments([]) == [None]
    assert pair_names(["--pairs", "front, rear"]) == ["front", "rear"]
    assert node_arguments(["front"]) == [["--ros-args", "-r", "__ns:=/front"]]
    for words, reason in ((["--pairs", "a,b,a"], "twice"), (["--pairs", "a-b"], "'a-b'"), (["--pears"], "--pears")):
        with pytest.raises(SystemExit) as ended:
            pair_names(words)
        assert ended.value.code == 2 and reason in capsys.readouterr().err
