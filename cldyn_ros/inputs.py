"""Subscriptions: one camera's images, raw or compressed, with a reliability that fits the camera; its calibration."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from rclpy.node import Node
from rclpy.qos import QoSDurabilityPolicy, QoSHistoryPolicy, QoSPolicyKind, QoSProfile, QoSReliabilityPolicy
from rclpy.subscription import Subscription
from sensor_msgs.msg import CameraInfo, CompressedImage, Image

from cldyn_ros.health import InputState
from cldyn_ros.sync import Source

try:
    from rclpy.event_handler import SubscriptionEventCallbacks
except ImportError:  # Humble
    from rclpy.qos_event import SubscriptionEventCallbacks

OnImage = Callable[[Source, "Image | CompressedImage"], None]

_DEPTH = 10
_MAX_COEFFICIENTS = 64  # the longest distortion model of OpenCV has 14
_MAX_TEXT = 256


class ImageInput:
    """Subscribes `<source>/image_raw`, or `/compressed` below it (below the remapped name, as image_transport does).

    With reliability "auto" it starts reliable: best effort loses large images of an untuned publisher. A camera that
    offers only best effort never matches that; the next `tick` then subscribes again as best effort.
    """

    def __init__(self, node: Node, source: Source, transport: str, reliability: str, on_image: OnImage) -> None:
        self._node, self._source, self._on_image = node, source, on_image
        self._type: type[Any] = CompressedImage if transport == "compressed" else Image
        base = node.resolve_topic_name(f"{source.value}/image_raw")
        self.topic = f"{base}/compressed" if transport == "compressed" else base
        self._auto = reliability == "auto"
        self._incompatible = False
        self._subscription: Subscription | None = self._subscribe(reliable=reliability != "best_effort")

    def tick(self) -> None:
        """Follow a camera that offers best effort only. Not in the event: that belongs to the old subscription."""
        if not (self._auto and self._incompatible) or self._subscription is None:
            return
        self._auto = self._incompatible = False
        self._node.destroy_subscription(self._subscription)
        self._subscription = self._subscribe(reliable=False)
        self._node.get_logger().info(f"{self.topic} is published best effort: subscribed again as best effort")

    def state(self) -> InputState:
        """What the ROS graph says now."""
        types = [info.topic_type for info in self._node.get_publishers_info_by_topic(self.topic)]
        other = "" if not types or f"sensor_msgs/msg/{self._type.__name__}" in types else types[0]
        return InputState(self.topic, len(types), self._incompatible, other)

    def close(self) -> None:
        """Stop receiving."""
        if self._subscription is not None:
            self._node.destroy_subscription(self._subscription)
            self._subscription = None

    def _subscribe(self, reliable: bool) -> Subscription:
        reliability = QoSReliabilityPolicy.RELIABLE if reliable else QoSReliabilityPolicy.BEST_EFFORT
        return self._node.create_subscription(
            self._type,
            self.topic,
            lambda msg: self._on_image(self._source, msg),
            QoSProfile(history=QoSHistoryPolicy.KEEP_LAST, depth=_DEPTH, reliability=reliability),
            event_callbacks=SubscriptionEventCallbacks(incompatible_qos=self._on_incompatible_qos),
        )

    def _on_incompatible_qos(self, event: Any) -> None:
        self._incompatible = event.last_policy_kind == QoSPolicyKind.RELIABILITY


class CameraInfoInput:
    """The newest CameraInfo of the visible camera, from a driver that repeats it or one that latched it once.

    It starts volatile, which fits every driver; the next `tick` follows one that latches.
    """

    def __init__(self, node: Node) -> None:
        self._node = node
        self.newest: CameraInfo | None = None
        self.topic = camera_info_topic(node)
        self._latched = False
        self._subscription: Subscription | None = self._subscribe()

    def tick(self) -> None:
        """Ask for what was published before this node came, where the driver keeps it."""
        if self._latched or self._subscription is None or self.newest is not None:
            return
        offered = {info.qos_profile.durability for info in self._node.get_publishers_info_by_topic(self.topic)}
        if offered == {QoSDurabilityPolicy.TRANSIENT_LOCAL}:
            self._latched = True
            self._node.destroy_subscription(self._subscription)
            self._subscription = self._subscribe()

    def close(self) -> None:
        """Stop receiving."""
        if self._subscription is not None:
            self._node.destroy_subscription(self._subscription)
            self._subscription = None

    def _subscribe(self) -> Subscription:
        qos = QoSProfile(depth=1, reliability=QoSReliabilityPolicy.BEST_EFFORT)
        if self._latched:
            qos = QoSProfile(depth=1, durability=QoSDurabilityPolicy.TRANSIENT_LOCAL)
        return self._node.create_subscription(CameraInfo, self.topic, self._on_info, qos)

    def _on_info(self, msg: CameraInfo) -> None:
        if usable(msg):
            self.newest = msg


def usable(msg: CameraInfo) -> bool:
    """Whether a calibration is short enough to go out with every fused image."""
    texts = (msg.header.frame_id, msg.distortion_model)
    return len(msg.d) <= _MAX_COEFFICIENTS and max(map(len, texts)) <= _MAX_TEXT


def camera_info_topic(node: Node) -> str:
    """visible/camera_info where it is remapped, else camera_info beside the images, as image_transport has it."""
    default = "visible/camera_info"
    remapped = node.resolve_topic_name(default)
    if remapped != node.resolve_topic_name(default, only_expand=True):
        return remapped
    return node.resolve_topic_name("visible/image_raw").rpartition("/")[0] + "/camera_info"
