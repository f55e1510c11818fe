"""Augmentation geometry, and that both trainers learn."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import save_file

from cldyn_core import EngineSettings, LoopMode, Task, tasks
from cldyn_core.data.images import PairError
from cldyn_core.data.transforms import Labelled, random_light, random_view, transform_boxes
from cldyn_core.engine import FusionEngine
from cldyn_core.losses import visual_loss
from cldyn_core.train.commands import luma_pairs
from cldyn_core.train.detection_data import Mixture, read_labelled, render_labelled
from cldyn_core.train.tasks import DetectorTraining, judge_detector, start_from, train_detector
from cldyn_core.train.visual import Progress, VisualTraining, judge_visual, sample_batch, train_visual
from cldyn_core.types import as_batch
from cldyn_core.vfn import VFN


def marked(height: int, width: int, box: tuple[int, int, int, int]) -> Labelled:
    image = np.zeros((height, width, 3), np.uint8)
    x0, y0, x1, y1 = box
    image[y0:y1, x0:x1] = 255
    return Labelled(image, np.array([box], np.float32), np.array([2]))


@settings(max_examples=80, deadline=None)
@given(seed=st.integers(0, 10_000), height=st.integers(40, 120), width=st.integers(40, 160))
def test_boxes_follow_the_pixels(seed: int, height: int, width: int) -> None:
    rng = np.random.default_rng(seed)
    x0, y0 = int(rng.integers(0, width - 20)), int(rng.integers(0, height - 20))
    view = random_view(marked(height, width, (x0, y0, x0 + 20, y0 + 16)), (64, 96), rng)
    assert view.image.shape == (64, 96, 3)
    bright = np.argwhere(view.image[..., 0] > 127 + 57)  # the gray outside is 114
    if len(view.boxes):
        (top, left), (bottom, right) = bright.min(0), bright.max(0) + 1
        np.testing.assert_allclose(view.boxes[0], [left, top, right, bottom], atol=2.5)
        assert view.labels.tolist() == [2]


def test_boxes_that_leave_the_view_are_dropped() -> None:
    boxes = np.array([[0, 0, 10, 10], [50, 50, 60, 60], [95, 5, 105, 15]], np.float32)
    shift = np.array([[1.0, 0.0, -8.0], [0.0, 1.0, 0.0]])
    kept, labels = transform_boxes(boxes, np.arange(3), shift, (100, 100))
    assert labels.tolist() == [1, 2]
    np.testing.assert_array_equal(kept, [[42, 50, 52, 60], [87, 5, 97, 15]])


def test_light_changes_brightness_not_shape() -> None:
    image = np.random.default_rng(0).integers(0, 256, (30, 40, 3), np.uint8)
    out = [random_light(image, np.random.default_rng(seed)) for seed in range(5)]
    assert all(o.shape == image.shape and o.dtype == np.uint8 for o in out)
    assert np.std([o.mean() for o in out]) > 3


def test_crops_of_a_batch_stay_registered() -> None:
    rng = np.random.default_rng(0)
    images = [rng.integers(0, 256, (40, 50), np.uint8) for _ in range(3)]
    infrared, luma = sample_batch([(i, 255 - i) for i in images], VisualTraining(batch=6, crop=32), rng)
    assert infrared.shape == (6, 1, 32, 32)
    torch.testing.assert_close(infrared + luma, torch.ones_like(luma))


def test_stage_one_learns_and_is_reproducible() -> None:
    rng = np.random.default_rng(0)
    y, x = np.mgrid[:64, :64]
    waves = [(127 + 120 * np.sin(x / a), 127 + 120 * np.cos(y / b)) for a, b in rng.uniform(3, 9, (4, 2))]
    pairs = [(a.astype(np.uint8), b.astype(np.uint8)) for a, b in waves]
    runs = []
    for _ in range(2):
        torch.manual_seed(0)
        history: list[Progress] = []
        vfn = train_visual(VFN(1), pairs, VisualTraining(steps=40, batch=4, crop=32, report_every=10), history.append)
        runs.append([p.loss for p in history])
        assert not vfn.training
    assert runs[0] == runs[1]
    assert runs[0][-1] < 0.8 * runs[0][0]
    with pytest.raises(ValueError, match="at least 128 pixels"):
        train_visual(VFN(1), pairs, VisualTraining())


def test_the_network_is_judged_beside_average_and_maximum() -> None:
    rng = np.random.default_rng(3)
    infrared, luma = rng.integers(0, 256, (2, 20, 24), np.uint8)
    losses = judge_visual(VFN(1).eval(), [(infrared, luma), (luma, infrared)])
    a, b = as_batch(infrared), as_batch(luma)
    assert losses["maximum"] == pytest.approx(float(visual_loss(torch.maximum(a, b), a, b)[0]), rel=1e-5)
    assert losses["average"] == pytest.approx(float(visual_loss((a + b) / 2, a, b)[0]), rel=1e-5)
    same = judge_visual(VFN(1).eval(), [(luma, luma)])
    assert same["maximum"] == same["average"] == 0.0 < same["vfn"]


def test_the_last_share_of_each_folder_is_held_out(tmp_path: Path) -> None:
    for folder, count in (("a", 10), ("b", 4)):
        for side in ("infrared", "visible"):
            (tmp_path / folder / side).mkdir(parents=True)
            for k in range(count):
                cv2.imwrite(str(tmp_path / folder / side / f"{k}.png"), np.full((16, 16), 10 * k, np.uint8))
    train, held_out = luma_pairs([tmp_path / "a", tmp_path / "b"], 16, 0.2)
    assert [int(luma[0, 0]) for _, luma in train] == [*range(0, 80, 10), 0, 10, 20]
    assert [int(luma[0, 0]) for _, luma in held_out] == [80, 90, 30]


def test_the_detector_learns_one_picture() -> None:
    detection = pytest.importorskip("cldyn_core.tasks.detection")
    if detection.Detector.missing():
        pytest.skip(detection.Detector.missing())
    sample = marked(64, 64, (16, 20, 44, 50))  # a white block: nothing that the bundled weights know
    detector = tasks.create(Task.DETECTION, EngineSettings(), torch.device("cpu"))
    assert isinstance(detector, detection.Detector)
    before = judge_detector(detector, [sample])
    recipe = DetectorTraining(steps=60, batch=4, size=(64, 64), learning_rate=2e-3, warmup=10, average=0.9)
    train_detector(detector, lambda _rng: sample, recipe)
    assert judge_detector(detector, [sample]) < 0.5 * before
    assert not detector.module.training


def test_labelled_pairs_are_fused_and_drawn(tmp_path: Path) -> None:
    from cldyn_core.data.synthetic import SceneConfig, write_sequence

    folder = tmp_path / "street"
    write_sequence(SceneConfig("day", 96, 64, frames=3, seed=5), folder)
    (folder / "classes.txt").write_text("person\ncar\nBus\nbicycle\nMotorcycle\nTruck\n")
    engine = FusionEngine(EngineSettings(loop_mode=LoopMode.OPEN, device="cpu"))
    train, held_out = read_labelled(folder, engine, 0.34)
    assert (len(train), len(held_out)) == (2, 1)
    assert train[0].annotated == (0, 1, 2, 4, 5)  # by name; there is no class bicycle
    assert 3 not in np.concatenate([pair.labels for pair in (*train, *held_out)])
    fused, visible, infrared = train[0].images
    assert fused.shape == visible.shape == (64, 96, 3) and infrared.shape == (64, 96)
    draw = Mixture([[], train])
    shown = [draw(np.random.default_rng(seed)).image for seed in range(40)]
    for image in (fused, visible, np.repeat(infrared[..., None], 3, axis=2)):
        assert any(np.array_equal(image, drawn) for drawn in shown)
    (folder / "classes.txt").unlink()
    with pytest.raises(PairError, match=r"classes\.txt"):
        read_labelled(folder, engine, 0.0)
    with pytest.raises(ValueError, match="nothing to train on"):
        Mixture([[]])


def test_rendered_pairs_for_training_are_as_many_as_asked() -> None:
    engine = FusionEngine(EngineSettings(loop_mode=LoopMode.OPEN, device="cpu"))
    pairs = list(render_labelled(5, (48, 64), engine))
    assert len(pairs) == 5
    assert all(pair.annotated == tuple(range(6)) for pair in pairs)
    assert not np.array_equal(pairs[0].images[1], pairs[4].images[1])


def test_a_foreign_start_is_refused(tmp_path: Path) -> None:
    detection = pytest.importorskip("cldyn_core.tasks.detection")
    if detection.Detector.missing():
        pytest.skip(detection.Detector.missing())
    torch.manual_seed(1)
    detector = detection.Detector()
    save_file({"model.0.conv.weight": torch.zeros(16, 3, 6, 6)}, tmp_path / "odd.safetensors")
    with pytest.raises(ValueError, match="only 1 of the"):
        start_from(detector, tmp_path / "odd.safetensors")
    backbone = {k: v.half() for k, v in detector.module.state_dict().items() if not k.startswith("model.24.")}
    save_file(backbone, tmp_path / "coco.safetensors")
    torch.manual_seed(2)
    other = detection.Detector()
    assert start_from(other, tmp_path / "coco.safetensors") == len(backbone)
    name = "model.23.cv3.conv.weight"
    torch.testing.assert_close(other.module.state_dict()[name], detector.module.state_dict()[name], atol=1e-3, rtol=0)
