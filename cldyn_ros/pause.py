"""Whether frames are fused: not while ~/enable says no, nor, with `lazy`, while nobody subscribes to what they give."""

from __future__ import annotations

from collections.abc import Callable

from rclpy.node import Node
from std_srvs.srv import SetBool

DISABLED = "disabled by ~/enable"
IDLE = "idle: nobody subscribes"


class Switch:
    """The service ~/enable. It is there in every state of the node, and what it was told outlasts deactivation."""

    def __init__(self, node: Node) -> None:
        self._node = node
        self._enabled = True
        node.create_service(SetBool, "~/enable", self._on_enable)

    def reason(self, lazy: bool, wanted: Callable[[], bool]) -> str:
        """Why no frame is to be fused now: DISABLED, IDLE, or ""."""
        if not self._enabled:
            return DISABLED
        return IDLE if lazy and not wanted() else ""

    def _on_enable(self, request: SetBool.Request, response: SetBool.Response) -> SetBool.Response:
        self._enabled = request.data
        response.success = True
        response.message = "enabled" if request.data else "disabled: images are passed over until it is enabled"
        self._node.get_logger().info(response.message)
        return response
