"""Labelled pairs of every task from folders, and views in which images, boxes and masks stay together."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from shared_data import SHARED

from cldyn_core import Task
from cldyn_core.data.check import check_folder
from cldyn_core.data.images import PairError
from cldyn_core.data.labelled import NoLabelsError, open_labelled
from cldyn_core.data.pair_views import random_pair_view, shrink_pair
from cldyn_core.data.synthetic import SEMANTIC_CLASSES, SceneConfig, render_sequence, write_sequence
from cldyn_core.types import IGNORED, Detections, LabelledPair, LabelMap, SaliencyMap


@pytest.fixture(scope="module")
def street(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("data") / "street"
    write_sequence(SceneConfig("day", 160, 96, frames=5, fps=0.5, seed=5), folder)
    return folder


def test_a_rendered_folder_serves_every_task(street: Path) -> None:
    frame = next(render_sequence(SceneConfig("day", 160, 96, frames=5, fps=0.5, seed=5)))
    boxes = open_labelled(street, Task.DETECTION).load(0)
    assert isinstance(boxes.target, Detections) and boxes.name == "street/000000"
    np.testing.assert_allclose(boxes.target.boxes, frame.boxes, atol=0.01)
    assert boxes.target.annotated == tuple(range(6))
    np.testing.assert_array_equal(boxes.visible, frame.visible)
    np.testing.assert_array_equal(boxes.infrared, frame.infrared)
    classes = open_labelled(street, Task.SEGMENTATION).load(0).target
    assert isinstance(classes, LabelMap) and classes.names == SEMANTIC_CLASSES
    np.testing.assert_array_equal(classes.classes, frame.semantic)
    saliency = open_labelled(street, Task.SALIENCY).load(0).target
    assert isinstance(saliency, SaliencyMap)
    np.testing.assert_array_equal(saliency.values, frame.saliency)


def test_classes_go_by_name(street: Path) -> None:
    few = open_labelled(street, Task.SEGMENTATION, names=["Car", "road"]).load(0).target
    whole = open_labelled(street, Task.SEGMENTATION).load(0).target
    assert isinstance(few, LabelMap) and isinstance(whole, LabelMap)
    assert set(np.unique(few.classes)) <= {0, 1, IGNORED}
    np.testing.assert_array_equal(few.classes == 1, whole.classes == SEMANTIC_CLASSES.index("road"))


def test_faults_name_the_file_and_the_remedy(tmp_path: Path) -> None:
    with pytest.raises(PairError, match=r"does not exist\. Remedy"):
        open_labelled(tmp_path / "none", Task.SALIENCY)
    for side in ("infrared", "visible", "masks"):
        (tmp_path / side).mkdir()
        cv2.imwrite(str(tmp_path / side / "a.png"), np.full((12, 16), 7, np.uint8))
    with pytest.raises(PairError, match=r"no labels for detection. Remedy: put them into labels/"):
        open_labelled(tmp_path, Task.DETECTION)
    with pytest.raises(NoLabelsError, match=r"no classes\.txt"):  # the masks may be those of saliency
        open_labelled(tmp_path, Task.SEGMENTATION)
    (tmp_path / "classes.txt").write_text("background\nperson\n")
    with pytest.raises(PairError, match=r"a\.png: holds the value 7, which has no name \(0\.\.1 have\)"):
        open_labelled(tmp_path, Task.SEGMENTATION).load(0)
    cv2.imwrite(str(tmp_path / "masks" / "a.png"), np.zeros((12, 15), np.uint8))
    with pytest.raises(PairError, match=r"a\.png: is 15x12, its visible image 16x12"):
        open_labelled(tmp_path, Task.SALIENCY).load(0)


@settings(max_examples=40, deadline=None)
@given(seed=st.integers(0, 10_000), height=st.integers(40, 120), width=st.integers(40, 160))
def test_views_keep_everything_together(seed: int, height: int, width: int) -> None:
    rng = np.random.default_rng(seed)
    y, x = int(rng.integers(0, height - 20)), int(rng.integers(0, width - 20))
    infrared = np.zeros((height, width), np.uint8)
    infrared[y : y + 20, x : x + 20] = 255
    visible = np.repeat(infrared[..., None], 3, axis=2)
    targets = (
        LabelMap((infrared > 0).astype(np.uint8), ("a", "b")),
        Detections(
            np.array([[x, y, x + 20, y + 20]], np.float32), np.ones(1, np.float32), np.zeros(1, np.int64), ("a",)
        ),
    )
    views = [
        random_pair_view(LabelledPair(visible, infrared, target), (64, 96), np.random.default_rng(seed))
        for target in targets
    ]
    classes, boxes = views[0].target, views[1].target
    assert isinstance(classes, LabelMap) and isinstance(boxes, Detections)
    inside = views[0].infrared > 200
    assert (classes.classes[inside] == 1).mean() > 0.9 if inside.any() else True
    assert (views[0].visible[inside] > 150).all()
    if len(boxes.boxes):
        (top, left), (bottom, right) = (
            np.argwhere(classes.classes == 1).min(0),
            np.argwhere(classes.classes == 1).max(0),
        )
        np.testing.assert_allclose(boxes.boxes[0], [left, top, right + 1, bottom + 1], atol=2.5)


def test_whole_pairs_are_shrunk_not_grown(street: Path) -> None:
    pair = open_labelled(street, Task.SEGMENTATION).load(1)
    assert shrink_pair(pair, 160) is pair
    small = shrink_pair(pair, 80)
    assert small.infrared.shape == (48, 80) and small.visible.shape == (48, 80, 3)
    assert isinstance(small.target, LabelMap) and small.target.classes.shape == (48, 80)


@pytest.mark.skipif(SHARED is None, reason="no shared data on this machine")
@pytest.mark.parametrize(
    ("folder", "task", "count"),
    [
        ("detection/msrs", Task.DETECTION, 150),
        ("detection/m3fd", Task.DETECTION, 16),
        ("segmentation/msrs_person", Task.SEGMENTATION, 5),
        ("saliency/vt5000", Task.SALIENCY, 10),
    ],
)
def test_real_folders(folder: str, task: Task, count: int) -> None:
    assert SHARED is not None
    labelled = open_labelled(SHARED / "data" / folder, task)
    assert len(labelled) == count
    pair = labelled.load(0)
    assert pair.target is not None and pair.infrared.shape == pair.visible.shape[:2]


def save(path: Path, image: np.ndarray) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    assert cv2.imwrite(str(path), image)


def save_pair(folder: Path, infrared: str, visible: str, name: str) -> None:
    save(folder / infrared / f"{name}.png", np.full((12, 16), 90, np.uint8))
    save(folder / visible / f"{name}.png", np.full((12, 16, 3), 50, np.uint8))


def save_voc(path: Path, name: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    box = "<xmin>2</xmin><ymin>3</ymin><xmax>9</xmax><ymax>12</ymax>"
    path.write_text(f"<annotation><object><name>{name}</name><bndbox>{box}</bndbox></object></annotation>")


def test_m3fd_reads_xml_and_keeps_its_released_split(tmp_path: Path) -> None:
    for number in range(0, 4200, 100):
        save_pair(tmp_path, "Ir", "Vis", f"{number:05d}")
        save_voc(tmp_path / "Annotation" / f"{number:05d}.xml", "Car")
    target = open_labelled(tmp_path, Task.DETECTION).load(0).target
    assert isinstance(target, Detections) and target.annotated == tuple(range(6))
    assert (target.boxes.tolist(), target.labels.tolist()) == ([[2, 3, 9, 12]], [1])
    sizes = [len(open_labelled(tmp_path, Task.DETECTION, split=part)) for part in ("train", "val", "test")]
    assert sum(sizes) == 42 and sizes[0] > 20


def test_llvip_has_splits_inside_its_sides(tmp_path: Path) -> None:
    for part, numbers in (("train", range(40)), ("test", range(40, 44))):
        for number in numbers:
            save_pair(tmp_path, f"infrared/{part}", f"visible/{part}", f"{number:06d}")
            save_voc(tmp_path / "Annotations" / f"{number:06d}.xml", "person")
    labelled = open_labelled(tmp_path, Task.DETECTION)
    target = labelled.load(0).target
    assert labelled.pairs.layout == "llvip" and len(labelled) == 44
    assert isinstance(target, Detections) and target.annotated == (0,)
    sizes = [len(open_labelled(tmp_path, Task.DETECTION, split=part)) for part in ("train", "val", "test")]
    assert sizes == [36, 4, 4]
    assert check_folder(tmp_path).ok
    save_voc(tmp_path / "Annotations" / "000041.xml", "")
    assert any("000041.xml object 1 has no name" in line for line in check_folder(tmp_path).problems)


@pytest.mark.parametrize(
    ("infrared", "visible", "label", "task", "value", "expected"),
    [
        ("train/Infrared", "train/Visible", "train/Label", Task.SEGMENTATION, 9, SEMANTIC_CLASSES.index("car")),
        ("train/ir", "train/vi", "train/Segmentation_labels", Task.SEGMENTATION, 1, SEMANTIC_CLASSES.index("car")),
        ("train/ir", "train/vi", "train/Segmentation_labels", Task.SEGMENTATION, 3, SEMANTIC_CLASSES.index("bicycle")),
        ("train/ir", "train/vi", "train/Segmentation_labels", Task.SEGMENTATION, 4, IGNORED),
        ("train/ir", "train/vi", "train/Segmentation_labels", Task.SEGMENTATION, 0, IGNORED),
        ("Train/T", "Train/RGB", "Train/GT", Task.SALIENCY, 255, 255),
    ],
)
def test_masks_of_original_layouts(
    tmp_path: Path, infrared: str, visible: str, label: str, task: Task, value: int, expected: int
) -> None:
    save_pair(tmp_path, infrared, visible, "1")
    save(tmp_path / label / "1.png", np.full((12, 16), value, np.uint8))
    target = open_labelled(tmp_path, task).load(0).target
    values = target.classes if isinstance(target, LabelMap) else target.values  # type: ignore[union-attr]
    assert (values == expected).all()


def test_roadscene_has_no_labels_and_needs_none(tmp_path: Path) -> None:
    save_pair(tmp_path, "cropinfrared", "crop_LR_visible", "1")
    labelled = open_labelled(tmp_path, Task.NONE)
    assert (labelled.pairs.layout, len(labelled), labelled.load(0).target) == ("roadscene", 1, None)
    with pytest.raises(PairError, match="no labels for saliency"):
        open_labelled(tmp_path, Task.SALIENCY)


def test_deep_infrared_does_not_depend_on_the_order_of_reading(tmp_path: Path) -> None:
    for index in range(3):
        save_pair(tmp_path, "ir", "vi", str(index))
        ramp = np.arange(192, dtype=np.uint16).reshape(12, 16) * 20 + 9000 * index
        save(tmp_path / "ir" / f"{index}.png", ramp)
    labelled = open_labelled(tmp_path, Task.NONE)
    last = labelled.load(2).infrared
    assert last.max() == 255 and last.min() == 0
    labelled.load(0)
    np.testing.assert_array_equal(labelled.load(2).infrared, last)


def test_a_split_is_named_right_and_not_empty(street: Path) -> None:
    parts = [open_labelled(street, Task.SALIENCY, split=part) for part in ("train", "test")]
    assert sum(map(len, parts)) == 5
    with pytest.raises(PairError, match="unknown split 'dev'"):
        open_labelled(street, Task.SALIENCY, split="dev")
