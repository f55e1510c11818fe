"""Faults of cameras and of those who listen, injected over real DDS. doc/faults.md says which test proves what."""

from __future__ import annotations

import array
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

pytest.importorskip("rclpy")
pytest.importorskip("vision_msgs", reason="vision_msgs is not built; run make setup")

from diagnostic_msgs.msg import DiagnosticArray
from rclpy.qos import QoSDurabilityPolicy, QoSProfile
from ros_bench import NAMES, Bench, MakeBench, wait_for
from rosgraph_msgs.msg import Clock
from sensor_msgs.msg import Image
from vision_msgs.msg import LabelInfo

from cldyn_ros.stamps import stamp_ns

T0 = 1_700_000_000_000_000_000
SECOND = 1_000_000_000
PERIOD = 33_000_000


def told(status: Any) -> dict[str, str]:
    return {pair.key: pair.value for pair in status.values}


def stamps(received: list[Any]) -> list[int]:
    return [stamp_ns(msg.header) for msg in received]


def said(bench: Bench, name: str, text: str, show: Callable[[int], None] = lambda k: None) -> Any:
    """Calls `show` with 0, 1, 2 ... until the status `name` of /diagnostics says `text`; that status."""
    received = bench.received.get("/diagnostics") or bench.listen("/diagnostics", DiagnosticArray)
    received.clear()
    for k in range(400):
        show(k)
        time.sleep(0.03)
        statuses = [status for array in received for status in array.status if status.name.endswith(name)]
        if found := next((status for status in statuses if text in status.message), None):
            return found
    pytest.fail(f"{name} never said {text!r}, but {[status.message for status in statuses[-1:]]}")


class Cameras:
    """Both cameras, whose stamps and order the test chooses; the engine is never slower than they are."""

    def __init__(self, bench: Bench) -> None:
        self._bench, self._shown = bench, {"visible": 0, "infrared": 0}
        self.status = bench.listen("/cldyn/status", DiagnosticArray)
        self._counts = {
            source.value: bench.node._active._pairer.counts(source) for source in bench.node._active._inputs
        }

    def show(self, source: str, stamp_ns: int, **changes: Any) -> None:
        self._bench.show(source, stamp_ns, **changes)
        self._shown[source] += 1
        wait_for(lambda: self._counts[source].offered == self._shown[source])
        wait_for(lambda: len(self.status) >= self._counts["visible"].paired)


def test_a_camera_killed_and_started_again(make_bench: MakeBench) -> None:
    bench = make_bench(sync__timeout_ms=300.0)
    cameras = Cameras(bench)
    for k in range(3):
        cameras.show("infrared", T0 + k * PERIOD)
        cameras.show("visible", T0 + k * PERIOD)
    bench.client.destroy_publisher(bench._cameras.pop("/infrared/image_raw"))
    text = said(bench, "fusion", "infrared missing", lambda k: cameras.show("visible", T0 + (k + 3) * PERIOD)).message
    assert "no publisher on /infrared/image_raw (3 frames received so far)" in text and "visible missing" not in text

    def both(k: int) -> None:
        cameras.show("infrared", T0 + (k + 1000) * PERIOD)
        cameras.show("visible", T0 + (k + 1000) * PERIOD)

    assert said(bench, "fusion", "fusing", both).level == b"\x00"


def test_a_late_camera_is_paired_by_its_stamps(make_bench: MakeBench) -> None:
    cameras = Cameras(make_bench())
    for k in range(20):
        cameras.show("visible", T0 + k * PERIOD)
        if k >= 5:  # 165 ms later
            cameras.show("infrared", T0 + (k - 5) * PERIOD + 1_000_000)
    assert stamps(cameras.status) == [T0 + k * PERIOD for k in range(15)]
    assert {told(msg.status[0])["pair gap ms"] for msg in cameras.status} == {"1.000"}


def test_bad_stamps_cost_their_own_frames_only(make_bench: MakeBench) -> None:
    """Of one camera: repeated, 0, and an hour ahead, each once among good ones."""
    bench = make_bench()
    cameras = Cameras(bench)
    good: list[int] = []
    for k in range(24):
        stamp = T0 + k * PERIOD
        bad = {6: stamp - PERIOD, 10: 0, 14: stamp + 3600 * SECOND}.get(k)
        cameras.show("infrared", stamp)
        cameras.show("visible", stamp if bad is None else bad)
        good += [stamp] if bad is None else []
    lost = set(good) - set(stamps(cameras.status))
    assert lost <= {T0 + k * PERIOD for k in (15, 16, 17, 18)}, "until the jump back is believed"
    counts = told(cameras.status[-1].status[0])
    assert (counts["visible dropped duplicate"], counts["visible dropped no_stamp"]) == ("1", "1")
    assert counts["visible dropped reset"] == "1", "the one from the future"


def test_an_offset_that_steps_is_named_and_set_right_while_running(make_bench: MakeBench) -> None:
    bench = make_bench(sync__timeout_ms=300.0, sync__tolerance_ms=10.0)
    cameras = Cameras(bench)
    number, offset = 0, 0

    def show(_: int) -> None:
        nonlocal number
        cameras.show("visible", T0 + number * 200_000_000)
        cameras.show("infrared", T0 + number * 200_000_000 + offset)
        number += 1

    show(0)
    assert len(cameras.status) == 1
    offset = 60_000_000  # as of a camera whose clock was set
    text = said(bench, "fusion", "their stamps are further apart", show).message
    assert "(60 ms at the last miss)" in text or "(140 ms at the last miss)" in text
    assert "set sync.infrared_offset_ms" in text
    assert bench.set_parameter("sync.infrared_offset_ms", -60.0).successful
    said(bench, "fusion", "fusing", show)
    assert told(cameras.status[-1].status[0])["pair gap ms"] == "0.000"


def test_a_rate_that_falls_from_30_to_5_hz_loses_no_pair(make_bench: MakeBench) -> None:
    cameras = Cameras(make_bench())
    times = [k * PERIOD for k in range(15)]
    times += [times[-1] + k * 200_000_000 for k in range(1, 8)]
    for time_ns in times:
        cameras.show("infrared", T0 + time_ns + 3_000_000)
        cameras.show("visible", T0 + time_ns)
    wait_for(lambda: stamps(cameras.status) == [T0 + time_ns for time_ns in times])


def test_a_camera_that_floods_takes_neither_pairs_nor_parameters(make_bench: MakeBench) -> None:
    """1000 visible images a second, 20 infrared ones."""
    bench = make_bench()
    status = bench.listen("/cldyn/status", DiagnosticArray)
    for source in ("visible", "infrared"):
        bench.connect(f"/{source}/image_raw", Image)
    started, shown, slowest = time.monotonic(), 0, 0.0
    while (now := time.monotonic() - started) < 2.0:
        stamp = T0 + int(now * 1e9)
        bench.show("visible", stamp)
        if now > shown / 20:
            bench.show("infrared", stamp)
            shown += 1
        if shown % 10 == 5 and slowest < shown:
            before = time.monotonic()
            assert bench.set_parameter("detector.confidence", shown / 100).successful
            slowest = max(slowest, time.monotonic() - before)
        time.sleep(max(0.0, 0.001 - (time.monotonic() - started - now)))
    assert slowest < 1.0
    wait_for(lambda: len(status) >= 0.7 * shown)


def test_a_clock_that_jumps_back(make_bench: MakeBench) -> None:
    """Simulated time, of a bag that begins again: pairs and diagnostics go on."""
    bench = make_bench(use_sim_time=True)
    cameras = Cameras(bench)
    diagnostics = bench.listen("/diagnostics", DiagnosticArray)
    clock = bench.connect("/clock", Clock)
    for first in (500, 100):
        before, count = len(cameras.status), len(diagnostics)
        for k in range(6):
            msg = Clock()
            msg.clock.sec = first + k
            clock.publish(msg)
            cameras.show("infrared", (first + k) * SECOND)
            cameras.show("visible", (first + k) * SECOND)
        assert len(cameras.status) >= before + 5
        wait_for(
            lambda first=first, count=count: any(first <= s / SECOND < first + 7 for s in stamps(diagnostics[count:]))
        )


REFUSED = [
    ({"data": b"short"}, "truncated: 5 bytes of data, a 32x24 rgb8 image with step 96 has 2304"),
    ({"step": 95}, "step 95 is shorter than a row of 32 rgb8 pixels, 96 bytes"),
    ({"encoding": "smell8"}, "encoding 'smell8' is not supported"),
    ({"width": 0}, "empty image: width 0"),
    ({"width": 7680, "height": 4320, "step": 23040}, "7680x4320 is 33177600 pixels, more than max_pixels (4194304)"),
    ({"encoding": "32FC1", "width": 24}, "a visible 32FC1 image must lie in 0..1"),
]


def test_messages_that_are_no_images_are_refused_by_name(make_bench: MakeBench) -> None:
    bench = make_bench()
    status = bench.listen("/cldyn/status", DiagnosticArray)
    health = bench.node._active._health
    for k, (changes, text) in enumerate(REFUSED):
        given = {name: array.array("B", v) if name == "data" else v for name, v in changes.items()}
        bench.show("visible", T0 + k, **given)
        wait_for(lambda text=text: text in health._inputs["visible"].last_error)
    report = said(bench, "visible input", "")
    assert told(report)["refused by converter"] == str(len(REFUSED)) and report.level == b"\x01"
    bench.show_pair(T0 + PERIOD)
    wait_for(lambda: status)


def test_a_real_8k_image_is_refused_and_the_next_one_fused(make_bench: MakeBench) -> None:
    bench = make_bench()
    status = bench.listen("/cldyn/status", DiagnosticArray)
    bench.show("infrared", T0, np.zeros((4320, 7680), np.uint8))
    wait_for(lambda: "7680x4320" in bench.node._active._health._inputs["infrared"].last_error, 30.0)
    bench.show_pair(T0 + PERIOD)
    wait_for(lambda: status)


def test_a_late_subscriber_gets_class_names_and_the_next_image(make_bench: MakeBench) -> None:
    bench = make_bench(task="detection")
    cameras = Cameras(bench)
    cameras.show("infrared", T0)
    cameras.show("visible", T0)
    fused = bench.listen("/cldyn/fused/image_raw", Image)
    latched = QoSProfile(depth=1, durability=QoSDurabilityPolicy.TRANSIENT_LOCAL)
    names = bench.listen("/cldyn/label_info", LabelInfo, latched)
    wait_for(lambda: names and [item.class_name for item in names[0].class_map] == list(NAMES))
    wait_for(lambda: bench.node.count_subscribers("/cldyn/fused/image_raw"))
    cameras.show("infrared", T0 + PERIOD)
    cameras.show("visible", T0 + PERIOD)
    wait_for(lambda: fused)
    assert stamps(fused) == [T0 + PERIOD]


LISTENER = """
import rclpy
from sensor_msgs.msg import Image
rclpy.init()
node = rclpy.create_node("listener")
node.create_subscription(Image, "/cldyn/fused/image_raw", lambda msg: None, 10)
print("ready", flush=True)
rclpy.spin(node)
"""


def test_a_subscriber_that_stands_still_does_not_stop_the_node(make_bench: MakeBench) -> None:
    """Reliable, of images that soon fill the shared memory. Fast DDS waits for it once, for about 3 s."""
    bench = make_bench()
    cameras = Cameras(bench)
    image = np.zeros((480, 640, 3), np.uint8)
    process = subprocess.Popen([sys.executable, "-c", LISTENER], stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdout is not None and process.stdout.readline() == "ready\n"
        wait_for(lambda: bench.node.count_subscribers("/cldyn/fused/image_raw"))
        process.send_signal(signal.SIGSTOP)
        for k in range(40):
            cameras.show("infrared", T0 + k * PERIOD)
            cameras.show("visible", T0 + k * PERIOD, image=image)
    finally:
        process.kill()
        process.wait()
    assert len(cameras.status) == 40
