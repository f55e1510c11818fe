"""The lifecycle node /cldyn: two image topics in, fused image and answers out.

Here are lifecycle, parameters, start and end; the way of a frame is in active.py.
"""

from __future__ import annotations

import signal
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import cache
from typing import Any

import rclpy
from rcl_interfaces.msg import SetParametersResult
from rclpy.executors import SingleThreadedExecutor
from rclpy.lifecycle import LifecycleNode, LifecycleState, TransitionCallbackReturn
from rclpy.logging import get_logger
from rclpy.parameter import Parameter
from rclpy.signals import SignalHandlerOptions
from rclpy.utilities import remove_ros_args

from cldyn_core.types import EngineSettings, Task
from cldyn_ros.active import ActiveFusion
from cldyn_ros.dds import use_packaged_profile
from cldyn_ros.filters import make_pairer
from cldyn_ros.pairs import node_arguments, pair_names
from cldyn_ros.param_declare import declare
from cldyn_ros.params import ParameterError, parse
from cldyn_ros.pause import Switch
from cldyn_ros.publishers import Outputs
from cldyn_ros.stopping import StopFlag

EngineFactory = Callable[[EngineSettings], Any]


def load_engine(settings: EngineSettings) -> Any:
    """The real engine; imported here because that takes seconds. Those of one process share their networks."""
    from cldyn_core.engine import FusionEngine

    return FusionEngine(settings, pause_s=1.0, shared=_networks().networks(settings))


@cache
def _networks() -> Any:
    from cldyn_core.engine import NetworkPool

    return NetworkPool()


class FusionNode(LifecycleNode):
    """Managed node. configure loads the engine, activate subscribes, deactivate stops and rests, cleanup frees.

    Args:
        engine_factory: makes the engine from its settings; see cldyn_core.engine.FusionEngine for the interface.
        kwargs: of rclpy's Node (parameter_overrides, context ...).

    Raises:
        ParameterError: a start value is refused.
    """

    def __init__(self, engine_factory: EngineFactory = load_engine, **kwargs: Any) -> None:
        super().__init__("cldyn", **kwargs)
        self._factory = engine_factory
        self._engine: Any = None
        self._outputs: Outputs | None = None
        self._active: ActiveFusion | None = None
        self._unprepared: dict[Task, str] = {}
        self._params = declare(self)
        self._switch = Switch(self)
        self.add_on_set_parameters_callback(self._on_set_parameters)

    @property
    def autostart(self) -> bool:
        """Whether the node is to be configured and activated at start."""
        return self._params.autostart

    def start(self, stop: StopFlag | None = None) -> bool:
        """Configure and activate. False if one failed; the reason is in the log. `stop` may be set meanwhile."""
        done = TransitionCallbackReturn.SUCCESS
        if self.trigger_configure() != done:
            return False
        return bool((stop is not None and stop.is_set()) or self.trigger_activate() == done)

    def on_configure(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Load the engine, prepare every task that can run, create the publishers."""
        started = time.monotonic()
        settings = self._params.to_engine_settings()
        try:
            make_pairer(self._params)  # refused here rather than at activation
            self._engine = self._factory(settings)
            self._outputs = Outputs(self)
            self._prepare_tasks(settings)
            self._apply(settings)
        except Exception as error:
            self.get_logger().error(f"cannot configure: {error}")
            self._free()
            return TransitionCallbackReturn.FAILURE
        loaded = "; ".join(f"{key}: {value}" for key, value in self._engine.describe().items())
        self.get_logger().info(f"configured in {time.monotonic() - started:.1f} s; {loaded}")
        return TransitionCallbackReturn.SUCCESS

    def on_activate(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Start the worker, subscribe, start the timers."""
        assert self._outputs is not None, "active comes after configured"
        try:
            self._apply(self._params.to_engine_settings())  # what was set while a step kept the last worker busy
            self._active = ActiveFusion(self, self._engine, self._outputs, self._params, self._apply, self._switch)
        except Exception as error:
            self.get_logger().error(f"cannot activate: {type(error).__name__}: {error}")
            raise  # on_error frees everything
        task, mode, topics = self._params.task, self._params.loop_mode, " and ".join(self._active.topics)
        self.get_logger().info(f"active: task {task}, loop {mode}, waiting for {topics}")
        return TransitionCallbackReturn.SUCCESS

    def on_deactivate(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Unsubscribe and stop the worker; a step in progress is finished and published. The networks stay loaded, so
        that activation takes no time; what was cached for the frames is given back.
        """
        self._stop()
        self._engine.rest()
        return TransitionCallbackReturn.SUCCESS

    def on_cleanup(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Free engine and publishers."""
        self._free()
        return TransitionCallbackReturn.SUCCESS

    def on_shutdown(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Stop and free, from any state."""
        self.close()
        return TransitionCallbackReturn.SUCCESS

    def on_error(self, state: LifecycleState) -> TransitionCallbackReturn:
        """A transition raised: free everything, so that the node can be configured again."""
        self.close()
        return TransitionCallbackReturn.SUCCESS

    def close(self) -> None:
        """Stop and free. May be called in any state, and again."""
        self._stop()
        self._free()

    def _on_set_parameters(self, changes: list[Parameter]) -> SetParametersResult:
        """Refuse with a reason, or take effect. It is the last check before rclpy stores the values."""
        try:
            new = parse({p.name: p.value for p in changes}, self._params)
            settings = new.to_engine_settings()
            if reason := self._refusal(settings):
                return SetParametersResult(successful=False, reason=reason)
            if self._active is not None:
                self._active.update(new)
            elif self._engine is not None:
                self._apply(settings)
        except ValueError as error:
            return SetParametersResult(successful=False, reason=str(error))
        self._params = new
        return SetParametersResult(successful=True)

    def _refusal(self, settings: EngineSettings) -> str:
        """Why the engine cannot have these settings; "" if it can, or if there is none yet."""
        if self._engine is None:
            return ""
        return self._engine.check(settings) or self._unprepared.get(settings.task, "")

    def _prepare_tasks(self, settings: EngineSettings) -> None:
        """Load each task's network now, so that no frame has to wait for one at a switch."""
        self._unprepared.clear()
        for task in self._engine.available_tasks:
            try:
                self._engine.apply(replace(settings, task=task))
            except Exception as error:
                if task is settings.task:
                    raise
                self._unprepared[task] = f"task {task.value} cannot be prepared: {error}"
                self.get_logger().warning(self._unprepared[task])

    def _apply(self, settings: EngineSettings) -> None:
        """Give the engine its settings and publish the class names that go with them."""
        self._engine.apply(settings)
        names = self._engine.class_names(settings.task)
        if names and self._outputs is not None:
            self._outputs.publish_label_info(names, settings.detector_confidence)

    def _stop(self) -> None:
        active, self._active = self._active, None
        if active is not None:
            active.close()

    def _free(self) -> None:
        outputs, engine = self._outputs, self._engine
        self._outputs = self._engine = None  # first: what raises now is not tried again
        if outputs is not None:
            outputs.close()
        if engine is not None:
            engine.close()


def main(
    args: Sequence[str] | None = None, engine_factory: EngineFactory = load_engine, stop: StopFlag | None = None
) -> int:
    """Run the node, or one for each of --pairs, until SIGINT or SIGTERM. 0: ended as asked; 1: could not start, the
    reason is in the log.

    `stop` may have been set already, and ends the process at once then.
    """
    stop = stop or StopFlag().set_on(signal.SIGINT, signal.SIGTERM)
    use_packaged_profile()
    words = list(sys.argv if args is None else ["fusion_node", *args])
    pairs = pair_names(remove_ros_args(words)[1:])
    rclpy.init(args=words, signal_handler_options=SignalHandlerOptions.NO)  # ours lets a step in progress finish
    nodes: list[FusionNode] = []
    try:
        for arguments in node_arguments(pairs):
            nodes.append(FusionNode(engine_factory, cli_args=arguments))
        return _spin(nodes, stop)
    except ParameterError as error:
        get_logger("cldyn").fatal(f"parameter refused: {error}")
        return 1
    finally:
        for node in nodes:
            node.close()
            node.destroy_node()
        rclpy.try_shutdown()
        stop.retire()


def _spin(nodes: Sequence[FusionNode], stop: StopFlag) -> int:
    executor = SingleThreadedExecutor()
    for node in nodes:
        executor.add_node(node)
    try:
        for node in nodes:
            if node.autostart and not stop.is_set() and not node.start(stop):
                return 1
        while not stop.is_set():
            executor.spin_once(timeout_sec=0.2)
        return 0
    finally:
        executor.shutdown()


if __name__ == "__main__":
    sys.exit(main())
