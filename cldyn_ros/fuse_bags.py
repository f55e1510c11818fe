"""Bags for `cldyn fuse`: its plug-in. What needs ROS messages is imported when a bag is read or written."""

from __future__ import annotations

import argparse
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from itertools import islice, repeat
from pathlib import Path
from typing import Any

from cldyn_core.fuse.outputs import Output, Sink
from cldyn_core.fuse.sources import FrameSequence, Load
from cldyn_ros.bag_files import SUFFIXES, BagError, BagReader
from cldyn_ros.bags import COMPRESSED_IMAGE, IMAGE
from cldyn_ros.sync import NearestPairer, Source

TOLERANCE_MS = 50.0
"""The node's default of sync.tolerance_ms."""


@dataclass(frozen=True)
class BagSequence:
    """The pairs of two image topics of a bag, nearest stamps together."""

    path: Path
    visible: str
    infrared: str
    count: int
    """Images of the topic that has fewer."""
    rate: float | None
    tolerance_ns: int
    infrared_offset_ns: int
    limit: int | None = None
    name = ""
    independent = False
    parallel = False
    names = None
    _lost: Counter[str] = field(default_factory=Counter, compare=False)

    def options(self) -> Mapping[str, Any]:
        """Topics, and how far apart the stamps may be."""
        topics = {"visible": self.visible, "infrared": self.infrared}
        return {**topics, "tolerance_ns": self.tolerance_ns, "infrared_offset_ns": self.infrared_offset_ns}

    def __len__(self) -> int:
        return self.count

    def loads(self) -> Iterator[Load]:
        """Frames in order of time. Raises ImportError without rclpy."""
        from cldyn_ros.bag_frames import BagFrames

        pairer: NearestPairer[Any] = NearestPairer(self.tolerance_ns, self.infrared_offset_ns)
        topics = {self.visible: Source.VISIBLE, self.infrared: Source.INFRARED}
        frames = islice(BagFrames(self.path, topics, pairer, self._lost), self.limit)
        return repeat(partial(next, frames, None))

    def left_out(self) -> Mapping[str, int]:
        """Images in no pair, by camera and reason of the pairer."""
        return self._lost


@dataclass(frozen=True)
class BagOutput:
    """One .mcap or .db3 file: results under the node's topic names."""

    path: Path
    source: Path | None
    """Bag whose other topics are copied; None: nothing is copied."""
    whole = True

    @property
    def record(self) -> Path:
        """`fused.mcap.json`."""
        return self.path.with_name(self.path.name + ".json")

    def options(self) -> Mapping[str, Any]:
        """Whether the other topics are there."""
        return {"only_fused": self.source is None}

    def has(self, name: str) -> bool:
        """A bag is finished as a whole."""
        return False

    def open(self, sequence: FrameSequence) -> Sink:
        """Raises BagError, and ImportError without rclpy or vision_msgs."""
        from cldyn_ros.fused_bag import BagSink

        return BagSink(self.path, self.source)


def add_source_options(parser: argparse.ArgumentParser) -> None:
    """Options that say which images of a bag are pairs."""
    group = parser.add_argument_group("bags")
    group.add_argument("--infrared-topic", default="/infrared/image_raw", metavar="TOPIC", help="default: %(default)s")
    group.add_argument("--visible-topic", default="/visible/image_raw", metavar="TOPIC", help="default: %(default)s")
    group.add_argument(
        "--sync-tolerance-ms", type=_milliseconds, default=TOLERANCE_MS, metavar="MS", help="largest gap of a pair"
    )
    group.add_argument(
        "--sync-infrared-offset-ms", type=float, default=0.0, metavar="MS", help="added to infrared stamps"
    )


def add_output_options(parser: argparse.ArgumentParser) -> None:
    """Options of bags that `cldyn fuse` writes."""
    parser.add_argument("--only-fused", action="store_true", help="of a bag: leave its other topics out")


def find(paths: Sequence[Path], args: argparse.Namespace, limit: int | None) -> BagSequence | None:
    """The two image topics of a bag; None if the one path is no bag. Raises BagError."""
    if len(paths) != 1 or not _is_bag(paths[0]):
        return None
    with BagReader(paths[0]) as bag:
        images = {topic.name: topic.count for topic in bag.topics if topic.type in (IMAGE, COMPRESSED_IMAGE)}
        seconds = bag.duration_ns / 1e9
    visible, infrared = (_topic(paths[0], images, name) for name in (args.visible_topic, args.infrared_topic))
    count = min(images[visible], images[infrared])
    rate = round((count - 1) / seconds, 3) if count > 1 and seconds > 0 else None
    tolerance, offset = (round(value * 1e6) for value in (args.sync_tolerance_ms, args.sync_infrared_offset_ms))
    count = min(count, limit or count)
    return BagSequence(paths[0], visible, infrared, count, rate, tolerance, offset, limit)


def output(path: Path, sequences: Sequence[FrameSequence], args: argparse.Namespace) -> Output | None:
    """A bag, if `path` ends like one and the source is one. Raises BagError where it would be its own source."""
    if path.suffix not in SUFFIXES.values() or not isinstance(sequences[0], BagSequence):
        return None
    source = sequences[0].path
    if path.resolve() == source.resolve():
        raise BagError(f"{path}: is the source. Remedy: name another bag")
    return BagOutput(path, None if args.only_fused else source)


def _is_bag(path: Path) -> bool:
    return (path.is_file() and path.suffix in SUFFIXES.values()) or (path / "metadata.yaml").is_file()


def _topic(path: Path, images: Mapping[str, int], wanted: str) -> str:
    for name in (wanted, f"{wanted}/compressed"):
        if images.get(name):
            return name
    known = ", ".join(images) or "none"
    raise BagError(
        f"{path}: no images on {wanted}; its image topics: {known}. Remedy: --visible-topic, --infrared-topic"
    )


def _milliseconds(text: str) -> float:
    value = float(text)
    if not 0 <= value <= 10_000:
        raise argparse.ArgumentTypeError(f"must lie in 0..10000, not {text!r}")
    return value
