"""Endurance: a bag, over and over, through the real node process as fast as it fuses, while its memory is watched.

    python bench/soak.py [BAG] [--frames 20000] [--switch-every 250] [--switches-per-second 0] [--csv FILE]

The next pair is shown when the one before is answered (or after 5 s, which counts as lost), so that the newest-frame
rule drops nothing. Exit status 1: a frame was lost or failed, a switch refused, or memory grows by 1 MB per 10,000
frames or more.
"""

from __future__ import annotations

import argparse
import csv
import itertools
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import rclpy
from diagnostic_msgs.msg import DiagnosticArray
from rcl_interfaces.srv import SetParameters
from rclpy.node import Node
from rclpy.parameter import Parameter
from sensor_msgs.msg import CompressedImage, Image

from cldyn_core.data.synthetic import CONDITIONS, SceneConfig, render_sequence
from cldyn_core.image_size import parse_size
from cldyn_core.tasks import available_tasks
from cldyn_core.types import FramePair
from cldyn_ros.bag_files import BagReader
from cldyn_ros.bags import START_NS, write_bag
from cldyn_ros.dds import use_packaged_profile
from cldyn_ros.replay import restamped
from cldyn_ros.stamps import stamp_ns

CAMERAS = ("infrared", "visible")
PERIOD_NS = 33_333_333
LOST_S = 5.0
LIMIT = 1.0
"""Megabytes per 10,000 frames."""
WARM_UP = 0.25
"""Of the frames are not looked at: caches fill, the allocator finds its size."""
SAMPLES = 400

Pair = tuple[bytes, bytes]


@dataclass(frozen=True)
class Sample:
    """Memory of the node's process after so many frames, in MB."""

    frame: int
    rss: float
    anonymous: float
    gpu: float


class Player(Node):
    """Shows pairs, waits for their answers, switches tasks."""

    def __init__(self, tasks: Sequence[str], switches_per_second: float) -> None:
        super().__init__("soak")
        self._cameras = [self.create_publisher(Image, f"/{camera}/image_raw", 10) for camera in CAMERAS]
        self.create_subscription(DiagnosticArray, "/cldyn/status", self._on_status, 10)
        for topic, kind in (("image_raw", Image), ("image_raw/compressed", CompressedImage)):
            self.create_subscription(kind, f"/cldyn/fused/{topic}", lambda _: None, 10, raw=True)
        self.create_subscription(Image, "/cldyn/overlay", lambda _: None, 10, raw=True)
        self._parameters = self.create_client(SetParameters, "/cldyn/set_parameters")
        self._tasks = itertools.cycle(tasks)
        self._answered_ns = 0
        self.fused_by_task: dict[str, int] = {}
        self.switches = self.refused = self.errors = 0
        self.superseded = "0"
        if switches_per_second:
            self.create_timer(1.0 / switches_per_second, self.switch)

    def wait_for_node(self, process: subprocess.Popen[bytes]) -> None:
        """Until the node has subscribed."""
        while not all(camera.get_subscription_count() for camera in self._cameras):
            if process.poll() is not None:
                raise SystemExit(f"the node ended with {process.returncode}")
            rclpy.spin_once(self, timeout_sec=0.1)
        time.sleep(0.5)  # the other side may learn of the match a little later

    def show(self, pair: Pair, stamp_ns: int) -> bool:
        """Publish a pair and wait for its status; False if it is lost."""
        for camera, message in zip(self._cameras, pair, strict=True):
            camera.publish(restamped(message, stamp_ns))
        deadline = time.monotonic() + LOST_S
        while self._answered_ns < stamp_ns and time.monotonic() < deadline:
            rclpy.spin_once(self, timeout_sec=0.1)
        return self._answered_ns >= stamp_ns

    def switch(self) -> None:
        """Ask for the next task; the answer is counted when it comes."""
        request = SetParameters.Request(parameters=[Parameter("task", value=next(self._tasks)).to_parameter_msg()])
        self._parameters.call_async(request).add_done_callback(self._on_switched)

    def _on_switched(self, future: Any) -> None:
        accepted = future.result().results[0].successful
        self.switches += accepted
        self.refused += not accepted

    def _on_status(self, msg: DiagnosticArray) -> None:
        told = {pair.key: pair.value for pair in msg.status[0].values}
        self.fused_by_task[told["task"]] = self.fused_by_task.get(told["task"], 0) + 1
        self.errors += bool(told["error"])
        self.superseded = told.get("superseded", "0")
        self._answered_ns = stamp_ns(msg.header)


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("bag", type=Path, nargs="?", help="of both image_raw topics; else a rendered street")
    parser.add_argument("--frames", type=int, default=20_000)
    parser.add_argument("--size", type=parse_size, default=(160, 120), metavar="WxH", help="of the rendered street")
    parser.add_argument("--switch-every", type=int, default=250, metavar="FRAMES")
    parser.add_argument("--switches-per-second", type=float, default=0.0, help="in place of --switch-every")
    parser.add_argument("--csv", type=Path, help="every sample of the memory")
    parser.add_argument("--ros-args", nargs=argparse.REMAINDER, default=[], help="of the node")
    args = parser.parse_args(arguments)
    os.environ.setdefault("ROS_AUTOMATIC_DISCOVERY_RANGE", "LOCALHOST")
    os.environ.setdefault("ROS_DOMAIN_ID", str(os.getpid() % 100 + 1))
    use_packaged_profile()
    pairs = read_pairs(args.bag) if args.bag else rendered_pairs(args.size)
    node = subprocess.Popen([sys.executable, "-m", "cldyn_ros.fusion_node", "--ros-args", *args.ros_args])
    rclpy.init()
    try:
        return soak(pairs, node, args)
    finally:
        node.send_signal(signal.SIGINT)
        node.wait(30.0)
        rclpy.try_shutdown()


def soak(pairs: Sequence[Pair], node: subprocess.Popen[bytes], args: argparse.Namespace) -> int:
    """Show all frames, then say what they left. 0: nothing lost and nothing leaked."""
    tasks = [task.value for task in available_tasks()]
    player = Player([*tasks[1:], tasks[0]], args.switches_per_second)
    player.wait_for_node(node)
    samples: list[Sample] = []
    lost, every, started = 0, max(1, args.frames // SAMPLES), time.monotonic()
    for k in range(args.frames):
        if not args.switches_per_second and k % args.switch_every == args.switch_every // 2:
            player.switch()
        lost += not player.show(pairs[k % len(pairs)], START_NS + k * PERIOD_NS)
        if (k + 1) % every == 0:
            samples.append(measure(node.pid, k + 1))
        if (k + 1) % (25 * every) == 0:
            newest, seconds = samples[-1], time.monotonic() - started
            print(f"{k + 1} frames, {seconds:.0f} s, RSS {newest.rss:.1f} MB, lost {lost}", flush=True)
    if args.csv:
        write_csv(samples, args.csv)
    seconds = time.monotonic() - started
    by_task = ", ".join(f"{task} {count}" for task, count in sorted(player.fused_by_task.items()))
    print(f"{args.frames} frames in {seconds:.0f} s ({args.frames / seconds:.1f} Hz): {by_task}")
    print(f"lost {lost}, superseded {player.superseded}, frames with an error {player.errors}")
    print(f"switches taken {player.switches} ({player.switches / seconds:.1f} a second), refused {player.refused}")
    growth = {name: slope(samples, name) for name in ("rss", "anonymous", "gpu")}
    for name, mb in growth.items():
        print(f"{name}: {getattr(samples[-1], name):.1f} MB at the end, {mb:+.3f} MB per 10,000 frames")
    return int(bool(lost or player.refused or player.errors) or max(growth["rss"], growth["gpu"]) >= LIMIT)


def read_pairs(path: Path) -> list[Pair]:
    """The serialized images of a bag, first with first."""
    with BagReader(path) as bag:
        sides = [[m.data for m in bag.messages({f"/{camera}/image_raw"})] for camera in CAMERAS]
    pairs = list(zip(*sides, strict=False))
    if not pairs:
        raise SystemExit(f"{path}: no pairs on /infrared/image_raw and /visible/image_raw")
    return pairs


def rendered_pairs(size: tuple[int, int], count: int = 30) -> list[Pair]:
    """Clips of every condition with 16-bit infrared, by way of a bag."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "street.mcap"
        write_bag(_rendered(*size, count), path, rate=30.0)
        return read_pairs(path)


def _rendered(width: int, height: int, count: int) -> Iterator[tuple[str, FramePair]]:
    for condition in CONDITIONS:
        for frame in render_sequence(SceneConfig(condition, width, height, count, fps=30.0, seed=1)):
            yield condition, FramePair(frame.visible, frame.infrared.astype(np.uint16) * 60 + 20_000)


def measure(pid: int, frame: int) -> Sample:
    """What the kernel (and the driver of a GPU) charges the process with."""
    lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
    kb = {line.split(":")[0]: int(line.split()[1]) for line in lines[1:]}
    return Sample(frame, kb["Rss"] / 1024, kb["Anonymous"] / 1024, gpu_memory(pid))


def gpu_memory(pid: int) -> float:
    """MB of all GPUs; 0 without one."""
    if shutil.which("nvidia-smi") is None:
        return 0.0
    query = ["nvidia-smi", "--query-compute-apps=pid,used_memory", "--format=csv,noheader,nounits"]
    rows = subprocess.run(query, capture_output=True, text=True, check=False).stdout.splitlines()
    return sum(float(row.split(",")[1]) for row in rows if row.split(",")[0].strip() == str(pid))


def slope(samples: Sequence[Sample], name: str) -> float:
    """MB per 10,000 frames after the warm-up, by least squares."""
    kept = samples[round(WARM_UP * len(samples)) :]
    return float(np.polyfit([s.frame for s in kept], [getattr(s, name) for s in kept], 1)[0]) * 10_000


def write_csv(samples: Sequence[Sample], path: Path) -> None:
    with path.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(("frame", "rss_mb", "anonymous_mb", "gpu_mb"))
        writer.writerows((s.frame, s.rss, s.anonymous, s.gpu) for s in samples)


if __name__ == "__main__":
    sys.exit(main())
