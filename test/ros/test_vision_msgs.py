"""vision_msgs, built by the set-up or from apt: the fields of vision_msgs 4, and a real crossing between processes."""

from __future__ import annotations

import os
import random
import subprocess
import sys
import textwrap
from typing import Any

import pytest

msg = pytest.importorskip("vision_msgs.msg", reason="vision_msgs is not built; run make setup")

HEADER = {"header": "std_msgs/Header"}
FIELDS = {
    "BoundingBox2D": {"center": "vision_msgs/Pose2D", "size_x": "double", "size_y": "double"},
    "Detection2D": {
        **HEADER,
        "results": "sequence<vision_msgs/ObjectHypothesisWithPose>",
        "bbox": "vision_msgs/BoundingBox2D",
        "id": "string",
    },
    "Detection2DArray": {**HEADER, "detections": "sequence<vision_msgs/Detection2D>"},
    "LabelInfo": {**HEADER, "class_map": "sequence<vision_msgs/VisionClass>", "threshold": "float"},
    "ObjectHypothesis": {"class_id": "string", "score": "double"},
    "ObjectHypothesisWithPose": {
        "hypothesis": "vision_msgs/ObjectHypothesis",
        "pose": "geometry_msgs/PoseWithCovariance",
    },
    "Point2D": {"x": "double", "y": "double"},
    "Pose2D": {"position": "vision_msgs/Point2D", "theta": "double"},
    "VisionClass": {"class_id": "uint16", "class_name": "string"},
    "VisionInfo": {**HEADER, "method": "string", "database_location": "string", "database_version": "int32"},
}
COUNT = 20
TIMEOUT_S = 30


@pytest.mark.parametrize("name", FIELDS)
def test_fields_are_those_of_vision_msgs_4(name: str) -> None:
    # As lists: the order is part of the serialized form.
    assert list(getattr(msg, name).get_fields_and_field_types().items()) == list(FIELDS[name].items())


def make_array(number: int) -> Any:
    """A message in which every field that cldyn_ros uses has a value of its own."""
    array = msg.Detection2DArray()
    array.header.frame_id = "camera_visible"
    array.header.stamp.sec, array.header.stamp.nanosec = number, 5
    for index, name in enumerate(("person", "car")):
        found = msg.Detection2D(header=array.header, id=f"{number}-{index}")
        found.bbox.center.position.x, found.bbox.center.position.y = 10.25 + index, 20.5 + number
        found.bbox.center.theta, found.bbox.size_x, found.bbox.size_y = 0.125, 30.0, 40.75
        hypothesis = msg.ObjectHypothesisWithPose()
        hypothesis.hypothesis.class_id, hypothesis.hypothesis.score = name, 0.875
        hypothesis.pose.pose.position.z, hypothesis.pose.covariance[35] = 3.5, 0.0625
        found.results.append(hypothesis)
        array.detections.append(found)
    return array


PUBLISHER = """
import sys, time
import rclpy
from vision_msgs.msg import Detection2DArray
from test_vision_msgs import COUNT, TIMEOUT_S, make_array

rclpy.init()
node = rclpy.create_node("sender")
publisher = node.create_publisher(Detection2DArray, "crossing", 50)
deadline = time.monotonic() + TIMEOUT_S
while not publisher.get_subscription_count():
    if time.monotonic() > deadline:
        sys.exit("no subscriber")
    time.sleep(0.02)
for number in range(COUNT):
    publisher.publish(make_array(number))
while publisher.get_subscription_count() and time.monotonic() < deadline:
    time.sleep(0.02)  # until the receiver has all and leaves
"""

RECEIVER = """
import sys, time
import rclpy
from vision_msgs.msg import Detection2DArray
from test_vision_msgs import COUNT, TIMEOUT_S, make_array

rclpy.init()
node = rclpy.create_node("receiver")
received = []
node.create_subscription(Detection2DArray, "crossing", received.append, 50)
deadline = time.monotonic() + TIMEOUT_S
while len(received) < COUNT and time.monotonic() < deadline:
    rclpy.spin_once(node, timeout_sec=0.1)
if received != [make_array(number) for number in range(COUNT)]:
    sys.exit(f"{len(received)} of {COUNT} received, or fields differ: {received[:1]}")
print(f"{len(received)} equal")
"""


def test_detections_cross_between_processes() -> None:
    pytest.importorskip("rclpy")
    env = os.environ | {
        "ROS_AUTOMATIC_DISCOVERY_RANGE": "LOCALHOST",
        "ROS_DOMAIN_ID": str(random.SystemRandom().randrange(102)),
        "PYTHONPATH": os.path.dirname(__file__),
    }

    def start(code: str) -> subprocess.Popen[str]:
        command = [sys.executable, "-c", textwrap.dedent(code)]
        return subprocess.Popen(command, env=env, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)

    processes = [start(RECEIVER), start(PUBLISHER)]
    try:
        outputs = [process.communicate(timeout=2 * TIMEOUT_S)[0] for process in processes]
    finally:
        for process in processes:
            process.kill()
            process.wait()
    assert [process.returncode for process in processes] == [0, 0], outputs
    assert f"{COUNT} equal" in outputs[0]
