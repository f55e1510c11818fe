"""Running the node: pausing it, lazy work, latencies as topics, and transitions that fail."""

from __future__ import annotations

import contextlib
import threading
import time
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("rclpy")
pytest.importorskip("vision_msgs", reason="vision_msgs is not built; run make setup")

from diagnostic_msgs.msg import DiagnosticArray
from lifecycle_msgs.srv import ChangeState, GetState
from ros_bench import Bench, FakeEngine, MakeBench, wait_for
from sensor_msgs.msg import Image
from std_msgs.msg import Float64
from std_srvs.srv import SetBool

from cldyn_core.engine import FusionEngine
from cldyn_ros.interface import INPUTS, OUTPUTS, SERVICES, STAGES

T0 = 1_700_000_000_000_000_000
PERIOD = 50_000_000
ROOT = Path(__file__).resolve().parents[2]


def fusion_status(received: list[Any], message: str) -> Any:
    """The first "fusion" status of /diagnostics with this message."""
    return wait_for(
        lambda: next((s for m in received for s in m.status if "fusion" in s.name and s.message == message), None)
    )


def change(bench: Bench, label: str) -> bool:
    request = ChangeState.Request()
    request.transition.label = label
    return bool(bench.call("/cldyn/change_state", ChangeState, request).success)


def state(bench: Bench) -> str:
    return str(bench.call("/cldyn/get_state", GetState, GetState.Request()).current_state.label)


def images_taken(bench: Bench, count: int) -> None:
    """Until the node has received so many images in all."""
    inputs = bench.node._active._health._inputs
    wait_for(lambda: sum(state.received for state in inputs.values()) >= count)


def test_lazy_node_works_only_for_subscribers(make_bench: MakeBench) -> None:
    bench = make_bench(lazy=True, sync__timeout_ms=300.0)
    told = bench.listen("/diagnostics", DiagnosticArray)
    idle = fusion_status(told, "idle: nobody subscribes")
    assert idle.level == b"\x00"
    bench.show_pair(T0)
    images_taken(bench, 2)
    time.sleep(0.4)  # longer than sync.timeout_ms: an idle node does not starve
    assert bench.engine.pairs == []
    assert not [s.message for m in told for s in m.status if s.level == b"\x02"]
    assert bench.set_parameter("sync.timeout_ms", 60_000.0).successful
    fused: list[Any] = []
    subscription = bench.client.create_subscription(Image, "/cldyn/fused/image_raw", fused.append, 10)
    wait_for(bench.node._outputs.wanted)
    bench.show_pair(T0 + PERIOD)
    wait_for(lambda: fused)
    assert len(bench.engine.pairs) == 1
    fusion_status(told, "fusing")
    bench.client.destroy_subscription(subscription)
    told.clear()
    fusion_status(told, "idle: nobody subscribes")
    bench.show_pair(T0 + 2 * PERIOD)
    images_taken(bench, 6)
    assert len(bench.engine.pairs) == 1
    told.clear()
    (visible,) = wait_for(lambda: [s for m in told[-1:] for s in m.status if "visible" in s.name])
    assert {"received": "3", "passed over": "2", "paired": "1"}.items() <= {
        v.key: v.value for v in visible.values
    }.items()
    assert bench.set_parameter("lazy", False).successful
    bench.show_pair(T0 + 3 * PERIOD)
    wait_for(lambda: len(bench.engine.pairs) == 2)


@pytest.mark.parametrize(
    "output", [output for output in OUTPUTS if output.name not in ("/diagnostics", "~/label_info")]
)
def test_each_topic_that_comes_with_a_frame_wakes_a_lazy_node(make_bench: MakeBench, output: Any) -> None:
    from cldyn_ros.interface import message_class

    bench = make_bench(lazy=True)
    assert not bench.node._outputs.wanted()
    topic = output.name.replace("~", "/cldyn")
    bench.client.create_subscription(message_class(output.kind), topic, lambda _: None, 10)
    wait_for(bench.node._outputs.wanted)


def test_enable_stops_and_resumes_without_losing_anything(make_bench: MakeBench) -> None:
    bench = make_bench(task="detection", sync__timeout_ms=300.0)
    told = bench.listen("/diagnostics", DiagnosticArray)
    status = bench.listen("/cldyn/status", DiagnosticArray)
    bench.show_pair(T0)
    wait_for(lambda: status)
    answer = bench.call("/cldyn/enable", SetBool, SetBool.Request(data=False))
    assert answer.success and "disabled" in answer.message
    assert fusion_status(told, "disabled by ~/enable").level == b"\x01"
    bench.show_pair(T0 + PERIOD)
    images_taken(bench, 4)
    assert bench.node.count_subscribers("/visible/image_raw") == 1
    assert state(bench) == "active"
    assert change(bench, "deactivate") and change(bench, "activate")  # what it was told outlasts that
    assert bench.engine.rests == 1
    told.clear()
    fusion_status(told, "disabled by ~/enable")
    bench.show_pair(T0 + 2 * PERIOD)
    images_taken(bench, 2)
    assert bench.call("/cldyn/enable", SetBool, SetBool.Request(data=True)).success
    bench.show_pair(T0 + 3 * PERIOD)
    wait_for(lambda: len(status) == 2)
    assert [m.header.stamp.nanosec for m in status] == [0, 150_000_000]
    assert len(bench.engines) == 1
    assert not [s.message for m in told for s in m.status if s.level == b"\x02"]


def test_latencies_can_be_plotted(make_bench: MakeBench) -> None:
    bench = make_bench()
    got = {stage: bench.listen(f"/cldyn/latency/{stage}_ms", Float64) for stage in ("task", "total", "age", "plan")}
    now = time.time_ns()
    bench.show_pair(now)
    wait_for(lambda: got["task"] and got["total"] and got["age"])
    assert got["task"][0].data == 2.0  # as FakeEngine says
    assert 0 < got["total"][0].data < got["age"][0].data + 2.5 < 10_000  # the infrared image is stamped 2 ms later
    assert got["plan"] == []


def test_every_stage_of_the_engine_has_a_topic(make_bench: MakeBench) -> None:
    bench = make_bench(engine=FusionEngine, device="cpu", backend="torch", task="saliency", loop__mode="exact")
    status = bench.listen("/cldyn/status", DiagnosticArray)
    bench.show_pair(T0)
    wait_for(lambda: status, 30.0)
    stages = {v.key.removesuffix(" ms") for v in status[0].status[0].values if v.key.endswith(" ms")}
    assert stages - {"pair gap"} == STAGES.keys() - {"age"}


def test_the_table_of_topics_and_services_is_the_graph_s(make_bench: MakeBench) -> None:
    bench = make_bench()
    node, client = bench.node, bench.client

    def full(name: str) -> str:
        return str(node.resolve_topic_name(name))

    def used(kind: str) -> dict[str, list[str]]:
        names = dict(getattr(client, f"get_{kind}_names_and_types_by_node")("cldyn", "/"))
        standard = ("/rosout", "/parameter_events", "/cldyn/transition_event")
        return {name: types for name, types in names.items() if name not in standard}

    for kind, entries in (("publisher", OUTPUTS), ("subscriber", INPUTS)):
        expected = {full(entry.name): [entry.kind] for entry in entries}
        with contextlib.suppress(pytest.fail.Exception):  # the graph may lag; what it says at last is compared
            wait_for(lambda kind=kind, expected=expected: used(kind) == expected)
        assert used(kind) == expected
    services = dict(client.get_service_names_and_types_by_node("cldyn", "/"))
    assert {full(entry.name): [entry.kind] for entry in SERVICES}.items() <= services.items()


def test_failing_transitions_leave_nothing_behind_and_can_be_repeated(
    make_bench: MakeBench, monkeypatch: pytest.MonkeyPatch
) -> None:
    bench = make_bench(start=False)

    def fail(*_: Any) -> None:
        raise RuntimeError("no calibration today")

    def at_rest() -> bool:
        workers = [thread for thread in threading.enumerate() if thread.name == "fusion_worker"]
        return not workers and not bench.node.count_subscribers("/visible/image_raw")

    assert change(bench, "configure")
    with monkeypatch.context() as patch:
        patch.setattr("cldyn_ros.active.CameraInfoInput", fail)  # after worker and image subscriptions
        assert not change(bench, "activate")
    assert state(bench) == "unconfigured"
    assert at_rest()
    assert bench.engine.closed
    assert bench.client.count_publishers("/cldyn/fused/image_raw") == 0

    assert change(bench, "configure") and change(bench, "activate")
    status = bench.listen("/cldyn/status", DiagnosticArray)
    bench.show_pair(T0)
    wait_for(lambda: status)
    assert change(bench, "deactivate")
    with monkeypatch.context() as patch:
        patch.setattr(FakeEngine, "close", fail)
        assert not change(bench, "cleanup")
    assert state(bench) == "unconfigured"

    assert change(bench, "configure") and change(bench, "activate")
    assert change(bench, "shutdown")  # from the active state
    assert state(bench) == "finalized"
    assert at_rest()
    assert bench.engine.closed
