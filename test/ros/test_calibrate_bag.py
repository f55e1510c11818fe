"""A calibration from a bag, as after a drive with both cameras recorded."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest
import yaml

from cldyn_core.cli import main
from cldyn_core.data.synthetic import SceneConfig, render_frame


def test_a_bag_gives_the_map_of_its_cameras(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    true = np.array([[1.0, 0.0, 7.0], [0.0, 1.0, -4.0], [0, 0, 1]])
    for number in range(6):
        frame = render_frame(SceneConfig("day", 320, 240, seed=number), 0)
        infrared = cv2.warpPerspective(frame.infrared, np.linalg.inv(true), (320, 240))
        for side, image in (("infrared", infrared), ("visible", frame.visible[..., ::-1])):
            (tmp_path / "pairs" / side).mkdir(parents=True, exist_ok=True)
            cv2.imwrite(str(tmp_path / "pairs" / side / f"{number}.png"), image)
    bag, out = tmp_path / "drive.mcap", tmp_path / "calibration.yaml"
    assert main(["data", "to-bag", str(tmp_path / "pairs"), str(bag), "--rate", "10"]) == 0
    assert main(["data", "calibrate", str(bag), "-o", str(out), "--model", "similarity"]) == 0
    found = np.array(yaml.safe_load(out.read_text())["homography"]).reshape(3, 3)
    center = np.array([160.0, 120.0, 1.0])
    assert (found @ center)[:2] == pytest.approx((true @ center)[:2], abs=0.5)
    capsys.readouterr()
    assert main(["data", "calibrate", str(bag), "-o", str(out), "--visible-topic", "/left/image_raw"]) == 1
    assert "no images on /left/image_raw; its image topics: " in capsys.readouterr().err
