"""Everything the node publishes. Called from the worker thread; headers are those of the visible image."""

from __future__ import annotations

import copy
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus, KeyValue
from numpy.typing import NDArray
from rclpy.node import Node
from rclpy.qos import QoSDurabilityPolicy, QoSProfile
from rclpy.time import Time
from sensor_msgs.msg import CameraInfo
from std_msgs.msg import Float64, Header

from cldyn_core.types import Detections, LabelMap, SaliencyMap, StepResult, TaskOutput
from cldyn_ros.convert import Compression, to_compressed_msg, to_image_msg
from cldyn_ros.health import Report
from cldyn_ros.interface import OUTPUTS, latency_topic, message_class
from cldyn_ros.overlay import draw_overlay

try:
    from vision_msgs.msg import Detection2D, Detection2DArray, LabelInfo, ObjectHypothesisWithPose, VisionClass
except ImportError as error:
    raise ImportError(
        "vision_msgs is missing: run `make setup`, or on a ROS installation `apt install ros-$ROS_DISTRO-vision-msgs`"
    ) from error

_DEPTH = 5
_LATCHED = QoSProfile(depth=1, durability=QoSDurabilityPolicy.TRANSIENT_LOCAL)


class Outputs:
    """The node's publishers, reliable so that every kind of subscriber matches."""

    def __init__(self, node: Node) -> None:
        self._node = node
        self._name = node.get_fully_qualified_name().lstrip("/")
        self._publishers: dict[str, Any] = {}
        for output in OUTPUTS:
            qos = _LATCHED if output.name == "~/label_info" else _DEPTH
            self._publishers[output.name] = node.create_publisher(message_class(output.kind), output.name, qos)
        self._per_frame = [self._publishers[output.name] for output in OUTPUTS if output.per_frame]

    def close(self) -> None:
        """Destroy all publishers."""
        for publisher in self._publishers.values():
            self._node.destroy_publisher(publisher)
        self._publishers.clear()
        self._per_frame.clear()

    def wanted(self) -> bool:
        """Whether somebody subscribes to anything that comes with a frame."""
        return any(publisher.get_subscription_count() for publisher in self._per_frame)

    def publish(
        self, result: StepResult, header: Header, camera: CameraInfo | None, caption: str, compression: Compression
    ) -> None:
        """One step's fused image and answer; what costs time only for those who subscribe."""
        publishers = self._publishers
        publishers["~/fused/image_raw"].publish(to_image_msg(result.fused, header))
        if camera is not None:
            publishers["~/fused/camera_info"].publish(scaled_camera_info(camera, header, result.fused))
        if publishers["~/fused/image_raw/compressed"].get_subscription_count():
            compressed = to_compressed_msg(result.fused, header, compression)
            publishers["~/fused/image_raw/compressed"].publish(compressed)
        for topic, message in answer_msgs(result.output, header):
            publishers[f"~/{topic}"].publish(message)
        if publishers["~/overlay"].get_subscription_count():
            picture = draw_overlay(result.fused, result.output, caption)
            publishers["~/overlay"].publish(to_image_msg(picture, header))

    def publish_latencies(self, values_ms: Mapping[str, float], header: Header) -> None:
        """Each of STAGES on its topic, for those who subscribe."""
        stamp = Time.from_msg(header.stamp, self._node.get_clock().clock_type)
        age_ms = (self._node.get_clock().now() - stamp).nanoseconds / 1e6
        for stage, value in (*values_ms.items(), ("age", age_ms)):
            publisher = self._publishers.get(latency_topic(stage))
            if publisher is not None and publisher.get_subscription_count():
                publisher.publish(Float64(data=value))

    def publish_status(self, report: Report, header: Header) -> None:
        """The status of one frame, stamped as the frame."""
        self._publishers["~/status"].publish(self._array([report], header))

    def publish_diagnostics(self, reports: Iterable[Report]) -> None:
        """The node's state, stamped now."""
        header = Header(stamp=self._node.get_clock().now().to_msg())
        self._publishers["/diagnostics"].publish(self._array(reports, header))

    def publish_label_info(self, names: Sequence[str], threshold: float) -> None:
        """The class names of the task in force; latched."""
        header = Header(stamp=self._node.get_clock().now().to_msg())
        classes = [VisionClass(class_id=k, class_name=name) for k, name in enumerate(names)]
        self._publishers["~/label_info"].publish(LabelInfo(header=header, class_map=classes, threshold=threshold))

    def _array(self, reports: Iterable[Report], header: Header) -> DiagnosticArray:
        statuses = [
            DiagnosticStatus(
                level=bytes([report.level]),
                name=f"{self._name}: {report.name}",
                message=report.message,
                hardware_id=self._name,
                values=[KeyValue(key=key, value=value) for key, value in report.values.items()],
            )
            for report in reports
        ]
        return DiagnosticArray(header=header, status=statuses)


def answer_msgs(answer: TaskOutput, header: Header) -> Iterator[tuple[str, Any]]:
    """The topic of a task's answer, below the node's name, and its message; nothing without an answer."""
    if isinstance(answer, Detections):
        yield "detections", detections_msg(answer, header)
    elif isinstance(answer, LabelMap):
        yield "segmentation", to_image_msg(answer.classes, header)
    elif isinstance(answer, SaliencyMap):
        yield "saliency", to_image_msg(answer.values, header)


def detections_msg(found: Detections, header: Header) -> Detection2DArray:
    """Boxes as center and size in pixels; class_id is the class name."""
    msg = Detection2DArray(header=header)
    for (x1, y1, x2, y2), score, label in zip(found.boxes.tolist(), found.scores, found.labels, strict=True):
        hypothesis = ObjectHypothesisWithPose()
        hypothesis.hypothesis.class_id = found.names[int(label)]
        hypothesis.hypothesis.score = float(score)
        detection = Detection2D(header=header, results=[hypothesis])
        detection.bbox.center.position.x, detection.bbox.center.position.y = (x1 + x2) / 2, (y1 + y2) / 2
        detection.bbox.size_x, detection.bbox.size_y = x2 - x1, y2 - y1
        msg.detections.append(detection)
    return msg


def scaled_camera_info(camera: CameraInfo, header: Header, image: NDArray[np.uint8]) -> CameraInfo:
    """The visible camera's calibration under `header`, scaled where `image` (H, W, 3) has another size than it says.

    K, P, width, height and ROI speak of the full, unbinned sensor; the image is the ROI (if any) of it, binned.
    """
    info = copy.copy(camera)  # as it is in every frame of most cameras, so no deep copy yet
    info.header = header
    width = (camera.roi.width or camera.width) / max(camera.binning_x, 1)
    height = (camera.roi.height or camera.height) / max(camera.binning_y, 1)
    size = (image.shape[1], image.shape[0])
    if not width or not height or (int(width), int(height)) == size:
        return info
    info = copy.deepcopy(info)
    sx, sy = size[0] / width, size[1] / height
    rows = (sx, sy, 1.0)
    info.k = [value * rows[k // 3] for k, value in enumerate(camera.k)]
    info.p = [value * rows[k // 4] for k, value in enumerate(camera.p)]
    info.width, info.height = _uint32(camera.width * sx), _uint32(camera.height * sy)
    info.roi.x_offset, info.roi.width = _uint32(camera.roi.x_offset * sx), _uint32(camera.roi.width * sx)
    info.roi.y_offset, info.roi.height = _uint32(camera.roi.y_offset * sy), _uint32(camera.roi.height * sy)
    return info


def _uint32(value: float) -> int:
    """Rounded, and kept within the message's field, whatever the camera said."""
    return min(round(value), (1 << 32) - 1)
