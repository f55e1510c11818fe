"""Pairs out of a bag: images converted and paired as the node does it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rclpy.serialization import deserialize_message
from sensor_msgs.msg import CameraInfo, CompressedImage, Image
from std_msgs.msg import Header

from cldyn_core.fuse.sources import Frame
from cldyn_core.types import EngineSettings, FramePair
from cldyn_ros.bag_files import BagError, BagMessage, BagReader
from cldyn_ros.bags import CAMERA_INFO, COMPRESSED_IMAGE, IMAGE
from cldyn_ros.convert import ConversionError, to_infrared, to_visible
from cldyn_ros.stamps import stamp_ns
from cldyn_ros.sync import NearestPairer, Pair, Source

_TYPES = {IMAGE: Image, COMPRESSED_IMAGE: CompressedImage, CAMERA_INFO: CameraInfo}


@dataclass(frozen=True)
class Moment:
    """What belongs to an image, or to a pair, beside its pixels. Of a pair it is `Frame.context`."""

    header: Header
    """Of a pair: the visible image's."""
    recorded_ns: int
    """Of a pair: when the later image was recorded; no node could have fused them earlier."""
    camera: CameraInfo | None
    """The visible camera's newest calibration until then, or its first."""


@dataclass(frozen=True)
class _Shot:
    image: Any
    moment: Moment


class BagFrames:
    """Iterates over the frames of two image topics in order of time.

    A message that is no usable image is a frame with an error, and so is the end of a damaged bag.
    """

    def __init__(self, path: Path, topics: dict[str, Source], pairer: NearestPairer[Any], lost: Counter[str]) -> None:
        """topics: of both images. lost: counts, at the end, the images in no pair by camera and reason."""
        self._path, self._topics, self._pairer, self._lost = path, topics, pairer, lost
        visible = next(name for name, source in topics.items() if source is Source.VISIBLE)
        self._info_topic = visible.removesuffix("/compressed").rpartition("/")[0] + "/camera_info"
        self._camera: CameraInfo | None = None
        self._names: set[str] = set()

    def __iter__(self) -> Iterator[Frame]:
        try:
            with BagReader(self._path) as bag:
                infos = {t.name for t in bag.topics if t.name == self._info_topic and t.type == CAMERA_INFO}
                self._camera = next(map(_deserialized, bag.messages(infos)), None)
                for message in bag.messages({*self._topics, *infos}):
                    yield from self._take(message)
        except (BagError, ConversionError) as error:
            yield Frame("end of the bag", None, str(error))
        yield from map(self._frame, self._pairer.flush())
        for source in Source:
            for reason, count in self._pairer.counts(source).dropped.items():
                self._lost[f"{source.value} images ({reason.value})"] += count

    def _take(self, message: BagMessage) -> Iterator[Frame]:
        try:
            content = _deserialized(message)
            if message.topic == self._info_topic:
                self._camera = content
                return
            source = self._topics[message.topic]
            convert = to_visible if source is Source.VISIBLE else to_infrared
            image = convert(content, EngineSettings().max_pixels)
        except ConversionError as error:
            yield Frame(f"{message.topic} at {message.stamp_ns}", None, str(error))
            return
        shot = _Shot(image, Moment(content.header, message.stamp_ns, self._camera))
        yield from map(self._frame, self._pairer.offer(source, stamp_ns(content.header), shot))

    def _frame(self, pair: Pair[_Shot]) -> Frame:
        visible, infrared = pair.visible.payload, pair.infrared.payload
        recorded = max(visible.moment.recorded_ns, infrared.moment.recorded_ns)
        name = str(pair.visible.stamp_ns)
        if name in self._names:  # the stamps of a bag that was recorded from a looping one repeat
            name += f"_{recorded}"
        self._names.add(name)
        images = FramePair(visible.image, infrared.image, pair.visible.stamp_ns)
        return Frame(name, images, context=Moment(visible.moment.header, recorded, visible.moment.camera))


def _deserialized(message: BagMessage) -> Any:
    try:
        return deserialize_message(message.data, _TYPES[message.type])
    except Exception as error:  # damaged bytes: rclpy has no error type for them
        raise ConversionError(f"is no readable {message.type} ({error})") from error
