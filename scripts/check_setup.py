"""Import what the set-up has installed and say what it is. Runs in .venv; status 1 if something is wrong."""

from __future__ import annotations

import os
import sys
import tempfile
from importlib.metadata import version
from pathlib import Path


def torch_build() -> str:
    """What torch is and where it runs."""
    import torch

    if torch.version.cuda is None:
        return f"{torch.__version__}, CPU build"
    if not torch.cuda.is_available():
        return (
            f"{torch.__version__}, CUDA {torch.version.cuda} build, but no GPU can be used: tasks will run on the CPU"
        )
    return f"{torch.__version__}, CUDA {torch.version.cuda} build, {torch.cuda.get_device_name(0)}"


def ros() -> str:
    """rclpy and the message packages load their compiled halves."""
    import rclpy
    from rclpy.serialization import deserialize_message, serialize_message
    from vision_msgs.msg import Detection2D, Detection2DArray

    rclpy.get_rmw_implementation_identifier()
    sent = Detection2DArray(detections=[Detection2D(id="7")])
    if deserialize_message(serialize_message(sent), Detection2DArray) != sent:
        raise RuntimeError("vision_msgs does not survive serialization")
    return (
        f"rclpy {version('ros-rclpy')} (Jazzy wheels), {rclpy.get_rmw_implementation_identifier()}, vision_msgs built"
    )


def opencv() -> str:
    """OpenCV 4, and numpy."""
    import cv2
    import numpy

    if not cv2.__version__.startswith("4."):
        raise RuntimeError(f"OpenCV {cv2.__version__} has replaced OpenCV 4; run: rm -r .venv && make setup")
    return f"{cv2.__version__}, numpy {numpy.__version__}"


def detector() -> str:
    """ultralytics builds a network, beside this torch and OpenCV. After torch: it would set its thread count."""
    from ultralytics import __version__
    from ultralytics.nn.tasks import DetectionModel

    DetectionModel("yolov5n.yaml", nc=6, verbose=False)
    return f"ultralytics {__version__} (AGPL-3.0)"


def main(with_detector: bool) -> int:
    """Print a line per part."""
    os.environ.update(YOLO_OFFLINE="true", YOLO_AUTOINSTALL="false", YOLO_VERBOSE="false")
    parts = {"torch": torch_build, "opencv": opencv, "ros": ros}
    if with_detector:
        parts["detector"] = detector
    print(f"  python     {sys.version.split()[0]}, {Path(sys.prefix)}")
    with tempfile.TemporaryDirectory() as folder:
        os.environ.setdefault("YOLO_CONFIG_DIR", folder)
        for name, check in parts.items():
            try:
                print(f"  {name:<10} {check()}", flush=True)
            except Exception as error:
                print(f"  {name:<10} FAILED: {type(error).__name__}: {error}", file=sys.stderr)
                return 1
    if not with_detector:
        print("  detector   left out (DETECTOR=none)")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:] != ["none"]))
