"""The calibration that goes with the fused image."""

from __future__ import annotations

import numpy as np
import pytest

pytest.importorskip("vision_msgs", reason="vision_msgs is not built; run make setup")

from sensor_msgs.msg import CameraInfo
from std_msgs.msg import Header

from cldyn_ros.publishers import scaled_camera_info

K = [1000.0, 0, 640.0, 0, 900.0, 480.0, 0, 0, 1.0]
P = [1000.0, 0, 640.0, 50.0, 0, 900.0, 480.0, 0, 0, 0, 1.0, 0]


def camera(binning: int = 0, roi: tuple[int, int, int, int] = (0, 0, 0, 0)) -> CameraInfo:
    info = CameraInfo(width=1280, height=960, k=K, p=P, binning_x=binning, binning_y=binning, d=[0.1])
    info.roi.x_offset, info.roi.y_offset, info.roi.width, info.roi.height = roi
    return info


def published(info: CameraInfo, width: int, height: int) -> CameraInfo:
    return scaled_camera_info(info, Header(frame_id="visible"), np.zeros((height, width, 3), np.uint8))


@pytest.mark.parametrize(
    ("info", "size"),
    [(camera(), (1280, 960)), (camera(binning=2), (640, 480)), (camera(roi=(100, 50, 640, 480)), (640, 480)),
     (camera(binning=2, roi=(100, 50, 640, 480)), (320, 240)), (CameraInfo(), (64, 48))],
)  # fmt: skip
def test_an_image_as_the_calibration_says_keeps_it(info: CameraInfo, size: tuple[int, int]) -> None:
    out = published(info, *size)
    assert out.header.frame_id == "visible" and info.header.frame_id == ""
    out.header = info.header
    assert out == info


def test_a_resized_image_scales_it() -> None:
    out = published(camera(), 640, 240)
    assert (out.width, out.height) == (640, 240)
    assert out.k.tolist() == [500.0, 0, 320.0, 0, 225.0, 120.0, 0, 0, 1.0]
    assert out.p.tolist() == [500.0, 0, 320.0, 25.0, 0, 225.0, 120.0, 0, 0, 0, 1.0, 0]


def test_a_resized_part_scales_sensor_and_part() -> None:
    out = published(camera(binning=2, roi=(100, 50, 640, 480)), 160, 120)
    assert (out.width, out.height, out.binning_x) == (640, 480, 2)
    assert (out.roi.x_offset, out.roi.y_offset, out.roi.width, out.roi.height) == (50, 25, 320, 240)
    assert out.k[0] == 500.0
