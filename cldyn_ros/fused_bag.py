"""A bag of fused images and answers, as the node would have published them, beside what the source bag holds."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from rclpy.serialization import serialize_message

from cldyn_core.fuse.sources import Frame
from cldyn_core.types import StepResult
from cldyn_ros.bag_files import BagError, BagMessage, BagReader, BagRecorder, BagTopic, typestore_with
from cldyn_ros.bag_frames import Moment
from cldyn_ros.bags import CAMERA_INFO, IMAGE
from cldyn_ros.convert import to_image_msg
from cldyn_ros.publishers import answer_msgs, scaled_camera_info

NODE = "/cldyn"
_DETECTIONS = "vision_msgs/msg/Detection2DArray"


class BagSink:
    """Writes results in order of time, merged with the messages of the source bag."""

    def __init__(self, path: Path, source: Path | None) -> None:
        """source: the bag whose other topics are copied; None: nothing is copied. Raises BagError.

        What a node had fused and recorded already is not copied.
        """
        self._copied = _Copied(source) if source else None
        self._recorder = BagRecorder(path, force=True)

    def write(self, frame: Frame, result: StepResult) -> None:
        """Copy what was recorded until then, and add the result. Raises ValueError."""
        moment: Moment = frame.context
        self._copy(until_ns=moment.recorded_ns)
        for topic, kind, message in _messages(result, moment):
            self._recorder.write(f"{NODE}/{topic}", kind, moment.recorded_ns, serialize_message(message))

    def close(self) -> None:
        """Copy the rest and complete the bag."""
        self._copy(until_ns=None)
        if self._copied:
            self._copied.close()
        self._recorder.close()

    def abort(self) -> None:
        """Remove what was written."""
        if self._copied:
            self._copied.close()
        self._recorder.abort()

    def _copy(self, until_ns: int | None) -> None:
        if self._copied:
            for message in self._copied.until(until_ns):
                latched = self._copied.topics[message.topic].latched
                self._recorder.write(message.topic, message.type, message.stamp_ns, message.data, latched=latched)


class _Copied:
    """The messages of a bag that go over unchanged."""

    def __init__(self, path: Path) -> None:
        self._bag = BagReader(path)
        self.topics: dict[str, BagTopic] = {
            topic.name: topic for topic in self._bag.topics if not topic.name.startswith(f"{NODE}/")
        }
        try:
            for topic in self.topics.values():
                typestore_with(topic.type)
        except BagError as error:
            self._bag.close()
            raise BagError(f"{path}: {topic.name}: {error}, or --only-fused") from error
        self._messages = self._bag.messages(self.topics)
        self._next: BagMessage | None = self._advance()

    def until(self, stamp_ns: int | None) -> Iterator[BagMessage]:
        """Those recorded until then, in order; None: the rest."""
        while self._next is not None and (stamp_ns is None or self._next.stamp_ns <= stamp_ns):
            yield self._next
            self._next = self._advance()

    def close(self) -> None:
        self._bag.close()

    def _advance(self) -> BagMessage | None:
        try:
            return next(self._messages, None)
        except BagError:
            return None  # who reads the pairs reports the damage


def _messages(result: StepResult, moment: Moment) -> Iterator[tuple[str, str, Any]]:
    """Topic below the node's name, type and message."""
    header = moment.header
    yield "fused/image_raw", IMAGE, to_image_msg(result.fused, header)
    if moment.camera is not None:
        yield "fused/camera_info", CAMERA_INFO, scaled_camera_info(moment.camera, header, result.fused)
    for topic, message in answer_msgs(result.output, header):
        yield topic, _DETECTIONS if topic == "detections" else IMAGE, message
