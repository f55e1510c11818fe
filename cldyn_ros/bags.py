"""Pairs of images to a bag, and the command `cldyn data to-bag`."""

from __future__ import annotations

import argparse
import math
import sys
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from cldyn_core.data.pairs import LAYOUT_NAMES, find_pairs
from cldyn_core.types import FramePair
from cldyn_ros.bag_files import BagError, BagMessage, BagReader, BagRecorder, BagTopic, typestore

__all__ = [
    "BagError",
    "BagMessage",
    "BagReader",
    "BagRecorder",
    "BagSummary",
    "BagTopic",
    "add_to_bag_command",
    "write_bag",
]

Array = NDArray[Any]

IMAGE = "sensor_msgs/msg/Image"
COMPRESSED_IMAGE = "sensor_msgs/msg/CompressedImage"
CAMERA_INFO = "sensor_msgs/msg/CameraInfo"
START_NS = 1_700_000_000 * 10**9
"""Stamp of the first pair: fixed, so that the same folder gives the same bag."""
DEFAULT_RATE = 10.0
JPEG_QUALITY = 95


@dataclass(frozen=True)
class Camera:
    """Where one side of the pairs goes."""

    topic: str
    frame_id: str
    offset_ns: int = 0

    @property
    def info_topic(self) -> str:
        return self.topic.rsplit("/", 1)[0] + "/camera_info"


@dataclass(frozen=True)
class BagSummary:
    """What was written."""

    path: Path
    pairs: int
    messages: int
    seconds: float
    """Duration when played at rate 1."""
    size_bytes: int


def write_bag(
    pairs: Iterable[tuple[str, FramePair]],
    path: Path,
    *,
    rate: float = DEFAULT_RATE,
    compressed: str | None = None,
    infrared_topic: str = "/infrared/image_raw",
    visible_topic: str = "/visible/image_raw",
    infrared_frame: str = "infrared_optical_frame",
    visible_frame: str = "visible_optical_frame",
    fov_deg: float | None = 60.0,
    infrared_offset_ms: float = 0.0,
    start_ns: int = START_NS,
    storage: str | None = None,
    force: bool = False,
    progress: Callable[[int], None] | None = None,
) -> BagSummary:
    """Write pairs as a rosbag2 bag that `ros2 bag play` and the replayer play.

    Parameters, where the name does not say it:
        pairs: (name, pair) in order; pair i is stamped start_ns + i / rate.
        path: `out.mcap` or `out.db3` for one bare file, another name for a rosbag2 directory.
        storage: "mcap" (default) or "sqlite3", for a directory.
        rate: pairs per second.
        compressed: None for sensor_msgs/Image (rgb8; mono8, mono16 or 32FC1), "jpeg" or "png" for CompressedImage on
            `<topic>/compressed`. 16-bit infrared is always PNG, since JPEG has 8 bits.
        fov_deg: horizontal field of view of the ideal pinhole camera whose CameraInfo goes beside each image (no real
            calibration!); None: no CameraInfo.
        infrared_offset_ms: added to the stamps of the infrared images.
        force: replace an existing bag.
        progress: called with the number of pairs written.

    Raises BagError, and what iterating over the pairs raises; then no bag is left.
    """
    _check_arguments(rate, compressed, fov_deg)
    infrared = Camera(infrared_topic, infrared_frame, round(infrared_offset_ms * 1e6))
    visible = Camera(visible_topic, visible_frame)
    count = 0
    with BagRecorder(path, storage=storage, force=force) as bag:
        for name, pair in pairs:
            stamp = start_ns + round(count * 1e9 / rate)
            for camera, image in ((infrared, pair.infrared), (visible, pair.visible)):
                try:
                    _write_image(bag, camera, image, stamp + camera.offset_ns, compressed, fov_deg)
                except (BagError, cv2.error) as error:
                    raise BagError(f"pair {name}: {error}") from error
            count += 1
            if progress:
                progress(count)
        messages = bag.count
    files = [path] if path.is_file() else list(path.iterdir())
    return BagSummary(path, count, messages, count / rate, sum(file.stat().st_size for file in files))


def _check_arguments(rate: float, compressed: str | None, fov_deg: float | None) -> None:
    if not (math.isfinite(rate) and rate > 0):
        raise BagError(f"rate must be above 0, not {rate}")
    if compressed not in (None, "jpeg", "png"):
        raise BagError(f"unknown compression {compressed!r}; compressions: jpeg, png")
    if fov_deg is not None and not 0 < fov_deg < 180:
        raise BagError(f"the field of view must lie between 0 and 180 degrees, not {fov_deg}")


def _write_image(
    bag: BagRecorder, camera: Camera, image: Array, stamp: int, compressed: str | None, fov_deg: float | None
) -> None:
    header = _header(stamp, camera.frame_id)
    if compressed:
        topic, msgtype, message = (
            f"{camera.topic}/compressed",
            COMPRESSED_IMAGE,
            compressed_message(image, header, compressed),
        )
    else:
        topic, msgtype, message = camera.topic, IMAGE, image_message(image, header)
    bag.write(topic, msgtype, stamp, _serialize(message, msgtype))
    if fov_deg is not None:
        info = camera_info_message(image.shape[1], image.shape[0], header, fov_deg)
        bag.write(camera.info_topic, CAMERA_INFO, stamp, _serialize(info, CAMERA_INFO))


def image_message(image: Array, header: Any) -> Any:
    """(H, W, 3) uint8 RGB, or (H, W) uint8, uint16 or float32, to sensor_msgs/Image."""
    data = np.ascontiguousarray(image, image.dtype.newbyteorder("<")).view(np.uint8).reshape(-1)
    return typestore().types[IMAGE](
        header=header, height=image.shape[0], width=image.shape[1], encoding=_encoding(image), is_bigendian=0,
        step=data.size // image.shape[0], data=data,
    )  # fmt: skip


def compressed_message(image: Array, header: Any, kind: str) -> Any:
    """The same images to sensor_msgs/CompressedImage, `format` as image_transport writes it. float32 is refused."""
    encoding = _encoding(image)
    if encoding == "32FC1":
        raise BagError("float images have no compressed form here. Remedy: write them uncompressed")
    kind = "png" if encoding == "mono16" else kind
    stored = cv2.cvtColor(image, cv2.COLOR_RGB2BGR) if encoding == "rgb8" else image
    options = [cv2.IMWRITE_JPEG_QUALITY, JPEG_QUALITY] if kind == "jpeg" else [cv2.IMWRITE_PNG_COMPRESSION, 1]
    done, data = cv2.imencode(".jpg" if kind == "jpeg" else ".png", stored, options)
    if not done:
        raise BagError(f"OpenCV cannot encode an image of {image.shape} as {kind}")
    text = f"{encoding}; {kind} compressed {'bgr8' if encoding == 'rgb8' else ''}"
    return typestore().types[COMPRESSED_IMAGE](header=header, format=text, data=data.reshape(-1))


def camera_info_message(width: int, height: int, header: Any, fov_deg: float) -> Any:
    """Ideal pinhole of a horizontal field of view: square pixels, center in the middle of the image, no distortion."""
    focal = width / 2 / math.tan(math.radians(fov_deg) / 2)
    center = ((width - 1) / 2, (height - 1) / 2)
    k = [focal, 0.0, center[0], 0.0, focal, center[1], 0.0, 0.0, 1.0]
    p = [focal, 0.0, center[0], 0.0, 0.0, focal, center[1], 0.0, 0.0, 0.0, 1.0, 0.0]
    types = typestore().types
    roi = types["sensor_msgs/msg/RegionOfInterest"](x_offset=0, y_offset=0, height=0, width=0, do_rectify=False)
    return types[CAMERA_INFO](
        header=header, height=height, width=width, distortion_model="plumb_bob", d=np.zeros(5), k=np.array(k),
        r=np.eye(3).reshape(-1), p=np.array(p), binning_x=0, binning_y=0, roi=roi,
    )  # fmt: skip


def _encoding(image: Array) -> str:
    if image.ndim == 3 and image.shape[2] == 3 and image.dtype == np.uint8:
        return "rgb8"
    names = {"uint8": "mono8", "uint16": "mono16", "float32": "32FC1"}
    if image.ndim == 2 and image.dtype.name in names:
        return names[image.dtype.name]
    raise BagError(f"an image of shape {image.shape} and {image.dtype} has no ROS encoding here")


def _header(stamp_ns: int, frame_id: str) -> Any:
    types = typestore().types
    time = types["builtin_interfaces/msg/Time"](sec=stamp_ns // 10**9, nanosec=stamp_ns % 10**9)
    return types["std_msgs/msg/Header"](stamp=time, frame_id=frame_id)


def _serialize(message: Any, msgtype: str) -> bytes:
    return bytes(typestore().serialize_cdr(message, msgtype))


def add_to_bag_command(subparsers: Any) -> None:
    """Add `to-bag` to the actions of `cldyn data`."""
    parser = subparsers.add_parser("to-bag", help="write a folder of pairs as a bag that `ros2 bag play` plays")
    parser.add_argument("folder", type=Path, help="folder of pairs")
    parser.add_argument("out", type=Path, help="out.mcap or out.db3: one file; another name: a rosbag2 directory")
    parser.add_argument(
        "--rate", type=float, help=f"pairs per second (default: what the folder says, else {DEFAULT_RATE:g})"
    )
    parser.add_argument("--compressed", choices=("jpeg", "png"), help="write CompressedImage topics")
    parser.add_argument("--infrared-topic", default="/infrared/image_raw")
    parser.add_argument("--visible-topic", default="/visible/image_raw")
    parser.add_argument("--infrared-frame", default="infrared_optical_frame", help="frame_id of the infrared images")
    parser.add_argument("--visible-frame", default="visible_optical_frame", help="frame_id of the visible images")
    parser.add_argument("--infrared-offset-ms", type=float, default=0.0, help="added to the infrared stamps")
    parser.add_argument("--fov", type=float, default=60.0, help="degrees across, for the ideal CameraInfo (default 60)")
    parser.add_argument("--no-camera-info", action="store_true", help="write no CameraInfo")
    parser.add_argument("--storage", choices=("mcap", "sqlite3"), help="of a rosbag2 directory (default mcap)")
    parser.add_argument("--layout", choices=LAYOUT_NAMES, default="auto", help="how the folder is arranged")
    parser.add_argument("--split", help="only this split (train, test) of a data set that has them")
    parser.add_argument("--force", action="store_true", help="replace an existing bag")
    parser.set_defaults(run=run_to_bag)


def run_to_bag(args: argparse.Namespace) -> int:
    """Run `cldyn data to-bag`. Returns the exit status; raises PairError and BagError."""
    folder = find_pairs(args.folder, args.layout, args.split)
    unmatched = len(folder.only_infrared) + len(folder.only_visible)
    if unmatched:
        print(f"{unmatched} images without a partner are left out; `cldyn data check` names them", file=sys.stderr)
    rate = args.rate if args.rate is not None else folder.rate or DEFAULT_RATE

    def show(done: int) -> None:
        print(f"\r{done}/{len(folder)} pairs", end="\n" if done == len(folder) else "", file=sys.stderr, flush=True)

    summary = write_bag(
        folder.iterate(), args.out, rate=rate, compressed=args.compressed,
        infrared_topic=args.infrared_topic, visible_topic=args.visible_topic, infrared_frame=args.infrared_frame,
        visible_frame=args.visible_frame, fov_deg=None if args.no_camera_info else args.fov,
        infrared_offset_ms=args.infrared_offset_ms, storage=args.storage, force=args.force,
        progress=show if sys.stderr.isatty() else None,
    )  # fmt: skip
    megabytes = summary.size_bytes / 1e6
    print(f"{summary.path}: {summary.pairs} pairs, {summary.seconds:.1f} s, {megabytes:.1f} MB")
    return 0
