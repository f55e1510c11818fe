"""What is fuzzed: functions of bytes that may raise the documented errors of what they call, and nothing else."""

from __future__ import annotations

import contextlib
import hashlib
import io
import json
import struct
import tempfile
from array import array
from collections.abc import Callable, Mapping
from pathlib import Path

from sensor_msgs.msg import CompressedImage, Image

from cldyn_core.checkpoint import WeightsError, load_weights, read_tensors
from cldyn_core.configuration import configure
from cldyn_core.registration.calibration import parse_calibration
from cldyn_core.text_files import read_yaml
from cldyn_core.train.task_command import TaskRun
from cldyn_ros.bag_files import BagError, BagReader
from cldyn_ros.convert import ConversionError, to_infrared, to_visible
from cldyn_ros.params import ParameterError, parse
from cldyn_ros.replay import header_stamp

MAX_PIXELS = 1 << 16
HEADER = struct.Struct("<HHHB")
"""Of an image: height, width, step, byte order; then its encoding, a zero, its data."""


def image(data: bytes) -> None:
    """A message to the converter, as visible and as infrared image."""
    head = data[: HEADER.size].ljust(HEADER.size, b"\0")
    height, width, step, order = HEADER.unpack(head)
    encoding, _, pixels = data[HEADER.size :].partition(b"\0")
    message = Image(height=height, width=width, step=step, is_bigendian=order % 2)
    message.encoding, message.data = encoding.decode("latin-1"), array("B", pixels)
    _convert(message)


def compressed(data: bytes) -> None:
    """The same with a compressed message: its format, a zero, its data."""
    kind, _, content = data.partition(b"\0")
    _convert(CompressedImage(format=kind.decode("latin-1"), data=array("B", content)))


def _convert(message: Image | CompressedImage) -> None:
    for convert in (to_visible, to_infrared):
        with contextlib.suppress(ConversionError):
            assert 0 < convert(message, MAX_PIXELS).size <= 3 * MAX_PIXELS


def bag(data: bytes, suffix: str) -> None:
    """A bag file: its topics, and every message with its header."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / f"bag{suffix}"
        path.write_bytes(data)
        with contextlib.suppress(BagError), BagReader(path) as reader:
            for message in reader.messages():
                with contextlib.suppress(ValueError):
                    header_stamp(message.data)


def weights(data: bytes) -> None:
    """A manifest, a zero, and a safetensors file whose checksum is always right."""
    described, _, tensors = data.partition(b"\0")
    with contextlib.suppress(ValueError):
        manifest = json.loads(described)
        if isinstance(manifest, dict) and "sha256" in manifest:
            described = json.dumps({**manifest, "sha256": hashlib.sha256(tensors).hexdigest()}).encode()
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "w.safetensors"
        path.write_bytes(tensors)
        path.with_suffix(".json").write_bytes(described)
        for read in (read_tensors, load_weights):
            with contextlib.suppress(WeightsError):
                read(path)


def parameters(data: bytes) -> None:
    """A YAML file of the node's parameters, and as a calibration of cameras."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "file.yaml"
        path.write_bytes(data)
        with contextlib.suppress(ValueError):
            tree = read_yaml(path)
            with contextlib.suppress(ValueError):
                parse_calibration(tree)
            if isinstance(tree, Mapping):
                with contextlib.suppress(ParameterError):
                    parse({str(name): value for name, value in tree.items()})


def training(data: bytes) -> None:
    """A YAML file of a training."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "file.yaml"
        path.write_bytes(data)
        with contextlib.suppress(SystemExit, ValueError), contextlib.redirect_stderr(io.StringIO()):
            configure(TaskRun, ["--config", str(path)], "fuzz", "", "folders")


TARGETS: dict[str, Callable[[bytes], None]] = {
    "image": image,
    "compressed": compressed,
    "mcap": lambda data: bag(data, ".mcap"),
    "db3": lambda data: bag(data, ".db3"),
    "weights": weights,
    "parameters": parameters,
    "training": training,
}
