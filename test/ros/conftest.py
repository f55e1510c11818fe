"""Fixtures for tests on real DDS, kept to this machine and to a domain of their own."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator
from typing import Any

import pytest

os.environ["ROS_AUTOMATIC_DISCOVERY_RANGE"] = "LOCALHOST"
_RUN = os.environ.get("PYTEST_XDIST_TESTRUNUID") or os.urandom(8).hex()
_WORKER = int(os.environ.get("PYTEST_XDIST_WORKER", "gw0").removeprefix("gw"))
os.environ["ROS_DOMAIN_ID"] = str((int(_RUN, 16) + _WORKER) % 102)  # another one for each worker of a run
sys.path.insert(0, os.path.dirname(__file__))  # for ros_bench, in every import mode of pytest

from ros_bench import Bench, FakeEngine, MakeBench

from cldyn_core.types import EngineSettings


@pytest.fixture(scope="session")
def rclpy_session() -> Iterator[Any]:
    """One rclpy context for all tests."""
    rclpy = pytest.importorskip("rclpy", reason="rclpy is not installed")
    from rclpy.signals import SignalHandlerOptions

    rclpy.init(signal_handler_options=SignalHandlerOptions.NO)
    yield rclpy
    rclpy.try_shutdown()


@pytest.fixture
def make_bench(rclpy_session: Any) -> Iterator[MakeBench]:
    """A MakeBench; everything it made is closed after the test."""
    pytest.importorskip("vision_msgs", reason="vision_msgs is not built; run make setup")
    from rclpy.parameter import Parameter

    from cldyn_ros.fusion_node import FusionNode

    benches = []

    def make(
        start: bool = True,
        cli_args: list[str] | None = None,
        engine: Callable[[EngineSettings], Any] = FakeEngine,
        **parameters: Any,
    ) -> Bench:
        engines: list[Any] = []

        def factory(settings: EngineSettings) -> Any:
            engines.append(engine(settings))
            return engines[-1]

        parameters.setdefault("lazy", False)  # a test that listens to nothing has frames fused too
        overrides = [Parameter(name.replace("__", "."), value=value) for name, value in parameters.items()]
        node = FusionNode(factory, parameter_overrides=overrides, cli_args=cli_args)
        if start:
            assert node.start()
        benches.append(Bench(rclpy_session, node, engines))
        return benches[-1]

    yield make
    for bench in benches:
        bench.close()
