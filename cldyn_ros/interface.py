"""The node's topics and services, said once: for the publishers, the tables of doc/node.md and their tests.

`python -m cldyn_ros.interface` prints the tables. Parameters are in params.py.
"""

from __future__ import annotations

import importlib
import importlib.util
import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any


@dataclass(frozen=True)
class Entry:
    """A topic or service: its name (`~` is the node's), its type as ROS writes it, what it carries."""

    name: str
    kind: str
    doc: str
    per_frame: bool = False
    """A message of it comes with a fused frame: with `lazy`, a subscriber of it makes the node work."""


STAGES = {
    "prepare": "range, registration and tensors of the pair",
    "encode": "the encoders of the fusion network",
    "first_pass": "the fusion without compensation, where the plan is made from it",
    "requirement": "what the task network asks for, from the first pass",
    "plan": "the choice of the compensation",
    "execute": "the fusion with the plan",
    "task": "the task network",
    "finish": "the image back to bytes",
    "total": "from the arrival of the later image to the publication",
    "age": "from the stamp of the frame to the publication, by the node's clock",
}
"""Latency to its meaning. A stage that a frame did not need is not published for it."""


def latency_topic(stage: str) -> str:
    """Where a latency of STAGES is published, in ms."""
    return f"~/latency/{stage}_ms"


INPUTS = (
    Entry("infrared/image_raw", "sensor_msgs/msg/Image", "8-bit, 16-bit or float infrared"),
    Entry("visible/image_raw", "sensor_msgs/msg/Image", "color or gray; gives stamp and frame of all outputs"),
    Entry("visible/camera_info", "sensor_msgs/msg/CameraInfo", "optional: passed on as `~/fused/camera_info`"),
)
OUTPUTS = (
    Entry("~/fused/image_raw", "sensor_msgs/msg/Image", "the fused image, rgb8", True),
    Entry(
        "~/fused/image_raw/compressed",
        "sensor_msgs/msg/CompressedImage",
        "the same as JPEG or PNG (`compressed.format`)",
        True,
    ),
    Entry("~/fused/camera_info", "sensor_msgs/msg/CameraInfo", "calibration of the visible camera, to scale", True),
    Entry("~/detections", "vision_msgs/msg/Detection2DArray", "boxes; class_id is the class name", True),
    Entry("~/segmentation", "sensor_msgs/msg/Image", "mono8: class index, as in `~/label_info`", True),
    Entry("~/saliency", "sensor_msgs/msg/Image", "mono8: 0 background, 255 salient", True),
    Entry("~/overlay", "sensor_msgs/msg/Image", "the answer drawn into the fused image, and a caption", True),
    Entry("~/status", "diagnostic_msgs/msg/DiagnosticArray", "task, mode, plan, latencies, drops of the frame", True),
    *(Entry(latency_topic(name), "std_msgs/msg/Float64", f"ms: {doc}", True) for name, doc in STAGES.items()),
    Entry("~/label_info", "vision_msgs/msg/LabelInfo", "class names of the task in force; latched"),
    Entry("/diagnostics", "diagnostic_msgs/msg/DiagnosticArray", "once a second: cameras, fusion, engine"),
)
SERVICES = (
    Entry("~/enable", "std_srvs/srv/SetBool", "false: pass over all images; true: fuse again"),
    Entry("~/set_parameters", "rcl_interfaces/srv/SetParameters", "what `ros2 param set` calls"),
    Entry("~/set_parameters_atomically", "rcl_interfaces/srv/SetParametersAtomically", "several values or none"),
    Entry("~/describe_parameters", "rcl_interfaces/srv/DescribeParameters", "ranges, choices, read-only or not"),
    Entry("~/change_state", "lifecycle_msgs/srv/ChangeState", "what `ros2 lifecycle set` calls"),
    Entry("~/get_state", "lifecycle_msgs/srv/GetState", "what `ros2 lifecycle get` calls"),
)


def message_class(name: str) -> Any:
    """The Python class of a type named as "sensor_msgs/msg/Image". Raises ImportError or AttributeError."""
    if not is_type(name):
        raise ImportError(f"{name!r} is no message type")
    package, _, kind = name.split("/")
    spec = importlib.util.find_spec(package)
    folders = list(spec.submodule_search_locations or ()) if spec else []
    if not any((Path(folder) / "msg" / "__init__.py").is_file() for folder in folders):
        raise ImportError(f"no message package {package}")  # a bag may name any module; importing one would run it
    return getattr(importlib.import_module(f"{package}.msg"), kind)


def is_type(name: object) -> bool:
    """Whether this can be the name of a message type, as "sensor_msgs/msg/Image"."""
    return isinstance(name, str) and re.fullmatch(r"[a-zA-Z]\w*/msg/[a-zA-Z]\w*", name) is not None


def table(entries: Iterable[Entry]) -> str:
    """The entries in Markdown."""
    rows = [f"| `{e.name}` | {e.kind} | {e.doc} |" for e in entries]
    return "\n".join(["| name | type | what |", "|---|---|---|", *rows])


if __name__ == "__main__":
    print(*(table(part) for part in (INPUTS, OUTPUTS, SERVICES)), sep="\n\n")
