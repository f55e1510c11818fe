"""The node over real DDS with a fake engine: what a user sees, and what must not take it down."""

from __future__ import annotations

import array
import itertools
import os
import signal
import subprocess
import sys
import textwrap
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("rclpy")
pytest.importorskip("vision_msgs", reason="vision_msgs is not built; run make setup")

import cv2
from diagnostic_msgs.msg import DiagnosticArray
from lifecycle_msgs.srv import ChangeState, GetState
from rcl_interfaces.srv import DescribeParameters, SetParameters, SetParametersAtomically
from rclpy.parameter import Parameter
from rclpy.qos import QoSDurabilityPolicy, QoSProfile, QoSReliabilityPolicy
from ros_bench import NAMES, Bench, FakeEngine, MakeBench, wait_for
from sensor_msgs.msg import CameraInfo, CompressedImage, Image
from vision_msgs.msg import Detection2DArray, LabelInfo

from cldyn_core import tasks
from cldyn_core.engine import FusionEngine
from cldyn_core.types import EngineSettings, Task
from cldyn_ros import publishers
from cldyn_ros.convert import Compression, to_compressed_msg
from cldyn_ros.stamps import stamp_ns

T0 = 1_700_000_000_000_000_000
PERIOD = 50_000_000


def values(status: Any) -> dict[str, str]:
    return {pair.key: pair.value for pair in status.values}


def diagnostics(bench: Bench, name: str, text: str) -> Any:
    """The first status called `name` in /diagnostics whose message holds `text`."""
    received = bench.listen("/diagnostics", DiagnosticArray)
    return wait_for(lambda: next((s for m in received for s in m.status if name in s.name and text in s.message), None))


def alarm(bench: Bench, text: str, show: Callable[[int], None]) -> str:
    """Calls `show` with 0, 1, 2 ... until /diagnostics has a fusion error that holds `text`; returns its message."""
    received = bench.listen("/diagnostics", DiagnosticArray)
    for k in range(400):
        show(k)
        time.sleep(0.05)
        errors = [s.message for m in received for s in m.status if "fusion" in s.name and s.level == b"\x02"]
        if any(text in message for message in errors):
            return next(message for message in errors if text in message)
    pytest.fail(f"no alarm with {text!r}, but {errors}")


def test_a_pair_becomes_a_fused_image_and_a_status_with_its_header(make_bench: MakeBench) -> None:
    bench = make_bench()
    fused = bench.listen("/cldyn/fused/image_raw", Image)
    status = bench.listen("/cldyn/status", DiagnosticArray)
    image = np.random.default_rng(1).integers(0, 256, (24, 32, 3), dtype=np.uint8)
    bench.show("infrared", T0 + 2_000_000)
    bench.show("visible", T0, image)
    wait_for(lambda: fused and status)
    assert (fused[0].header.frame_id, stamp_ns(fused[0].header), fused[0].encoding) == ("visible_optical", T0, "rgb8")
    np.testing.assert_array_equal(np.frombuffer(fused[0].data, np.uint8).reshape(24, 32, 3), image)
    assert stamp_ns(status[0].header) == T0
    told = values(status[0].status[0])
    assert (told["frame"], told["task"], told["mode"], told["error"]) == ("1", "none", "stream", "")
    assert told["pair gap ms"] == "2.000"
    assert float(told["total ms"]) > 0
    assert {"prepare ms", "task ms"} <= told.keys()
    pair = bench.engine.pairs[0]
    assert (pair.stamp_ns, pair.infrared.shape, pair.infrared.dtype) == (T0, (12, 16), np.uint8)


def test_task_switch_loses_no_frame_and_shows_in_the_next_status(make_bench: MakeBench) -> None:
    bench = make_bench()
    status = bench.listen("/cldyn/status", DiagnosticArray)
    detections = bench.listen("/cldyn/detections", Detection2DArray)
    sequence = ["none"] * 4 + ["detection"] * 4 + ["none"] * 4
    for k, task in enumerate(sequence):
        if k and task != sequence[k - 1]:
            assert bench.set_parameter("task", task).successful
        bench.show_pair(T0 + k * PERIOD)
        wait_for(lambda k=k: len(status) > k)
    assert [values(m.status[0])["task"] for m in status] == sequence
    assert [stamp_ns(m.header) for m in status] == [T0 + k * PERIOD for k in range(12)]
    assert [stamp_ns(m.header) for m in detections] == [T0 + k * PERIOD for k in range(4, 8)]
    found = detections[0].detections[0]
    assert found.header == detections[0].header
    assert found.id == ""
    assert (found.bbox.center.position.x, found.bbox.center.position.y) == (7.0, 7.0)
    assert (found.bbox.size_x, found.bbox.size_y) == (10.0, 6.0)
    assert found.results[0].hypothesis.class_id == NAMES[1]
    assert found.results[0].hypothesis.score == pytest.approx(0.9)


@pytest.mark.parametrize(("task", "model"), [("segmentation", "segformer-b0"), ("saliency", "ctdnet-small")])
def test_a_map_is_published_by_weights_of_one_s_own(
    make_bench: MakeBench, tmp_path: Path, task: str, model: str
) -> None:
    path = tmp_path / "own.safetensors"
    tasks.save_network(tasks.build(model, ("road", "person") if task == "segmentation" else ()), path, {})
    bench = make_bench(engine=FusionEngine, device="cpu", **{f"{task}__weights": str(path)})
    maps = bench.listen(f"/cldyn/{task}", Image)
    assert bench.set_parameter("task", task).successful
    bench.show_pair(T0)
    wait_for(lambda: maps, 30.0)
    assert (maps[0].encoding, maps[0].height, maps[0].width, stamp_ns(maps[0].header)) == ("mono8", 24, 32, T0)
    assert bench.set_parameter("task", "none").successful


def test_plans_are_held_in_stream_mode_and_the_mode_switches_live(make_bench: MakeBench, tmp_path: Path) -> None:
    path = tmp_path / "own.safetensors"
    tasks.save_network(tasks.build("ctdnet-small", ()), path, {})
    bench = make_bench(
        engine=FusionEngine, device="cpu", task="saliency", saliency__weights=str(path), loop__period=3, backend="torch"
    )
    status = bench.listen("/cldyn/status", DiagnosticArray)

    def told(count: int) -> list[dict[str, str]]:
        for _ in range(count):
            seen = len(status)
            bench.show_pair(T0 + seen * PERIOD)
            wait_for(lambda seen=seen: len(status) > seen, 30.0)
        return [values(message.status[0]) for message in status[-count:]]

    held = told(7)
    assert [(one["mode"], one["plan_age"]) for one in held] == [("stream", age) for age in "0120120"]
    assert all(one["plan"] and not one["error"] for one in held)
    assert "first_pass ms" in held[0] and "first_pass ms" not in held[1] and "plan ms" in held[3]
    assert bench.set_parameter("loop.period", 1).successful
    assert [one["plan_age"] for one in told(2)] == ["0", "0"]
    assert bench.set_parameter("loop.mode", "exact").successful
    assert [(one["mode"], one["plan_age"], bool(one["plan"])) for one in told(2)] == [("exact", "0", True)] * 2
    assert bench.set_parameter("loop.mode", "open").successful
    assert [(one["mode"], one["plan"]) for one in told(2)] == [("open", "")] * 2
    assert bench.set_parameter("loop.mode", "stream").successful
    assert [(one["mode"], bool(one["plan"])) for one in told(2)] == [("stream", True)] * 2


def test_label_info_is_latched(make_bench: MakeBench) -> None:
    bench = make_bench(task="detection", detector__confidence=0.5)
    latched = QoSProfile(depth=1, durability=QoSDurabilityPolicy.TRANSIENT_LOCAL)
    labels = bench.listen("/cldyn/label_info", LabelInfo, latched)
    wait_for(lambda: labels)
    assert [(c.class_id, c.class_name) for c in labels[0].class_map] == list(enumerate(NAMES))
    assert labels[0].threshold == 0.5


@pytest.mark.parametrize(
    ("name", "value", "reason"),
    [
        ("task", "nonsense", "none, detection, segmentation, saliency"),
        ("task", 3, "none, detection"),
        ("task", "segmentation", "needs a network that is not bundled"),
        ("detector.confidence", 1.5, "detector.confidence"),
        ("sync.tolerance_ms", "wide", "a number"),
        ("registration.homography", [1.0, 2.0], "9 numbers"),
        ("weights", "other", "read-only"),
        ("detector.weights", "other", "read-only"),
        ("segmentation.weights", "other", "read-only"),
        ("saliency.weights", "other", "read-only"),
        ("backend", "torch", "read-only"),
        ("precision", "fp32", "read-only"),
        ("loop.period", 0, "loop.period out of range. Min: 1, Max: 1000"),
    ],
)
def test_refused_values_come_with_a_reason(make_bench: MakeBench, name: str, value: Any, reason: str) -> None:
    bench = make_bench()
    before = bench.node.get_parameter(name).value
    result = bench.set_parameter(name, value)
    assert not result.successful
    assert reason in result.reason
    assert bench.node.get_parameter(name).value == before
    assert bench.engine.settings.task.value == "none"


def test_task_that_could_not_be_prepared_is_refused(make_bench: MakeBench, monkeypatch: pytest.MonkeyPatch) -> None:
    apply = FakeEngine.apply

    def broken(engine: FakeEngine, settings: EngineSettings) -> None:
        if settings.task is Task.DETECTION:
            raise ImportError("libGL.so.1 is missing")  # installed, but does not import
        apply(engine, settings)

    monkeypatch.setattr(FakeEngine, "apply", broken)
    bench = make_bench()
    result = bench.set_parameter("task", "detection")
    assert not result.successful
    assert result.reason == "task detection cannot be prepared: libGL.so.1 is missing"


def test_atomic_refusal_changes_nothing(make_bench: MakeBench) -> None:
    bench = make_bench()
    changes = [Parameter("task", value="detection"), Parameter("sync.on_missing", value="everything")]
    request = SetParametersAtomically.Request(parameters=[p.to_parameter_msg() for p in changes])
    result = bench.call("/cldyn/set_parameters_atomically", SetParametersAtomically, request).result
    assert not result.successful
    assert "hold, visible, infrared" in result.reason
    assert bench.node.get_parameter("task").value == "none"
    assert bench.engine.settings.task.value == "none"


def test_parameters_are_described(make_bench: MakeBench) -> None:
    bench = make_bench(start=False)
    request = DescribeParameters.Request(names=["task", "weights", "detector.iou"])
    task, weights, iou = bench.call("/cldyn/describe_parameters", DescribeParameters, request).descriptors
    assert "What the fused image is for" in task.description
    assert task.additional_constraints == "one of: none, detection, segmentation, saliency"
    assert weights.read_only
    assert (iou.floating_point_range[0].from_value, iou.floating_point_range[0].to_value) == (0.0, 1.0)


def test_lifecycle_through_the_standard_services(make_bench: MakeBench) -> None:
    bench = make_bench(start=False)

    def change(label: str) -> bool:
        request = ChangeState.Request()
        request.transition.label = label
        return bench.call("/cldyn/change_state", ChangeState, request).success

    def state() -> str:
        return bench.call("/cldyn/get_state", GetState, GetState.Request()).current_state.label

    assert state() == "unconfigured"
    assert bench.engines == []
    for _ in range(2):  # everything can be done again
        assert change("configure")
        assert state() == "inactive"
        assert change("activate")
        assert state() == "active"
        status = bench.listen("/cldyn/status", DiagnosticArray)
        status.clear()
        bench.show_pair(T0)
        wait_for(lambda status=status: status)
        assert change("deactivate")
        assert bench.node.count_subscribers("/visible/image_raw") == 0
        assert change("cleanup")
        assert bench.engine.closed
    assert state() == "unconfigured"
    assert len(bench.engines) == 2
    assert change("shutdown")
    assert state() == "finalized"


def test_configure_fails_with_the_reason_and_can_be_repeated(make_bench: MakeBench, capfd: Any) -> None:
    bench = make_bench(start=False, weights="missing")
    request = ChangeState.Request()
    request.transition.label = "configure"
    assert not bench.call("/cldyn/change_state", ChangeState, request).success
    assert bench.call("/cldyn/get_state", GetState, GetState.Request()).current_state.label == "unconfigured"
    assert "no weights called 'missing'" in "".join(capfd.readouterr())


def test_parameters_set_while_inactive_apply_at_once(make_bench: MakeBench) -> None:
    bench = make_bench(start=False)
    bench.node.trigger_configure()
    assert bench.set_parameter("task", "detection").successful
    assert bench.engine.settings.task.value == "detection"


def test_newest_frame_wins_over_a_slow_engine(make_bench: MakeBench) -> None:
    bench = make_bench()
    status = bench.listen("/cldyn/status", DiagnosticArray)
    bench.engine.step_s = 0.5
    for k in range(8):
        bench.show_pair(T0 + k * PERIOD)
        bench.wait_until_offered(k + 1)
    wait_for(lambda: status and stamp_ns(status[-1].header) == T0 + 7 * PERIOD)
    assert len(status) <= 4
    superseded = int(values(status[-1].status[0])["superseded"])
    assert len(status) + superseded == 8


def test_parameter_calls_do_not_wait_for_inference(make_bench: MakeBench) -> None:
    bench = make_bench()
    bench.engine.step_s = 2.0
    bench.show_pair(T0)
    wait_for(lambda: bench.engine.pairs)
    start = time.monotonic()
    assert bench.set_parameter("detector.confidence", 0.4).successful
    assert time.monotonic() - start < 1.5


def test_a_silent_camera_is_named(make_bench: MakeBench) -> None:
    bench = make_bench(sync__timeout_ms=800.0)
    for k in range(3):
        bench.show_pair(T0 + k * PERIOD)
    message = alarm(bench, "infrared missing", lambda k: bench.show("visible", T0 + (k + 3) * PERIOD))
    assert "infrared missing: /infrared/image_raw has a publisher, but no frame came" in message
    assert "(3 received before)" in message
    assert "visible missing" not in message


def test_a_camera_without_publisher_is_named(make_bench: MakeBench) -> None:
    bench = make_bench(sync__timeout_ms=100.0)
    assert "no publisher on /infrared/image_raw" in diagnostics(bench, "fusion", "infrared missing").message


def test_stamps_apart_are_explained(make_bench: MakeBench) -> None:
    bench = make_bench(sync__timeout_ms=800.0, sync__tolerance_ms=10)

    def show(k: int) -> None:
        bench.show("infrared", T0 + k * 10 * PERIOD + 130_000_000)
        bench.show("visible", T0 + k * 10 * PERIOD)

    message = alarm(bench, "both cameras deliver", show)
    assert "130 ms" in message or "370 ms" in message
    assert "sync.tolerance_ms (10)" in message


@pytest.mark.parametrize("source", ["visible", "infrared"])
def test_one_camera_stands_in_until_the_other_returns(make_bench: MakeBench, source: str) -> None:
    bench = make_bench(sync__timeout_ms=200.0, sync__on_missing=source)
    fused = bench.listen("/cldyn/fused/image_raw", Image)
    status = bench.listen("/cldyn/status", DiagnosticArray)
    for k in range(10):
        bench.show(source, T0 + k * PERIOD)
        time.sleep(0.05)
    wait_for(lambda: status)
    assert values(status[0].status[0])["mode"] == f"{source} only"
    assert fused[0].header.frame_id == f"{source}_optical"
    assert bench.engine.pairs == []
    for k in range(10, 16):
        bench.show_pair(T0 + k * PERIOD)
        time.sleep(0.02)
    wait_for(lambda: values(status[-1].status[0])["mode"] == "stream")


def test_malformed_images_are_counted_and_survived(make_bench: MakeBench) -> None:
    bench = make_bench()
    status = bench.listen("/cldyn/status", DiagnosticArray)
    bench.show("visible", T0, data=array.array("B", b"short"))
    bench.show("visible", T0 + 1, encoding="smell8")
    bench.show("visible", T0 + 2, width=0)
    bench.show_pair(T0 + PERIOD)
    wait_for(lambda: status)
    told = values(diagnostics(bench, "visible input", ""))
    assert told["refused by converter"] == "3"
    assert "empty image" in told["last converter error"]


def test_what_the_engine_raises_is_counted_and_survived(make_bench: MakeBench) -> None:
    bench = make_bench()
    status = bench.listen("/cldyn/status", DiagnosticArray)
    for k, fault in enumerate((ValueError("pair too large"), RuntimeError("out of memory"))):
        bench.engine.fault = fault
        bench.show_pair(T0 + k * PERIOD)
        wait_for(lambda k=k: len(bench.engine.pairs) > k)
    bench.engine.fault, bench.engine.task_error = None, "detection: KeyError: 'x'"
    bench.show_pair(T0 + 2 * PERIOD)
    wait_for(lambda: status)
    told = values(status[0].status[0])
    assert (told["refused by engine"], told["failures"], told["task errors"]) == ("1", "1", "1")
    assert told["error"] == "detection: KeyError: 'x'"
    assert status[0].status[0].level == b"\x01"


@pytest.mark.parametrize("reliability", ["auto", "best_effort"])
def test_best_effort_camera_is_received(make_bench: MakeBench, reliability: str) -> None:
    bench = make_bench(qos__reliability=reliability)
    status = bench.listen("/cldyn/status", DiagnosticArray)
    best_effort = QoSProfile(depth=5, reliability=QoSReliabilityPolicy.BEST_EFFORT)
    for source in ("visible", "infrared"):
        bench.connect(f"/{source}/image_raw", Image, best_effort)
    bench.show_pair(T0)
    wait_for(lambda: status)


def test_incompatible_camera_is_explained(make_bench: MakeBench) -> None:
    bench = make_bench(qos__reliability="reliable", sync__timeout_ms=100.0)
    best_effort = QoSProfile(depth=5, reliability=QoSReliabilityPolicy.BEST_EFFORT)
    bench.client.create_publisher(Image, "/visible/image_raw", best_effort)
    diagnostics(bench, "fusion", "asks for reliable (qos.reliability)")


def test_compressed_transport_follows_the_remapped_name(make_bench: MakeBench) -> None:
    bench = make_bench(image_transport="compressed")
    status = bench.listen("/cldyn/status", DiagnosticArray)
    for source in ("infrared", "visible"):
        msg = CompressedImage(format="png")
        msg.header.stamp.sec = 5
        msg.data = array.array("B", cv2.imencode(".png", np.full((8, 8), 7, np.uint8))[1].tobytes())
        bench.connect(f"/{source}/image_raw/compressed", CompressedImage).publish(msg)
    wait_for(lambda: status)
    assert bench.engine.pairs[0].visible.shape == (8, 8, 3)


def test_camera_info_overlay_and_jpeg_go_with_the_fused_image(make_bench: MakeBench) -> None:
    bench = make_bench(task="detection")
    infos = bench.listen("/cldyn/fused/camera_info", CameraInfo)
    overlays = bench.listen("/cldyn/overlay", Image)
    jpegs = bench.listen("/cldyn/fused/image_raw/compressed", CompressedImage)
    info = CameraInfo(width=64, height=24, k=[10.0, 0, 32.0, 0, 20.0, 12.0, 0, 0, 1.0])
    info.p = [10.0, 0, 32.0, 2.0, 0, 20.0, 12.0, 0, 0, 0, 1.0, 0]
    bench.connect("/visible/camera_info", CameraInfo).publish(info)
    number = 0

    def next_pair_has_all() -> bool:
        nonlocal number
        bench.show_pair(T0 + number * PERIOD)
        number += 1
        time.sleep(0.05)
        return bool(infos and overlays and jpegs)

    wait_for(next_pair_has_all)
    assert (infos[0].width, infos[0].height) == (32, 24)
    assert list(infos[0].k) == [5.0, 0, 16.0, 0, 20.0, 12.0, 0, 0, 1.0]
    assert list(infos[0].p) == [5.0, 0, 16.0, 1.0, 0, 20.0, 12.0, 0, 0, 0, 1.0, 0]
    assert infos[0].header.frame_id == overlays[0].header.frame_id == jpegs[0].header.frame_id == "visible_optical"
    assert overlays[0].height > 24


def test_the_compressed_image_is_what_the_parameters_say_while_somebody_subscribes(
    make_bench: MakeBench, monkeypatch: pytest.MonkeyPatch
) -> None:
    made: list[Compression] = []

    def encode(rgb: np.ndarray, header: Any, compression: Compression) -> CompressedImage:
        made.append(compression)
        return to_compressed_msg(rgb, header, compression)

    monkeypatch.setattr(publishers, "to_compressed_msg", encode)
    bench = make_bench(compressed__format="png")
    fused = bench.listen("/cldyn/fused/image_raw", Image)
    bench.show_pair(T0)
    wait_for(lambda: fused)
    assert not made, "nobody subscribes"
    compressed = bench.listen("/cldyn/fused/image_raw/compressed", CompressedImage)
    stamps = itertools.count(T0 + PERIOD, PERIOD)

    def newest(form: str) -> bool:
        bench.show_pair(next(stamps))
        time.sleep(0.05)
        return bool(compressed) and compressed[-1].format == form

    wait_for(lambda: newest("rgb8; png compressed bgr8"))
    assert bench.set_parameter("compressed.format", "jpeg").successful
    assert bench.set_parameter("compressed.quality", 40).successful
    wait_for(lambda: newest("rgb8; jpeg compressed bgr8"))
    assert (made[0], made[-1]) == (("png", 90), ("jpeg", 40))
    assert not bench.set_parameter("compressed.quality", 0).successful
    assert "one of jpeg, png" in bench.set_parameter("compressed.format", "tiff").reason


def test_bag_loop_goes_on(make_bench: MakeBench) -> None:
    bench = make_bench()
    status = bench.listen("/cldyn/status", DiagnosticArray)
    for round_ in range(2):
        for k in range(30):
            count = len(status)
            bench.show_pair(T0 + k * PERIOD)
            bench.wait_until_offered(30 * round_ + k + 1)
        wait_for(lambda count=count: len(status) > count)
    assert len(status) + int(values(status[-1].status[0]).get("superseded", "0")) >= 57


def test_calibration_of_a_latched_publisher_beside_a_remapped_camera(make_bench: MakeBench, rclpy_session: Any) -> None:
    latched = QoSProfile(depth=1, durability=QoSDurabilityPolicy.TRANSIENT_LOCAL)
    driver = rclpy_session.create_node("driver")
    driver.create_publisher(CameraInfo, "/cam/camera_info", latched).publish(CameraInfo(width=32, height=24, d=[0.5]))
    bench = make_bench(cli_args=["--ros-args", "-r", "/visible/image_raw:=/cam/image"])
    infos = bench.listen("/cldyn/fused/camera_info", CameraInfo)
    wait_for(lambda: bench.node._active._camera_info.newest)
    bench.show("infrared", T0)
    bench.show("visible", T0, topic="/cam/image")
    wait_for(lambda: infos)
    driver.destroy_node()
    assert list(infos[0].d) == [0.5]


def test_calibration_topic_that_is_remapped_itself_is_taken(make_bench: MakeBench) -> None:
    words = ["--ros-args", "-r", "visible/image_raw:=/cam/image", "-r", "visible/camera_info:=/else/info"]
    assert make_bench(cli_args=words).node._active._camera_info.topic == "/else/info"


def test_infrared_alone_has_no_calibration_of_the_visible_camera(make_bench: MakeBench) -> None:
    bench = make_bench(sync__timeout_ms=200.0, sync__on_missing="infrared")
    infos = bench.listen("/cldyn/fused/camera_info", CameraInfo)
    status = bench.listen("/cldyn/status", DiagnosticArray)
    bench.connect("/visible/camera_info", CameraInfo).publish(CameraInfo(width=32, height=24))
    wait_for(lambda: bench.node._active._camera_info.newest)

    def alone() -> bool:
        bench.show("infrared", T0 + time.monotonic_ns())
        time.sleep(0.05)
        return bool(status)

    wait_for(alone)

    def together() -> bool:
        bench.show_pair(T0 + 10**15 + time.monotonic_ns())
        time.sleep(0.05)
        return bool(values(status[-1].status[0])["mode"] == "stream" and infos)

    wait_for(together)
    assert {info.header.frame_id for info in infos} == {"visible_optical"}


def test_switch_during_a_step_survives_deactivation(make_bench: MakeBench) -> None:
    bench = make_bench()
    bench.engine.step_s = 1.0
    bench.show_pair(T0)
    wait_for(lambda: bench.engine.pairs)
    assert bench.set_parameter("task", "detection").successful
    bench.node.trigger_deactivate()
    bench.node.trigger_activate()
    assert bench.engine.settings.task.value == "detection"


def test_deactivation_waits_for_the_step_in_progress(make_bench: MakeBench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("cldyn_ros.active.STOP_PATIENCE_S", 0.1)
    bench = make_bench()
    status = bench.listen("/cldyn/status", DiagnosticArray)
    bench.engine.step_s = 1.0
    bench.show_pair(T0)
    wait_for(lambda: bench.engine.pairs)
    bench.node.trigger_deactivate()
    assert not [thread for thread in threading.enumerate() if thread.name == "fusion_worker"]
    wait_for(lambda: status)


def test_pairs_that_all_fail_are_an_error(make_bench: MakeBench) -> None:
    bench = make_bench()
    bench.engine.fault = RuntimeError("CUDA out of memory")
    message = alarm(bench, "pairs failed", lambda k: bench.show_pair(T0 + k * PERIOD))
    assert "RuntimeError: CUDA out of memory" in message
    bench.engine.fault = None
    status = bench.listen("/cldyn/status", DiagnosticArray)
    wait_for(lambda: bench.show_pair(T0 + 10**12 + time.monotonic_ns()) or time.sleep(0.05) or status)
    diagnostics(bench, "fusion", "fusing")


def test_a_hundred_task_switches_a_second(make_bench: MakeBench) -> None:
    """Under images, of which none is lost; the last switch counts."""
    bench = make_bench()
    status = bench.listen("/cldyn/status", DiagnosticArray)
    client = bench.client.create_client(SetParameters, "/cldyn/set_parameters")
    assert client.wait_for_service(timeout_sec=10.0)
    requests = [
        SetParameters.Request(parameters=[Parameter("task", value=task).to_parameter_msg()])
        for task in ("none", "detection")
    ]
    futures = []
    for k in range(200):
        futures.append(client.call_async(requests[k % 2]))
        if k % 20 == 0:
            bench.show_pair(T0 + k * PERIOD)
        time.sleep(0.005)
    wait_for(lambda: all(future.done() for future in futures))
    assert all(future.result().results[0].successful for future in futures)
    bench.show_pair(T0 + 10_000 * PERIOD)
    wait_for(lambda: status and stamp_ns(status[-1].header) == T0 + 10_000 * PERIOD)
    assert values(status[-1].status[0])["task"] == "detection"
    assert [stamp_ns(m.header) for m in status[:-1]] == [T0 + k * PERIOD for k in range(0, 200, 20)]


SCRIPT = """
    import os, signal, sys
    sys.path.insert(0, {folder!r})
    from ros_bench import FakeEngine
    from cldyn_ros.fusion_node import main

    class SlowEngine(FakeEngine):
        def step(self, pair):
            print("stepping", flush=True)
            return super().step(pair)

    def factory(settings):
        engine = SlowEngine(settings)
        engine.step_s = 1.0
        print("ready", flush=True)
        return engine

    class Late:
        def __del__(self, kill=os.kill, pid=os.getpid(), number=signal.SIGINT):
            kill(pid, number)  # when the interpreter ends and has taken Python's handlers away

    late = Late()
    sys.exit(main(engine_factory=factory))
"""


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_signal_in_mid_inference_ends_cleanly(make_bench: MakeBench, number: int) -> None:
    bench = make_bench(start=False)  # plays the cameras; its own node stays unconfigured
    script = textwrap.dedent(SCRIPT).format(folder=os.path.dirname(__file__))
    command = [sys.executable, "-c", script, "--ros-args", "-r", "__node:=other", "-p", "lazy:=false"]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    try:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        bench.show_pair(T0)
        assert process.stdout.readline() == "stepping\n"
        process.send_signal(number)
        process.send_signal(number)  # an impatient second one
        _, errors = process.communicate(timeout=15)
    finally:
        process.kill()
    assert process.returncode == 0, errors
    assert "Traceback" not in errors


def test_empty_list_of_a_parameter_dump_is_taken(make_bench: MakeBench) -> None:
    bench = make_bench(start=False, registration__homography=None)  # what rcl makes of [] in a file
    assert bench.node.get_parameter("registration.homography").value == []
    assert bench.set_parameter("registration.homography", [float(k) for k in range(9)]).successful


def test_refused_start_value_ends_with_the_reason() -> None:
    command = [sys.executable, "-m", "cldyn_ros.fusion_node", "--ros-args", "-p", "task:=nonsense"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert done.returncode == 1
    assert "task takes one of none, detection, segmentation, saliency, got 'nonsense'" in done.stderr
    assert "Traceback" not in done.stderr
