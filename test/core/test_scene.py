"""Scene changes: none within a scene whatever the cameras do, all between scenes."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import permutations

import cv2
import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from shared_data import SHARED

from cldyn_core.data.synthetic import CONDITIONS, SceneConfig, render_frame, render_sequence
from cldyn_core.engine.colors import luma
from cldyn_core.engine.scene import SceneChange

Pair = tuple[torch.Tensor, torch.Tensor]
SIZE = 160, 120


def pair(visible: NDArray[np.uint8], infrared: NDArray[np.uint8]) -> Pair:
    return luma(torch.from_numpy(visible)), torch.from_numpy(infrared.astype(np.float32) / 255)[None, None]


def rendered(condition: str, seed: int, frames: int) -> list[Pair]:
    config = SceneConfig(condition, *SIZE, frames=frames, seed=seed)
    return [pair(frame.visible, frame.infrared) for frame in render_sequence(config)]


def alarms(pairs: list[Pair]) -> list[bool]:
    scene = SceneChange()
    return [scene.seen(*one) for one in pairs]


@pytest.fixture(scope="module")
def clips() -> list[list[Pair]]:
    return [rendered(condition, seed, 8) for seed, condition in enumerate(CONDITIONS)]


def test_no_alarm_within_a_scene_at_ten_frames_a_second(clips: list[list[Pair]]) -> None:
    assert not any(any(alarms(clip)) for clip in clips)


def test_every_cut_between_scenes_is_seen_once(clips: list[list[Pair]]) -> None:
    for before, after in permutations(clips, 2):
        assert alarms(before[-2:] + after[:2]) == [False, False, True, False]


@pytest.fixture(scope="module")
def image() -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    frame = render_frame(SceneConfig("dusk", 352, 288, frames=1, seed=4), 0)
    return frame.visible.astype(np.float32), frame.infrared.astype(np.float32)


def shown(visible: NDArray[np.float32], infrared: NDArray[np.float32]) -> Pair:
    return pair(*(np.clip(image, 0, 255).astype(np.uint8) for image in (visible, infrared)))


def test_gain_noise_and_motion_are_no_scene(image: tuple[NDArray[np.float32], NDArray[np.float32]]) -> None:
    rng = np.random.default_rng(0)
    frames = [shown(*image)]
    for gain, offset, noise, shift in ((0.5, 0, 0, 0), (1.6, -20, 0, 0), (1, 0, 12, 0), (0.4, 0, 8, 4), (1, 40, 0, 8)):
        moved = [np.roll(one, shift, axis=1) * gain + offset for one in image]
        frames.append(shown(*(one + noise * rng.standard_normal(one.shape).astype(np.float32) for one in moved)))
    assert not any(alarms(frames))


def test_one_camera_alone_is_no_scene(image: tuple[NDArray[np.float32], NDArray[np.float32]]) -> None:
    visible, infrared = image
    other = render_frame(SceneConfig("day", 352, 288, frames=1, seed=9), 0).visible.astype(np.float32)
    shutter, dark = np.full_like(infrared, 90), np.zeros_like(visible)
    assert not any(alarms([shown(visible, infrared), shown(other, infrared), shown(visible, infrared)]))
    assert not any(alarms([shown(visible, infrared), shown(visible, shutter), shown(visible, infrared)]))
    assert not any(alarms([shown(visible, infrared), shown(dark, infrared), shown(visible, infrared)]))


def test_a_camera_that_sees_nothing_leaves_it_to_the_other(
    image: tuple[NDArray[np.float32], NDArray[np.float32]],
) -> None:
    dark, infrared = np.zeros_like(image[0]), image[1]
    mirrored = np.ascontiguousarray(infrared[:, ::-1])
    assert alarms([shown(dark, infrared), shown(dark, mirrored)]) == [False, True]
    noise = [np.random.default_rng(seed).normal(90, 10, infrared.shape).astype(np.float32) for seed in range(3)]
    assert not any(alarms([shown(dark, one) for one in noise]))


def test_after_forgetting_and_on_any_size() -> None:
    scene = SceneChange()
    one, other = torch.rand(1, 1, 300, 400), torch.rand(1, 1, 3, 3)
    assert not scene.seen(one, one)
    scene.forget()
    assert not scene.seen(other, other)
    assert scene.seen(one, one)


def clip(path: str) -> Iterator[Pair]:
    assert SHARED is not None
    videos = [cv2.VideoCapture(str(SHARED / "data" / "sequences" / path / name)) for name in ("vi.mp4", "ir.mp4")]
    while True:
        (seen, visible), (hot, infrared) = (video.read() for video in videos)
        if not (seen and hot):
            return
        yield pair(visible[..., ::-1].copy(), infrared[..., 0])


CLIPS = "m3svd_video_0111_1716", "m3svd_video_0117_1605", "m3svd_video_1230_1202"


@pytest.mark.skipif(
    SHARED is None or not (SHARED / "data" / "sequences" / CLIPS[0]).is_dir(), reason="real sequences are not here"
)
def test_real_clips_at_full_rate_and_at_a_tenth() -> None:
    clips = [list(clip(path))[:120] for path in CLIPS]
    assert [sum(alarms(frames)) for frames in clips] == [0, 0, 0]
    assert [sum(alarms(frames[::10])) for frames in clips] == [0, 0, 0]
    for before, after in permutations(clips, 2):
        assert alarms([before[-1], after[0]]) == [False, True]
