"""The performance itself: start node and replayer as processes, record the output, switch tasks on the way."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import rclpy
from diagnostic_msgs.msg import DiagnosticArray
from lifecycle_msgs.msg import State
from lifecycle_msgs.srv import GetState
from rcl_interfaces.msg import Parameter, ParameterType, ParameterValue
from rcl_interfaces.srv import SetParameters
from rclpy.node import Node
from rclpy.qos import QoSDurabilityPolicy, QoSProfile
from sensor_msgs.msg import CameraInfo, Image
from vision_msgs.msg import Detection2DArray, LabelInfo

from cldyn_core.types import Task
from cldyn_ros.bag_files import BagRecorder
from cldyn_ros.dds import use_packaged_profile
from cldyn_ros.demo.material import Material

RECORDED: dict[str, type[Any]] = {
    "/cldyn/fused/image_raw": Image,
    "/cldyn/fused/camera_info": CameraInfo,
    "/cldyn/detections": Detection2DArray,
    "/cldyn/label_info": LabelInfo,
    "/cldyn/segmentation": Image,
    "/cldyn/saliency": Image,
    "/cldyn/overlay": Image,
    "/cldyn/status": DiagnosticArray,
    "/diagnostics": DiagnosticArray,
}
_LATCHED = ("/cldyn/label_info",)
_START_S = 120.0
_SILENCE_S = 20.0
_STOP_S = 20.0


class DemoError(RuntimeError):
    """The demo could not be performed; the text says what did not happen."""


@dataclass(frozen=True)
class Switch:
    """One change of the task through the parameter service."""

    task: Task
    after_frames: int
    """Statuses received before the request."""
    answered_ms: float
    accepted: bool


@dataclass
class Performance:
    """What was done and where the recording lies."""

    recording: Path
    switches: list[Switch] = field(default_factory=list)
    refused_nonsense: str = ""
    """The node's reason for refusing the task `nonsense`."""
    exit_codes: dict[str, int] = field(default_factory=dict)


def perform(material: Material, out: Path) -> Performance:
    """Run the show. Raises DemoError when the node does not start or falls silent."""
    os.environ.setdefault("ROS_AUTOMATIC_DISCOVERY_RANGE", "LOCALHOST")
    os.environ.setdefault("ROS_DOMAIN_ID", str(os.getpid() % 100 + 1))
    use_packaged_profile()
    rclpy.init()
    performance = Performance(out / "output.mcap")
    processes: dict[str, subprocess.Popen[bytes]] = {}
    try:
        processes["node"] = _start("cldyn_ros.fusion_node", out / "node.log")
        with BagRecorder(performance.recording) as recorder:
            conductor = Conductor(recorder)
            conductor.wait_until_active(processes["node"])
            performance.refused_nonsense = conductor.ask_for_nonsense()
            replay = ["--wait-for-subscribers", "30"]
            processes["replay"] = _start("cldyn_ros.replay", out / "replay.log", str(material.bag), *replay)
            conductor.conduct(material, processes, performance.switches)
            conductor.node.destroy_node()
    finally:
        for name, process in processes.items():
            performance.exit_codes[name] = _stop(process)
        rclpy.try_shutdown()
    return performance


class Conductor:
    """Records every output topic raw and selects the scheduled tasks when their share of the frames begins."""

    def __init__(self, recorder: BagRecorder) -> None:
        self.node = Node("cldyn_demo")
        self.statuses = 0
        self._recorder = recorder
        self._set = self.node.create_client(SetParameters, "/cldyn/set_parameters")
        self._state = self.node.create_client(GetState, "/cldyn/get_state")
        for topic, kind in RECORDED.items():
            durability = QoSDurabilityPolicy.TRANSIENT_LOCAL if topic in _LATCHED else QoSDurabilityPolicy.VOLATILE
            qos = QoSProfile(depth=50, durability=durability)
            self.node.create_subscription(kind, topic, self._record(topic, kind), qos, raw=True)

    def wait_until_active(self, process: subprocess.Popen[bytes]) -> None:
        """Until the lifecycle says active."""
        deadline = time.monotonic() + _START_S
        while time.monotonic() < deadline:
            if process.poll() is not None:
                raise DemoError(f"the node ended with {process.returncode} before it was active; see node.log")
            if self._state.wait_for_service(timeout_sec=0.5):
                answer = self._call(self._state, GetState.Request(), 5.0)
                if answer is not None and answer.current_state.id == State.PRIMARY_STATE_ACTIVE:
                    print("the node is active", flush=True)
                    return
        raise DemoError(f"the node was not active after {_START_S:.0f} s; see node.log")

    def ask_for_nonsense(self) -> str:
        """What the node says to a task that does not exist; "" if it took it."""
        accepted, reason = self._select("nonsense")
        return "" if accepted else reason

    def conduct(
        self, material: Material, processes: dict[str, subprocess.Popen[bytes]], switches: list[Switch]
    ) -> None:
        """Until the replayer has ended and the node has been quiet for a while; tasks are switched on the way."""
        share = material.frames / len(material.schedule)
        upcoming = list(enumerate(material.schedule))[1:]
        quiet = max(3.0, 3.0 / material.rate)
        seen, last = 0, time.monotonic()
        while True:
            rclpy.spin_once(self.node, timeout_sec=0.1)
            if self.statuses != seen:
                seen, last = self.statuses, time.monotonic()
                print(f"\rfused {seen}/{material.frames}", end="", flush=True)
            if upcoming and seen >= round(upcoming[0][0] * share):
                switches.append(self._switch(upcoming.pop(0)[1]))
            waited = time.monotonic() - last
            if processes["replay"].poll() is not None and waited > quiet:
                print()
                return
            if processes["node"].poll() is not None:
                raise DemoError(f"the node ended with {processes['node'].returncode} during the replay; see node.log")
            if waited > _SILENCE_S + quiet:
                raise DemoError(f"no fused image for {waited:.0f} s; see node.log and replay.log")

    def _switch(self, task: Task) -> Switch:
        start, before = time.monotonic(), self.statuses
        accepted, reason = self._select(task.value)
        answered_ms = 1e3 * (time.monotonic() - start)
        print(
            f"\rtask {task.value}: {'accepted' if accepted else f'refused, {reason}'} in {answered_ms:.0f} ms",
            flush=True,
        )
        return Switch(task, before, answered_ms, accepted)

    def _select(self, task: str) -> tuple[bool, str]:
        value = ParameterValue(type=ParameterType.PARAMETER_STRING, string_value=task)
        answer = self._call(self._set, SetParameters.Request(parameters=[Parameter(name="task", value=value)]), 10.0)
        if answer is None:
            raise DemoError("the node did not answer the parameter service within 10 s")
        return answer.results[0].successful, answer.results[0].reason

    def _call(self, client: Any, request: Any, timeout_s: float) -> Any:
        future = client.call_async(request)
        rclpy.spin_until_future_complete(self.node, future, timeout_sec=timeout_s)
        return future.result() if future.done() else None

    def _record(self, topic: str, kind: type[Any]) -> Callable[[bytes], None]:
        type_name = f"{kind.__module__.partition('.')[0]}/msg/{kind.__name__}"

        def record(raw: bytes) -> None:
            self._recorder.write(topic, type_name, time.time_ns(), raw, latched=topic in _LATCHED)
            self.statuses += topic == "/cldyn/status"

        return record


def _start(module: str, log: Path, *arguments: str) -> subprocess.Popen[bytes]:
    with log.open("wb") as stream:
        return subprocess.Popen([sys.executable, "-m", module, *arguments], stdout=stream, stderr=subprocess.STDOUT)


def _stop(process: subprocess.Popen[bytes]) -> int:
    if process.poll() is None:
        process.send_signal(signal.SIGINT)
    try:
        return process.wait(_STOP_S)
    except subprocess.TimeoutExpired:
        process.kill()
        return process.wait()
