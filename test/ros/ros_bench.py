"""A bench for the node: an engine that needs no weights, and a client node that plays the cameras and listens."""

from __future__ import annotations

import array
import contextlib
import threading
import time
from collections.abc import Callable, Mapping
from typing import Any, TypeVar

import numpy as np
import pytest

from cldyn_core.types import Detections, EngineSettings, FramePair, StepResult, Task
from cldyn_ros.sync import Source

T = TypeVar("T")
NAMES = ("person", "car")
AVAILABLE = (Task.NONE, Task.DETECTION)


class FakeEngine:
    """Keeps the promises of FusionEngine without networks. `fused` is the visible image."""

    turn = contextlib.nullcontext()

    def __init__(self, settings: EngineSettings) -> None:
        if settings.weights == "missing":
            raise FileNotFoundError("no weights called 'missing'; bundled: default")
        self.settings = settings
        self.available_tasks = AVAILABLE
        self.step_s = 0.0
        self.fault: Exception | None = None
        self.task_error = ""
        self.pairs: list[FramePair] = []
        self.closed = False
        self.rests = 0

    def explain(self, task: Task) -> str:
        return "" if task in AVAILABLE else f"task {task.value} needs a network that is not bundled"

    def check(self, settings: EngineSettings) -> str:
        return self.explain(settings.task)

    def apply(self, settings: EngineSettings) -> None:
        reason = self.check(settings)
        if reason:
            raise ValueError(reason)
        self.settings = settings

    def class_names(self, task: Task) -> tuple[str, ...]:
        return NAMES if task is Task.DETECTION else ()

    def describe(self) -> Mapping[str, str]:
        return {"weights": "fake", "device": "none"}

    def step(self, pair: FramePair) -> StepResult:
        settings, fault, task_error = self.settings, self.fault, self.task_error
        self.pairs.append(pair)  # from here on the test may ask for something else, of the next step
        time.sleep(self.step_s)
        if fault is not None:
            raise fault
        output = None
        if settings.task is Task.DETECTION:
            boxes = np.array([[2, 4, 12, 10]], np.float32)
            output = Detections(boxes, np.array([0.9], np.float32), np.array([1]), NAMES)
        return StepResult(
            pair.visible.copy(), settings.task, settings.loop_mode, output, timings_ms={"prepare": 1.0, "task": 2.0},
            error=task_error,
        )  # fmt: skip

    def misregistration(self, pair: FramePair) -> None: ...

    def show_infrared(self, infrared: np.ndarray) -> np.ndarray:
        return np.repeat(infrared[..., None], 3, axis=2)

    def rest(self) -> None:
        self.rests += 1

    def close(self) -> None:
        self.closed = True


def wait_for(condition: Callable[[], T], timeout_s: float = 10.0) -> T:
    """The first true value of `condition`; fails after the timeout."""
    deadline = time.monotonic() + timeout_s
    while not (value := condition()):
        if time.monotonic() > deadline:
            pytest.fail(f"waited {timeout_s:g} s in vain")
        time.sleep(0.01)
    return value


class Bench:
    """The node under test, and a client node that plays cameras and listens."""

    def __init__(self, rclpy: Any, node: Any, engines: list[FakeEngine]) -> None:
        from rclpy.executors import SingleThreadedExecutor

        self.node, self.engines = node, engines
        self.client = rclpy.create_node("bench")
        self._executors = []
        for one in (node, self.client):
            executor = SingleThreadedExecutor()
            executor.add_node(one)
            thread = threading.Thread(target=self._spin, args=(executor,), daemon=True)
            self._executors.append((executor, thread))
            thread.start()
        self.received: dict[str, list[Any]] = {}
        self._cameras: dict[str, Any] = {}

    @property
    def engine(self) -> FakeEngine:
        return self.engines[-1]

    def listen(self, topic: str, kind: Any, qos: Any = 10) -> list[Any]:
        """Messages of a topic, collected from now on; waits for the publisher."""
        received = self.received.setdefault(topic, [])
        self.client.create_subscription(kind, topic, received.append, qos)
        wait_for(lambda: self.client.count_publishers(topic))
        return received

    def connect(self, topic: str, kind: Any, qos: Any = 10) -> Any:
        """A publisher that the node under test is subscribed to."""
        publisher = self._cameras.get(topic)
        if publisher is None:
            publisher = self._cameras[topic] = self.client.create_publisher(kind, topic, qos)
        wait_for(publisher.get_subscription_count)
        return publisher

    def show(
        self, source: str, stamp_ns: int, image: np.ndarray | None = None, topic: str = "", **changes: Any
    ) -> None:
        """Publish one image of a camera."""
        from sensor_msgs.msg import Image

        if image is None:
            image = np.full((24, 32, 3) if source == "visible" else (12, 16), 90, np.uint8)
        msg = Image(height=image.shape[0], width=image.shape[1], step=image[0].nbytes)
        msg.encoding = "rgb8" if image.ndim == 3 else "mono8"
        msg.header.frame_id = f"{source}_optical"
        msg.header.stamp.sec, msg.header.stamp.nanosec = divmod(stamp_ns, 1_000_000_000)
        msg.data = array.array("B", image.tobytes())
        for name, value in changes.items():
            setattr(msg, name, value)
        self.connect(topic or f"/{source}/image_raw", Image).publish(msg)

    def wait_until_offered(self, count: int, *sources: Source) -> None:
        """Until the node under test has taken so many images of each camera: a queue of DDS holds only some."""
        pairer = self.node._active._pairer
        wait_for(lambda: all(pairer.counts(source).offered >= count for source in sources or Source))

    def show_pair(self, stamp_ns: int) -> None:
        """One image of each camera, 2 ms apart."""
        self.show("infrared", stamp_ns + 2_000_000)
        self.show("visible", stamp_ns)

    def call(self, service: str, kind: Any, request: Any) -> Any:
        """Response of a service of the node under test."""
        client = self.client.create_client(kind, service)
        assert client.wait_for_service(timeout_sec=10.0), service
        future = client.call_async(request)
        wait_for(future.done)
        return future.result()

    def set_parameter(self, name: str, value: Any, node: str = "/cldyn") -> Any:
        """SetParametersResult of the standard service."""
        from rcl_interfaces.srv import SetParameters
        from rclpy.parameter import Parameter

        request = SetParameters.Request(parameters=[Parameter(name, value=value).to_parameter_msg()])
        return self.call(f"{node}/set_parameters", SetParameters, request).results[0]

    def get_parameter(self, name: str, node: str) -> Any:
        """Value by the standard service."""
        from rcl_interfaces.srv import GetParameters
        from rclpy.parameter import parameter_value_to_python

        answer = self.call(f"{node}/get_parameters", GetParameters, GetParameters.Request(names=[name]))
        return parameter_value_to_python(answer.values[0])

    def close(self) -> None:
        for executor, thread in self._executors:
            executor.shutdown()
            thread.join(10.0)
        self.node.close()
        self.node.destroy_node()
        self.node._state_machine = None  # it holds the node in the ROS graph until garbage is collected
        self.client.destroy_node()

    @staticmethod
    def _spin(executor: Any) -> None:
        from rclpy.executors import ExternalShutdownException, ShutdownException

        with contextlib.suppress(ExternalShutdownException, ShutdownException):
            executor.spin()


MakeBench = Callable[..., Bench]
"""`make_bench(start=True, **parameters)`: node and client, parameters by name with __ for the dot. engine: another one
than FakeEngine.
"""
