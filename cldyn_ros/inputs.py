"""Subscription of one camera's images: raw or compressed, with a reliability that fits the camera."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from rclpy.node import Node
from rclpy.qos import QoSHistoryPolicy, QoSPolicyKind, QoSProfile, QoSReliabilityPolicy
from rclpy.subscription import Subscription
from sensor_msgs.msg import CompressedImage, Image

from cldyn_ros.health import InputState
from cldyn_ros.sync import Source

try:
    from rclpy.event_handler import SubscriptionEventCallbacks
except ImportError:  # Humble
    from rclpy.qos_event import SubscriptionEventCallbacks

OnImage = Callable[[Source, "Image | CompressedImage"], None]

_DEPTH = 5


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
        return InputState(self.topic, self._node.count_publishers(self.topic), self._incompatible)

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
