"""Plays a rosbag2 bag where `ros2 bag play` is not installed: `python -m cldyn_ros.replay BAG`.

Messages are published as the bytes that were recorded. With --loop the stamps in them repeat as recorded, so each round
jumps back in time, as with `ros2 bag play --loop`; --restamp makes them follow the wall clock instead.
"""

from __future__ import annotations

import argparse
import signal
import struct
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import rclpy
from rclpy.duration import Duration
from rclpy.node import Node
from rclpy.publisher import Publisher
from rclpy.qos import DurabilityPolicy, QoSProfile, ReliabilityPolicy
from rclpy.signals import SignalHandlerOptions
from rclpy.utilities import remove_ros_args, try_shutdown
from rosgraph_msgs.msg import Clock

from cldyn_ros.bag_files import BagError, BagMessage, BagReader, BagTopic
from cldyn_ros.dds import use_packaged_profile
from cldyn_ros.interface import message_class
from cldyn_ros.stopping import StopFlag
from cldyn_ros.timeline import Timeline, loop_gap_ns

IMAGE_TYPES = ("sensor_msgs/msg/Image", "sensor_msgs/msg/CompressedImage")
DEPTH = 10
DELIVERY_TIMEOUT = 2.0
"""Seconds that reliable subscribers get to take the last messages."""
LINGER = 0.5
"""Seconds that best-effort subscribers get for that: the messages vanish with the publisher, and nobody confirms."""


class Replayer:
    """Publishes the messages of a bag at the pace they were recorded."""

    def __init__(self, node: Node, bag: BagReader, args: argparse.Namespace, stop: StopFlag) -> None:
        """Create the publishers. `stop`, once set, ends `run`. Raises BagError when there is nothing to play."""
        self._node, self._bag, self._args, self._stop = node, bag, args, stop
        topics = _chosen_topics(bag, args.topics, with_clock=args.clock is not None)
        self._publishers, self._stamped = self._make_publishers(topics)
        self._total = sum(topic.count for topic in bag.topics if topic.name in self._publishers)
        self._clock = node.create_publisher(Clock, "/clock", DEPTH) if args.clock else None
        self._next_clock = self._next_report = 0.0
        self._first_stamp: tuple[int, int] | None = None
        self._wall_offset = time.time_ns() - time.monotonic_ns()
        self._report = args.verbose or sys.stderr.isatty()

    def run(self) -> None:
        """Play until the end, or until `stop` is set."""
        if self._args.wait_for_subscribers:
            self._wait_for_subscribers(self._args.wait_for_subscribers)
        self._stop.wait(self._args.start_delay)
        counts = [topic.count for topic in self._bag.topics if topic.name in self._publishers]
        gap = loop_gap_ns(self._bag.duration_ns, counts)
        start = time.monotonic()
        while not self._stop.is_set():
            line = Timeline(self._args.rate, self._bag.start_ns, start)
            self._play_once(line)
            if not self._args.loop:
                break
            start = line.due(self._bag.start_ns + self._bag.duration_ns + gap)
        self._flush()

    def _play_once(self, line: Timeline) -> None:
        for played, message in enumerate(self._bag.messages(self._publishers.keys()), start=1):
            self._wait_until(message.stamp_ns, line)
            if self._stop.is_set():
                return
            self._publishers[message.topic].publish(self._data(message, line))
            self._show(played, message.stamp_ns)

    def _wait_until(self, stamp_ns: int, line: Timeline) -> None:
        """Sleep until a message is due, publishing /clock on its own beat."""
        while not self._stop.is_set():
            now = time.monotonic()
            line.fit(stamp_ns, now)  # before /clock: it must not run ahead and then jump back
            due = line.due(stamp_ns)
            if self._clock is not None and now >= self._next_clock:
                self._clock.publish(_clock_message(line.bag_time(now)))
                self._next_clock = now + 1.0 / self._args.clock
            if now >= due:
                return
            wake = min(due, self._next_clock) if self._clock is not None else due
            self._stop.wait(max(0.0, wake - now))

    def _data(self, message: BagMessage, line: Timeline) -> bytes:
        if not self._args.restamp or message.topic not in self._stamped:
            return message.data
        stamp = header_stamp(message.data)
        if self._first_stamp is None:
            self._first_stamp = (stamp, message.stamp_ns)
        first, recorded = self._first_stamp  # headers may follow another clock than the recorder's
        wall = round(line.due(recorded) * 1e9) + self._wall_offset
        return restamped(message.data, wall + round((stamp - first) / self._args.rate))

    def _make_publishers(self, topics: Sequence[BagTopic]) -> tuple[dict[str, Publisher], set[str]]:
        publishers: dict[str, Publisher] = {}
        stamped = set()
        for topic in topics:
            try:
                kind = message_class(topic.type)
                publishers[topic.name] = self._node.create_publisher(kind, topic.name, self._qos(topic))
            except (ImportError, AttributeError) as error:
                self._node.get_logger().warning(
                    f"{topic.name} is skipped: its type {topic.type} is not installed here ({error})"
                )
                continue
            if next(iter(kind.get_fields_and_field_types().values()), "") == "std_msgs/Header":
                stamped.add(topic.name)
        if not publishers:
            raise BagError(f"{self._bag.path}: nothing to play; install the packages of its message types")
        return publishers, stamped

    def _qos(self, topic: BagTopic) -> QoSProfile:
        reliable = self._args.qos == "reliable"
        return QoSProfile(
            depth=DEPTH,
            reliability=ReliabilityPolicy.RELIABLE if reliable else ReliabilityPolicy.BEST_EFFORT,
            durability=DurabilityPolicy.TRANSIENT_LOCAL if topic.latched else DurabilityPolicy.VOLATILE,
        )

    def _wait_for_subscribers(self, seconds: float) -> None:
        """Wait until every image topic has a subscriber (every topic of a bag without images)."""
        types = {topic.name: topic.type for topic in self._bag.topics}
        names = [name for name in self._publishers if types[name] in IMAGE_TYPES] or list(self._publishers)
        deadline = time.monotonic() + seconds
        lonely = names
        while lonely and time.monotonic() < deadline and not self._stop.wait(0.05):
            lonely = [name for name in names if not self._publishers[name].get_subscription_count()]
        if lonely and not self._stop.is_set():
            self._node.get_logger().warning(f"no subscriber on {', '.join(lonely)} after {seconds:g} s; playing anyway")
        self._stop.wait(0.2)  # the subscribers' side may learn of the match a little later

    def _flush(self) -> None:
        if self._args.qos == "best_effort":
            self._stop.wait(LINGER)
        deadline = time.monotonic() + (0.0 if self._stop.is_set() else DELIVERY_TIMEOUT)
        for publisher in self._publishers.values():
            publisher.wait_for_all_acked(Duration(seconds=max(0.0, deadline - time.monotonic())))

    def _show(self, played: int, stamp_ns: int) -> None:
        now = time.monotonic()
        if not self._report or (now < self._next_report and played < self._total):
            return
        self._next_report = now + 1.0
        text = f"played {played}/{self._total}, t {(stamp_ns - self._bag.start_ns) / 1e9:.1f} s"
        live = sys.stderr.isatty() and not self._args.verbose and played < self._total
        print(f"\r{text}" if live else text, end="" if live else "\n", file=sys.stderr, flush=True)


def header_stamp(data: bytes) -> int:
    """Nanoseconds in the std_msgs/Header that a serialized message starts with. Raises BagError if it is too short."""
    if len(data) < 12:
        raise BagError(f"a message of {len(data)} bytes has no header. Remedy: leave its topic out, or record it again")
    seconds, nanoseconds = struct.unpack_from(_stamp_format(data), data, 4)
    return int(seconds) * 10**9 + int(nanoseconds)


def restamped(data: bytes, stamp_ns: int) -> bytes:
    """The same message with another stamp in the std_msgs/Header it starts with."""
    return data[:4] + struct.pack(_stamp_format(data), *divmod(stamp_ns, 10**9)) + data[12:]


def _stamp_format(data: bytes) -> str:
    """The second of the 4 bytes in front of CDR data tells its byte order."""
    return "<iI" if data[1] & 1 else ">iI"


def build_parser() -> argparse.ArgumentParser:
    """Arguments of the replayer."""
    parser = argparse.ArgumentParser(prog="replay", description="Play a rosbag2 bag (directory, .mcap or .db3).")
    parser.add_argument("bag", type=Path, help="rosbag2 directory, .mcap or .db3 file")
    parser.add_argument("--rate", type=_positive, default=1.0, help="speed; 2 is twice as fast")
    parser.add_argument("--loop", action="store_true", help="play again and again; the stamps repeat as recorded")
    time_source = parser.add_mutually_exclusive_group()
    time_source.add_argument(
        "--clock", type=_positive, nargs="?", const=40.0, metavar="HZ", help="publish bag time on /clock (40 Hz)"
    )
    time_source.add_argument(
        "--restamp", action="store_true", help="move header stamps to the time of playing; pairs keep their offsets"
    )
    parser.add_argument("--topics", nargs="+", metavar="TOPIC", help="play these only")
    parser.add_argument(
        "--start-delay", type=_seconds, default=0.0, metavar="S", help="seconds before the first message"
    )
    parser.add_argument(
        "--wait-for-subscribers", type=_seconds, default=0.0, metavar="S",
        help="wait up to S seconds until every image topic has a subscriber",
    )  # fmt: skip
    parser.add_argument("--qos", choices=("reliable", "best_effort"), default="reliable", help="reliability offered")
    parser.add_argument("--verbose", action="store_true", help="one line of progress a second")
    return parser


def main(argv: Sequence[str] | None = None, stop: StopFlag | None = None) -> int:
    """Play a bag. Returns 0 at its end and when interrupted (`stop` is set), 1 when it cannot be played."""
    words = list(sys.argv if argv is None else ["replay", *argv])
    args = build_parser().parse_args(remove_ros_args(words)[1:])
    stop = stop or StopFlag().set_on(signal.SIGINT, signal.SIGTERM)
    use_packaged_profile()
    rclpy.init(args=words, signal_handler_options=SignalHandlerOptions.NO)
    try:
        with BagReader(args.bag) as bag:
            node = rclpy.create_node("replay", start_parameter_services=False)  # nobody spins it to answer them
            Replayer(node, bag, args, stop).run()
    except BagError as error:
        print(f"replay: {error}", file=sys.stderr)
        return 1
    finally:
        try_shutdown()
        stop.retire()
    return 0


def _chosen_topics(bag: BagReader, wanted: Sequence[str] | None, with_clock: bool) -> list[BagTopic]:
    names = [topic.name for topic in bag.topics]
    unknown = [name for name in wanted or () if name not in names]
    if unknown:
        raise BagError(f"{bag.path}: no topic {', '.join(unknown)}; its topics: {', '.join(names)}")
    return [t for t in bag.topics if (wanted is None or t.name in wanted) and not (with_clock and t.name == "/clock")]


def _clock_message(bag_time_ns: int) -> Clock:
    message = Clock()
    message.clock.sec, message.clock.nanosec = divmod(bag_time_ns, 10**9)
    return message


def _positive(text: str) -> float:
    value = float(text)
    if not 0 < value < float("inf"):
        raise argparse.ArgumentTypeError(f"must be above 0, not {text}")
    return value


def _seconds(text: str) -> float:
    value = float(text)
    if not 0 <= value < float("inf"):
        raise argparse.ArgumentTypeError(f"must be 0 or more seconds, not {text}")
    return value


if __name__ == "__main__":
    sys.exit(main())
