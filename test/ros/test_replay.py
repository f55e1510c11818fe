"""The replayer as a process, heard over real DDS."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("rosbags", reason="rosbags is not installed")
pytest.importorskip("rclpy", reason="rclpy is not installed")

from rclpy.qos import QoSProfile, ReliabilityPolicy
from rosgraph_msgs.msg import Clock
from sensor_msgs.msg import CameraInfo, Image

from cldyn_core.types import FramePair
from cldyn_ros.bag_files import BagReader, BagRecorder
from cldyn_ros.bags import START_NS, write_bag
from cldyn_ros.replay import header_stamp, restamped
from cldyn_ros.timeline import MAX_LAG, Timeline, loop_gap_ns

Heard = list[tuple[float, Any]]


class Listener:
    """A node that keeps what it hears, with the time of arrival."""

    def __init__(self, rclpy: Any) -> None:
        from rclpy.executors import SingleThreadedExecutor

        self.node = rclpy.create_node("listener")
        self._executor = SingleThreadedExecutor()
        self._executor.add_node(self.node)
        self._open = True
        self._thread = threading.Thread(target=self._spin, daemon=True)
        self._thread.start()

    def hear(self, topic: str, kind: Any = Image, raw: bool = True, qos: str = "reliable") -> Heard:
        heard: Heard = []
        profile = QoSProfile(depth=50, reliability=ReliabilityPolicy[qos.upper()])
        self.node.create_subscription(kind, topic, lambda m: heard.append((time.monotonic(), m)), profile, raw=raw)
        return heard

    def close(self) -> None:
        self._open = False
        self._thread.join(10.0)
        self.node.destroy_node()

    def _spin(self) -> None:
        while self._open:
            self._executor.spin_once(timeout_sec=0.05)


@pytest.fixture
def listener(rclpy_session: Any) -> Iterator[Listener]:
    made = Listener(rclpy_session)
    yield made
    made.close()


Start = Callable[..., "subprocess.Popen[str]"]


@pytest.fixture
def start() -> Iterator[Start]:
    """Start a replayer; whatever still runs at the end of the test is killed."""
    running: list[subprocess.Popen[str]] = []

    def run(*arguments: object) -> subprocess.Popen[str]:
        words = [sys.executable, "-m", "cldyn_ros.replay", *map(str, arguments)]
        running.append(subprocess.Popen(words, stderr=subprocess.PIPE, text=True, env=dict(os.environ)))
        return running[-1]

    yield run
    for process in running:
        with contextlib.suppress(ProcessLookupError):
            process.kill()
        process.communicate()


def make_bag(path: Path, count: int = 10, rate: float = 20.0, size: tuple[int, int] = (12, 16)) -> Path:
    rng = np.random.default_rng(2)
    pairs = [
        (str(i), FramePair(rng.integers(0, 256, (*size, 3), np.uint8), rng.integers(0, 256, size, np.uint8)))
        for i in range(count)
    ]
    write_bag(pairs, path, rate=rate)
    return path


def finish(process: subprocess.Popen[str], timeout_s: float = 20.0) -> str:
    """Standard error of a replayer that ended well."""
    _, errors = process.communicate(timeout=timeout_s)
    assert process.returncode == 0, errors
    return errors


def wait_for(condition: Callable[[], bool], timeout_s: float = 15.0) -> None:
    deadline = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(0.02)


@pytest.mark.parametrize("name", ["a.mcap", "a.db3"])
def test_every_byte_arrives(listener: Listener, start: Start, tmp_path: Path, name: str) -> None:
    bag = make_bag(tmp_path / name, size=(480, 640))
    heard = {f"/{side}/image_raw": listener.hear(f"/{side}/image_raw") for side in ("infrared", "visible")}
    infos = listener.hear("/visible/camera_info", CameraInfo)
    errors = finish(start(bag, "--wait-for-subscribers", 10, "--verbose", "--ros-args", "--log-level", "warn"))
    assert "played 40/40" in errors
    with BagReader(bag) as reader:
        for topic, messages in heard.items():
            wait_for(lambda messages=messages: len(messages) >= 10, 5.0)  # type: ignore[misc]
            assert [bytes(data) for _, data in messages] == [m.data for m in reader.messages([topic])]
    wait_for(lambda: len(infos) >= 10, 5.0)


def test_best_effort_reaches_best_effort_subscribers_to_the_end(
    listener: Listener, start: Start, tmp_path: Path
) -> None:
    """It may lose a message on the way, but delivers in order, unaltered, and the last ones too."""
    bag = make_bag(tmp_path / "a.mcap", count=20, size=(48, 64))
    heard = listener.hear("/visible/image_raw", qos="best_effort")
    reliable = listener.hear("/visible/image_raw", qos="reliable")
    finish(start(bag, "--wait-for-subscribers", 10, "--qos", "best_effort", "--topics", "/visible/image_raw"))
    with BagReader(bag) as reader:
        played = [m.data for m in reader.messages(["/visible/image_raw"])]
    wait_for(lambda: {bytes(data) for _, data in heard} & set(played[-3:]), 5.0)
    positions = [played.index(bytes(data)) for _, data in heard]
    assert positions == sorted(set(positions))
    assert len(positions) >= 10
    assert not reliable  # never matches an offer of best effort


@pytest.mark.parametrize("rate", [1.0, 4.0])
def test_pace_follows_the_rate(listener: Listener, start: Start, tmp_path: Path, rate: float) -> None:
    bag = make_bag(tmp_path / "a.mcap", count=21)  # one second
    heard = listener.hear("/visible/image_raw")
    finish(start(bag, "--wait-for-subscribers", 10, "--rate", rate, "--topics", "/visible/image_raw"))
    wait_for(lambda: len(heard) >= 21, 5.0)
    took = heard[-1][0] - heard[0][0]
    assert 0.8 / rate < took < 1.0 / rate + 0.6
    gaps = np.diff([moment for moment, _ in heard])
    assert np.median(gaps) > 0.4 * 0.05 / rate, "arrived in a burst"


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_loop_goes_on_until_interrupted(listener: Listener, start: Start, tmp_path: Path, number: int) -> None:
    bag = make_bag(tmp_path / "a.mcap", count=4)
    heard = listener.hear("/visible/image_raw")
    process = start(bag, "--loop", "--wait-for-subscribers", 10, "--topics", "/visible/image_raw")
    wait_for(lambda: len(heard) >= 10)
    process.send_signal(number)
    errors = finish(process, 10.0)
    assert "Traceback" not in errors
    stamps = [header_stamp(bytes(data)) for _, data in heard]
    assert stamps[4] == stamps[0] == START_NS and stamps[9] == stamps[1]
    assert heard[4][0] - heard[3][0] > 0.01, "the rhythm goes on between two rounds"


def test_interrupted_while_waiting(start: Start, tmp_path: Path) -> None:
    process = start(make_bag(tmp_path / "a.mcap"), "--start-delay", 60, "--wait-for-subscribers", 0.1, "--verbose")
    assert process.stderr is not None and "no subscriber on" in process.stderr.readline()
    process.send_signal(signal.SIGINT)
    assert "Traceback" not in finish(process, 10.0)


def test_clock_runs_with_the_bag(listener: Listener, start: Start, tmp_path: Path) -> None:
    bag = make_bag(tmp_path / "a.mcap", count=61)  # three seconds
    clock = listener.hear("/clock", Clock, raw=False)
    images = listener.hear("/visible/image_raw")
    finish(start(bag, "--clock", 50, "--rate", 2, "--wait-for-subscribers", 10, "--topics", "/visible/image_raw"))
    wait_for(lambda: len(images) >= 61, 5.0)
    times = [message.clock.sec * 10**9 + message.clock.nanosec for _, message in clock]
    assert times == sorted(times) and START_NS <= times[0] < times[-1] <= START_NS + 3.1e9
    assert 20 <= len(times) <= 90  # 50 Hz in one and a half seconds
    slope = (times[-1] - times[0]) / (clock[-1][0] - clock[0][0]) / 1e9
    assert 1.5 < slope < 2.7


def test_clock_does_not_jump_back_when_the_replayer_was_held_up(
    listener: Listener, start: Start, tmp_path: Path
) -> None:
    bag = make_bag(tmp_path / "a.mcap", count=41)  # two seconds
    clock = listener.hear("/clock", Clock, raw=False)
    images = listener.hear("/visible/image_raw")
    process = start(bag, "--clock", 50, "--wait-for-subscribers", 10, "--topics", "/visible/image_raw")
    wait_for(lambda: len(images) >= 10)
    process.send_signal(signal.SIGSTOP)
    time.sleep(1.0)
    process.send_signal(signal.SIGCONT)
    finish(process)
    times = [message.clock.sec * 10**9 + message.clock.nanosec for _, message in clock]
    assert times == sorted(times) and times[-1] <= START_NS + 2.1e9


def test_restamp_moves_pairs_together_to_now(listener: Listener, start: Start, tmp_path: Path) -> None:
    bag = make_bag(tmp_path / "a.mcap", count=5)
    sides = [listener.hear(f"/{side}/image_raw") for side in ("infrared", "visible")]
    before = time.time_ns()
    finish(start(bag, "--restamp", "--rate", 2, "--wait-for-subscribers", 10))
    wait_for(lambda: all(len(heard) >= 5 for heard in sides), 5.0)
    infrared, visible = ([header_stamp(bytes(data)) for _, data in heard] for heard in sides)
    assert infrared == visible and len(visible) == 5
    assert before < visible[0] and visible[-1] < time.time_ns()
    np.testing.assert_allclose(np.diff(visible), 25_000_000, atol=1000)


def test_unknown_types_are_skipped_by_name(start: Start, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    share = tmp_path / "prefix" / "share" / "odd_msgs" / "msg"
    share.mkdir(parents=True)
    (share / "Odd.msg").write_text("uint8 value\n")
    monkeypatch.setenv("AMENT_PREFIX_PATH", str(tmp_path / "prefix"))
    with BagReader(make_bag(tmp_path / "a.mcap", count=1)) as bag:
        image = next(iter(bag.messages(["/visible/image_raw"])))
    for name, kinds in (("mixed.mcap", ("odd", "image")), ("odd.mcap", ("odd",))):
        with BagRecorder(tmp_path / name) as recorder:
            recorder.write("/odd", "odd_msgs/msg/Odd", START_NS, b"\x00\x01\x00\x00\x07")
            if "image" in kinds:
                recorder.write(image.topic, image.type, START_NS, image.data)
    monkeypatch.delenv("AMENT_PREFIX_PATH")
    assert "/odd is skipped: its type odd_msgs/msg/Odd is not installed" in finish(start(tmp_path / "mixed.mcap"))
    process = start(tmp_path / "odd.mcap")
    assert "nothing to play" in process.communicate(timeout=20)[1] and process.returncode == 1


def test_faults_end_with_one_line_and_status_1(start: Start, tmp_path: Path) -> None:
    bag = make_bag(tmp_path / "a.mcap")
    (tmp_path / "cut.mcap").write_bytes(bag.read_bytes()[:3000])
    for arguments, said in (
        ((tmp_path / "none.mcap",), "none.mcap: does not exist"),
        ((tmp_path / "cut.mcap",), "cut.mcap: truncated or damaged"),
        ((bag, "--topics", "/wrong"), "no topic /wrong; its topics: /infrared/image_raw"),
    ):
        process = start(*arguments)
        errors = process.communicate(timeout=20)[1]
        assert process.returncode == 1 and said in errors and "Traceback" not in errors
    process = start(bag, "--rate", "0")
    assert "must be above 0, not 0" in process.communicate(timeout=20)[1] and process.returncode == 2


def test_schedule_makes_up_small_lag_and_moves_after_large() -> None:
    line = Timeline(rate=2.0, bag_start_ns=1_000, now=100.0)
    assert line.due(1_000 + 10**9) == 100.5 and line.bag_time(100.5) == 1_000 + 10**9 and line.bag_time(99.0) == 1_000
    line.fit(1_000, 100.0 + MAX_LAG / 2)
    assert line.due(1_000) == 100.0
    line.fit(1_000, 103.0)
    assert line.due(1_000) == 103.0 and line.due(1_000 + 10**9) == 103.5


def test_loop_gap() -> None:
    assert loop_gap_ns(10**9, [11, 3]) == 10**8
    assert loop_gap_ns(0, [1]) == loop_gap_ns(0, []) == 10**9


@pytest.mark.parametrize("order", ["<", ">"])
def test_restamped_keeps_the_rest_in_both_byte_orders(order: str) -> None:
    import struct

    data = bytes([0, order == "<", 0, 0]) + struct.pack(order + "iI", 5, 7) + b"rest"
    moved = restamped(data, 1_500_000_000)
    assert header_stamp(data) == 5_000_000_007 and header_stamp(moved) == 1_500_000_000
    assert moved[12:] == b"rest" and moved[:4] == data[:4]
