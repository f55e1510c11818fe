"""A calibration can neither swell what the node publishes nor stop it."""

from __future__ import annotations

import numpy as np
import pytest
from sensor_msgs.msg import CameraInfo, RegionOfInterest
from std_msgs.msg import Header

from cldyn_ros.inputs import usable
from cldyn_ros.publishers import scaled_camera_info

LARGEST = (1 << 32) - 1


@pytest.mark.parametrize(
    "changes", [{"d": [0.0] * 65}, {"distortion_model": "x" * 257}, {"header": Header(frame_id="x" * 257)}],
    ids=lambda changes: " ".join(changes),
)  # fmt: skip
def test_a_long_one_is_left_out(changes: dict[str, object]) -> None:
    assert usable(CameraInfo(width=640, height=480))
    assert not usable(CameraInfo(width=640, height=480, **changes))


@pytest.mark.parametrize("binning", [0, LARGEST])
@pytest.mark.parametrize("region", [0, 1, LARGEST])
def test_absurd_sizes_stay_within_the_message(region: int, binning: int) -> None:
    roi = RegionOfInterest(x_offset=LARGEST, y_offset=LARGEST, width=region, height=region)
    info = CameraInfo(
        width=LARGEST, height=LARGEST, roi=roi, binning_x=binning, binning_y=binning, k=[float("nan")] * 9
    )
    scaled = scaled_camera_info(info, Header(), np.empty((48, 64, 3), np.uint8))
    assert 0 <= scaled.roi.width <= scaled.width <= LARGEST
