"""Time over real DDS: stamps of the cameras or of arrival, equal stamps, a camera that returns, simulated time."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("rclpy")
pytest.importorskip("rosbags", reason="rosbags is not installed")
pytest.importorskip("vision_msgs", reason="vision_msgs is not built; run make setup")

from diagnostic_msgs.msg import DiagnosticArray
from ros_bench import Bench, MakeBench, wait_for
from sensor_msgs.msg import CompressedImage, Image

from cldyn_core.types import FramePair
from cldyn_ros.bags import START_NS, write_bag
from cldyn_ros.stamps import stamp_ns
from cldyn_ros.sync import Source

T0 = 1_700_000_000_000_000_000
SECOND = 1_000_000_000
PERIOD = 40_000_000


def told(status: Any) -> dict[str, str]:
    return {pair.key: pair.value for pair in status.values}


def fusion_says(bench: Bench, text: str, show: Callable[[int], None] = lambda _: None) -> Any:
    """Calls `show` with 0, 1, 2 ... every 40 ms until the fusion status of /diagnostics has `text`; that array."""
    received = bench.listen("/diagnostics", DiagnosticArray)
    said: set[str] = set()
    for k in range(400):
        show(k)
        time.sleep(PERIOD / SECOND)
        for array in received:
            said |= (fusion := {s.message for s in array.status if s.name.endswith("fusion")})
            if any(text in message for message in fusion):
                return array
        received.clear()
    pytest.fail(f"never {text!r}, but {said}")


def test_a_driver_that_does_not_stamp_is_explained_and_pairs_by_arrival(make_bench: MakeBench) -> None:
    bench = make_bench(sync__timeout_ms=600.0)
    fused = bench.listen("/cldyn/fused/image_raw", Image)

    def show(k: int) -> None:
        bench.show("infrared", T0 + k * PERIOD)
        bench.show("visible", 0)

    fusion_says(bench, "visible images carry stamp 0", show)
    assert not fused
    assert bench.set_parameter("sync.stamp", "arrival").successful
    started = time.time_ns()
    for _ in range(100):
        show(0)
        time.sleep(0.03)
        if len(fused) >= 3:
            break
    assert len(fused) >= 3
    assert all(started < stamp_ns(msg.header) < time.time_ns() for msg in fused)
    assert {msg.header.frame_id for msg in fused} == {"visible_optical"}
    assert bench.engine.pairs[-1].stamp_ns in {stamp_ns(msg.header) for msg in fused}


def test_exact_pairs_equal_stamps_only(make_bench: MakeBench) -> None:
    bench = make_bench(sync__policy="exact", sync__tolerance_ms=1000.0)
    status = bench.listen("/cldyn/status", DiagnosticArray)
    assert bench.set_parameter("sync.tolerance_ms", 500.0).successful  # changes nothing
    for k in range(12):
        bench.show("infrared", T0 + k * PERIOD + (1000 if k % 3 else 0))
        bench.show("visible", T0 + k * PERIOD)
        bench.wait_until_offered(k + 1)
        wait_for(lambda k=k: len(status) > k // 3)
    assert [stamp_ns(msg.header) for msg in status] == [T0 + k * PERIOD for k in (0, 3, 6, 9)]
    assert {told(msg.status[0])["pair gap ms"] for msg in status} == {"0.000"}


@pytest.mark.parametrize("on_missing", ["hold", "visible"])
@pytest.mark.parametrize("phase", [0.2, 0.8])
def test_the_first_or_second_frame_of_a_camera_that_returns_is_fused(
    make_bench: MakeBench, on_missing: str, phase: float
) -> None:
    """The infrared camera comes `phase` of a period after the visible one, misses a dozen frames, and comes back."""
    bench = make_bench(sync__on_missing=on_missing, sync__timeout_ms=400.0, sync__tolerance_ms=20.0)
    status = bench.listen("/cldyn/status", DiagnosticArray)
    counts = bench.node._active._pairer.counts(Source.VISIBLE)
    away, back, end = 6, 18, 26
    sent = dict.fromkeys(Source, 0)
    for k in range(end):
        if k == away:
            time.sleep(0.5)
        for source, stamp in ((Source.VISIBLE, 0), (Source.INFRARED, round(phase * PERIOD))):
            if source is Source.VISIBLE or not away <= k < back:
                bench.show(source.value, T0 + k * PERIOD + stamp)
                sent[source] += 1
                bench.wait_until_offered(sent[source], source)
        wait_for(lambda: len(status) >= counts.paired + counts.alone)  # nothing is superseded
    numbers = {(stamp_ns(msg.header) - T0) // PERIOD: told(msg.status[0])["mode"] for msg in status}
    paired = [k for k, mode in numbers.items() if mode == "stream" and k >= back]
    first = back if phase < 0.5 and on_missing == "hold" else back + 1  # alone, visible frame `back` has gone already
    assert paired == list(range(first, paired[-1] + 1)) and paired[-1] >= end - 2
    alone = [k for k, mode in numbers.items() if mode == "visible only"]
    assert len(alone) >= 10 if on_missing == "visible" else not alone
    assert all(away - 1 <= k <= back for k in alone)


def test_the_offset_that_diagnostics_measure_makes_pairs(make_bench: MakeBench) -> None:
    bench = make_bench(sync__timeout_ms=600.0, sync__tolerance_ms=20.0)
    status = bench.listen("/cldyn/status", DiagnosticArray)

    def show(k: int) -> None:
        bench.show("infrared", T0 + 5 * k * PERIOD + 60_000_000)
        bench.show("visible", T0 + 5 * k * PERIOD)

    array = fusion_says(bench, "infrared stamps lag by about", show)
    fusion = next(s for s in array.status if s.name.endswith("fusion"))
    assert " unmatched)" in fusion.message.partition("since then ")[2]
    offset = float(fusion.message.partition("set sync.infrared_offset_ms to ")[2].partition(";")[0])
    assert abs(offset + 60) < 10 and abs(float(told(fusion)["infrared stamp lag ms"]) - 60) < 10
    assert not status
    assert bench.set_parameter("sync.infrared_offset_ms", offset).successful
    fusion_says(bench, "fusing", lambda k: show(k + 1000))
    assert status


def test_images_of_another_type_are_told(make_bench: MakeBench, rclpy_session: Any) -> None:
    bench = make_bench(sync__timeout_ms=100.0)
    context = rclpy_session.Context()
    context.init()
    driver = rclpy_session.create_node("driver", context=context)
    driver.create_publisher(CompressedImage, "/infrared/image_raw", 1)
    fusion_says(bench, "/infrared/image_raw is published as sensor_msgs/msg/CompressedImage")
    driver.destroy_node()
    context.shutdown()


def test_simulated_time_of_a_bag_that_loops(make_bench: MakeBench, tmp_path: Path) -> None:
    """Timers go on whatever /clock does; images and diagnostics carry the bag's time, arrivals too."""
    rng = np.random.default_rng(1)
    pair = FramePair(rng.integers(0, 256, (12, 16, 3), np.uint8), rng.integers(0, 256, (12, 16), np.uint8))
    write_bag([(str(k), pair) for k in range(20)], tmp_path / "a.mcap", rate=20.0)
    bench = make_bench(use_sim_time=True, sync__timeout_ms=300.0)
    status = bench.listen("/cldyn/status", DiagnosticArray)
    fused = bench.listen("/cldyn/fused/image_raw", Image)
    array = fusion_says(bench, "use_sim_time is true, but nothing publishes /clock")
    assert stamp_ns(array.header) == 0
    words = [
        "-m",
        "cldyn_ros.replay",
        str(tmp_path / "a.mcap"),
        "--loop",
        "--clock",
        "100",
        "--wait-for-subscribers",
        "9",
    ]
    replayer = subprocess.Popen([sys.executable, *words])
    try:
        wait_for(lambda: len(status) > 30, 30.0)
        array = fusion_says(bench, "fusing")
        assert START_NS <= stamp_ns(array.header) <= START_NS + 1.1 * SECOND
        assert {stamp_ns(msg.header) for msg in status} <= {START_NS + k * SECOND // 20 for k in range(20)}
        assert bench.set_parameter("sync.stamp", "arrival").successful
        fused.clear()
        wait_for(lambda: len(fused) > 10)
        assert all(START_NS <= stamp_ns(msg.header) <= START_NS + 1.1 * SECOND for msg in fused)
        assert len({stamp_ns(msg.header) % (SECOND // 20) for msg in fused}) > 1, "of arrival"
    finally:
        replayer.send_signal(signal.SIGINT)
        replayer.wait(20)
    fusion_says(bench, "no pair for")
