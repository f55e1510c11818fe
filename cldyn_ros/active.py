"""What runs while the node is active: the way of a frame from subscription to publication.

Executor thread: convert, pair, offer to the worker, timers. Worker thread: the engine and publishing.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack, closing
from typing import Any

from rclpy.clock import Clock, ClockType
from rclpy.node import Node
from sensor_msgs.msg import CompressedImage, Image
from std_msgs.msg import Header

from cldyn_core.types import EngineSettings, LoopMode, StepResult, Task
from cldyn_ros.convert import ConversionError, to_infrared, to_visible
from cldyn_ros.explain import SyncState
from cldyn_ros.filters import make_pairer
from cldyn_ros.health import Health, InputState, Level
from cldyn_ros.inputs import CameraInfoInput, ImageInput
from cldyn_ros.params import NodeParams
from cldyn_ros.pause import DISABLED, Switch
from cldyn_ros.publishers import Outputs
from cldyn_ros.registration_watch import RegistrationWatch
from cldyn_ros.status import Job, Shot, caption, frame_report
from cldyn_ros.suspicion import Suspicion
from cldyn_ros.sync import Pair, Source
from cldyn_ros.sync_watch import SyncWatch
from cldyn_ros.worker import Worker

TICK_S = 0.1
DIAGNOSTICS_S = 1.0
STOP_PATIENCE_S = 10.0
WARN_EVERY_S = 10.0


class ActiveFusion:
    """Subscriptions, pairing, worker and timers, from activation to deactivation.

    Args:
        node: where subscriptions, timers and log lines go.
        engine: see cldyn_core.engine.FusionEngine; stepped by the worker alone.
        outputs: the publishers.
        params: the values at activation; `update` takes later ones.
        apply: gives the engine new settings; called in the worker.
        switch: ~/enable.

    If it cannot begin, what it has begun is undone.
    """

    def __init__(
        self,
        node: Node,
        engine: Any,
        outputs: Outputs,
        params: NodeParams,
        apply: Callable[[EngineSettings], None],
        switch: Switch,
    ) -> None:
        self._node, self._engine, self._outputs, self._params, self._switch = node, engine, outputs, params, switch
        self._health = Health()
        self._pairer = make_pairer(params)
        self._watch = SyncWatch(node, self._pairer)
        self._last_arrival = time.monotonic()
        self._warned: dict[str, float] = {}
        self._suspicions = {source: Suspicion(source) for source in Source}
        self._registration = RegistrationWatch(engine, self._health)
        with ExitStack() as begun:
            self._worker: Worker[Job, EngineSettings] = Worker(
                self._on_job, apply, lambda _: self._health.count("superseded"), self._on_failure, engine.turn
            )
            begun.callback(self._stop_worker)
            self._inputs: dict[Source, ImageInput] = {}
            for source in Source:
                image_input = ImageInput(node, source, params.image_transport, params.qos_reliability, self._on_image)
                self._inputs[source] = begun.enter_context(closing(image_input))
            self._camera_info = begun.enter_context(closing(CameraInfoInput(node)))
            steady = Clock(clock_type=ClockType.STEADY_TIME)  # simulated time may stand still; the watch must not
            for period, on_time in ((TICK_S, self._on_tick), (DIAGNOSTICS_S, self._on_diagnostics)):
                begun.callback(node.destroy_timer, node.create_timer(period, on_time, clock=steady))
            self._begun = begun.pop_all()

    @property
    def topics(self) -> list[str]:
        """Resolved names of the image topics."""
        return [image_input.topic for image_input in self._inputs.values()]

    def update(self, params: NodeParams) -> None:
        """Use these parameters for every image that arrives from now on."""
        old, self._params = self._params, params
        self._pairer.tolerance_ns = params.tolerance_ns
        self._pairer.infrared_offset_ns = params.infrared_offset_ns
        settings = params.to_engine_settings()
        if settings != old.to_engine_settings():
            self._worker.post(settings)  # may load a network: not in this thread

    def close(self) -> None:
        """Unsubscribe and stop the worker; a step in progress is finished and published."""
        self._begun.close()

    def _stop_worker(self) -> None:
        while not self._worker.stop(STOP_PATIENCE_S):  # nobody may use or free the engine before
            self._node.get_logger().warning("stopping; the step in progress has not ended yet")

    # The way of a frame: _on_image -> NearestPairer -> Worker -> _on_job

    def _on_image(self, source: Source, msg: Image | CompressedImage) -> None:
        self._last_arrival = time.monotonic()
        if self._paused():
            self._health.passed_over(source)
            return
        try:
            convert = to_visible if source is Source.VISIBLE else to_infrared
            shot = Shot(self._header(msg), convert(msg, self._params.max_pixels), self._last_arrival)
        except (ConversionError, MemoryError) as error:  # what leaves a callback ends the node
            self._health.received(source, str(error))
            self._warn(f"refused {source.value}", f"{source.value} image refused: {error}")
            return
        suspicion = self._suspicions[source].look(shot.image, getattr(msg, "encoding", ""))
        self._health.received(source, suspicion=suspicion)
        if suspicion:
            self._warn(f"suspicion {source.value}", f"{source.value} {suspicion}")
        self._watch.arrived(source, shot.stamp_ns, shot.received)
        pairs = self._pairer.offer(source, shot.stamp_ns, shot)
        self._offer(pairs)
        if not pairs and self._params.sync_on_missing == source.value:
            self._offer_alone(source)

    def _paused(self) -> bool:
        """Whether images are passed over. A change is told at once."""
        reason = self._switch.reason(self._params.lazy, self._outputs.wanted)
        if self._health.pause(reason, Level.WARN if reason == DISABLED else Level.OK):
            self._node.get_logger().info(reason or "fusing what comes from now on")
            self._on_diagnostics()
        return bool(reason)

    def _header(self, msg: Image | CompressedImage) -> Header:
        """As it came, or stamped now (`sync.stamp`)."""
        if self._params.sync_stamp == "message":
            return msg.header
        return Header(stamp=self._node.get_clock().now().to_msg(), frame_id=msg.header.frame_id)

    def _offer(self, pairs: Sequence[Pair[Shot]]) -> None:
        for pair in pairs:
            self._health.paired(pair.gap_ns / 1e6)
            self._watch.paired()
            self._worker.offer(Job(pair.visible.payload, pair.infrared.payload, pair.gap_ns / 1e6))

    def _offer_alone(self, source: Source) -> None:
        """The other camera is missing and this one is to stand in."""
        if self._health.silent(source.other, self._params.sync_timeout_ms):
            frame = self._pairer.take_newest(source)
            if frame is not None:
                is_visible = source is Source.VISIBLE
                self._worker.offer(Job(visible=frame.payload) if is_visible else Job(infrared=frame.payload))

    def _on_job(self, job: Job) -> None:
        try:
            result = self._step(job)
        except ValueError as error:
            self._health.failed("refused by engine", str(error))
            self._warn("engine", f"pair refused: {error}")
            return
        except MemoryError as error:
            self._health.failed("out of memory", str(error))
            self._warn("memory", f"pair refused: {error}")
            return
        if result.error:
            self._health.count("task errors", result.error)
            self._warn("task", f"fused without the task's feedback: {result.error}")
        camera = self._camera_info.newest if job.visible is not None else None
        text = caption(result, job, self._health.fused_rate())
        self._outputs.publish(result, job.header, camera, text, self._params.compression)
        total_ms = (time.monotonic() - job.received) * 1e3
        number = self._health.fused(result.timings_ms, total_ms, result.error)
        counts = {source: self._pairer.counts(source) for source in Source}
        report = frame_report(result, job, number, total_ms, counts, self._health.events())
        self._outputs.publish_status(report, job.header)
        self._outputs.publish_latencies({**result.timings_ms, "total": total_ms}, job.header)
        if (pair := job.pair) is not None and (
            warning := self._registration.look(pair, self._params.registration_warn_px)
        ):
            self._warn("registration", warning)

    def _step(self, job: Job) -> StepResult:
        if (pair := job.pair) is not None:
            result: StepResult = self._engine.step(pair)
            return result
        if job.visible is not None:
            return StepResult(job.visible.image, Task.NONE, LoopMode.OPEN)
        assert job.infrared is not None, "a job has at least one image"
        return StepResult(self._engine.show_infrared(job.infrared.image), Task.NONE, LoopMode.OPEN)

    # Watching

    def _on_tick(self) -> None:
        """Follow cameras and subscribers, settle what waits when both cameras are silent, name a missing camera."""
        for image_input in self._inputs.values():
            image_input.tick()
        self._camera_info.tick()
        self._paused()
        self._watch.tick()
        if time.monotonic() - self._last_arrival > self._params.sync_timeout_ms / 2e3:
            self._offer(self._pairer.flush())
        if self._health.starving(self._params.sync_timeout_ms):
            self._warn("starvation", self._starvation(self._input_states(), self._watch.state(self._params)))

    def _on_diagnostics(self) -> None:
        states, sync = self._input_states(), self._watch.state(self._params)
        starvation = self._starvation(states, sync)
        self._outputs.publish_diagnostics(self._health.reports(starvation, states, sync, self._engine.describe()))

    def _starvation(self, states: dict[Source, InputState], sync: SyncState) -> str:
        return self._health.starvation(self._params.sync_timeout_ms, states, sync)

    def _input_states(self) -> dict[Source, InputState]:
        return {source: image_input.state() for source, image_input in self._inputs.items()}

    def _on_failure(self, error: Exception) -> None:
        self._health.failed("failures", f"{type(error).__name__}: {error}")
        self._warn("failure", f"worker: {type(error).__name__}: {error}")

    def _warn(self, key: str, text: str) -> None:
        """Log a warning, of one kind at most every WARN_EVERY_S."""
        now = time.monotonic()
        if now - self._warned.get(key, -WARN_EVERY_S) >= WARN_EVERY_S:
            self._warned[key] = now
            self._node.get_logger().warning(text)
