"""The layouts of rviz and Foxglove name topics, fields, parameters and services that the running node has."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

pytest.importorskip("rclpy")
pytest.importorskip("vision_msgs", reason="vision_msgs is not built; run make setup")

from diagnostic_msgs.msg import DiagnosticArray
from ros_bench import MakeBench, wait_for

from cldyn_ros.interface import message_class

CONFIG = Path(__file__).resolve().parents[2] / "config"
IMAGE = "sensor_msgs/msg/Image"


def graph(bench: Any) -> dict[str, str]:
    """Topics of the node, with their type, once another node has heard of all of them."""

    def known(observer: Any) -> dict[str, str]:
        pairs = [
            *observer.get_publisher_names_and_types_by_node("cldyn", "/"),
            *observer.get_subscriber_names_and_types_by_node("cldyn", "/"),
        ]
        return {name: kinds[0] for name, kinds in pairs}

    wait_for(lambda: known(bench.client) == known(bench.node))
    return known(bench.client)


def leaves(tree: Any) -> Iterator[str]:
    """Panels of a Foxglove layout."""
    if isinstance(tree, str):
        yield tree
    else:
        yield from leaves(tree["first"])
        yield from leaves(tree["second"])


def test_rviz_shows_images_of_the_node(make_bench: MakeBench) -> None:
    topics = graph(make_bench())
    layout = yaml.safe_load((CONFIG / "rviz" / "cldyn.rviz").read_text(encoding="utf-8"))
    displays = layout["Visualization Manager"]["Displays"]
    assert len(displays) >= 4
    for display in displays:
        assert display["Class"] == "rviz_default_plugins/Image"
        assert topics[display["Topic"]["Value"]] == IMAGE


def test_foxglove_reads_what_the_node_publishes(make_bench: MakeBench) -> None:
    bench = make_bench(task="detection")
    topics = graph(bench)
    layout = json.loads((CONFIG / "foxglove" / "cldyn.json").read_text(encoding="utf-8"))
    panels = layout["configById"]
    assert sorted(leaves(layout["layout"])) == sorted(panels)

    status = bench.listen("/cldyn/status", DiagnosticArray)
    bench.show_pair(1_700_000_000_000_000_000)
    wait_for(lambda: status)
    keys = {value.key for value in status[0].status[0].values}

    paths = [path["value"] for panel in panels.values() for path in panel.get("paths", ())]
    paths += [panel["topicPath"] for panel in panels.values() if "topicPath" in panel]
    assert len(paths) >= 8
    for path in paths:
        topic, field = path.split(".")[:2]
        assert re.sub(r"\[.*", "", field) in message_class(topics[topic]).get_fields_and_field_types(), path
        assert set(re.findall(r'key=="(\w+)"', path)) <= keys, path
    images = [panel["imageMode"] for panel in panels.values() if "imageMode" in panel]
    assert {topics[mode["imageTopic"]] for mode in images} == {IMAGE}
    calibrations = {topics[mode["calibrationTopic"]] for mode in images if "calibrationTopic" in mode}
    assert calibrations == {"sensor_msgs/msg/CameraInfo"}
    assert topics[panels["DiagnosticSummary!health"]["topicToRender"]] == "diagnostic_msgs/msg/DiagnosticArray"
    services = dict(bench.client.get_service_names_and_types_by_node("cldyn", "/"))
    assert services[panels["CallService!enable"]["serviceName"]] == ["std_srvs/srv/SetBool"]
    assert json.loads(panels["CallService!enable"]["requestPayload"]).keys() == {"data"}
