"""Folders of pairs: layouts, matching by name, faults."""

from __future__ import annotations

import os
from pathlib import Path

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cldyn_core.data.check import check_folder
from cldyn_core.data.matching import match_names, natural_key
from cldyn_core.data.pairs import PairError, PairSource, class_names, find_pairs

SHARED = Path(os.environ.get("CLDYN_SHARED", Path(__file__).resolve().parents[3] / "shared"))
RNG = np.random.default_rng(0)
COLOR = RNG.integers(0, 256, (24, 32, 3), np.uint8)
GRAY = RNG.integers(0, 256, (24, 32), np.uint8)


def save(path: Path, image: np.ndarray) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    assert cv2.imwrite(str(path), image)


def make_pairs(
    folder: Path, infrared: str = "infrared", visible: str = "visible", names: tuple[str, ...] = ("0", "1")
) -> Path:
    for name in names:
        save(folder / infrared / f"{name}.png", GRAY)
        save(folder / visible / f"{name}.png", COLOR)
    return folder


def write_clip(path: Path, frames: int) -> None:
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter_fourcc(*"mp4v"), 25.0, (32, 24))
    if not writer.isOpened():
        pytest.skip("this OpenCV writes no mp4")
    for value in range(frames):
        writer.write(np.full((24, 32, 3), 20 * value, np.uint8))
    writer.release()


@pytest.mark.parametrize(
    ("layout", "infrared", "visible"),
    [
        ("m3fd", "Ir", "Vis"),
        ("m3fd", "ir", "vis"),
        ("plain", "infrared", "visible"),
        ("plain", "ir", "vi"),
        ("vt5000", "T", "RGB"),
    ],
)
def test_flat_layouts(tmp_path: Path, layout: str, infrared: str, visible: str) -> None:
    make_pairs(tmp_path, infrared, visible, ("10", "9"))
    found = find_pairs(tmp_path)
    assert (found.layout, [entry.name for entry in found.entries]) == (layout, ["9", "10"])
    assert len(find_pairs(tmp_path, layout)) == 2


@pytest.mark.parametrize(
    ("layout", "train", "infrared", "visible", "label"),
    [
        ("fmb", "train", "Infrared", "Visible", "Label"),
        ("vt5000", "VT5000-Train", "T", "RGB", "GT"),
        ("msrs", "train", "ir", "vi", "Segmentation_labels"),
    ],
)
def test_split_layouts(tmp_path: Path, layout: str, train: str, infrared: str, visible: str, label: str) -> None:
    for split in (train, train.replace("rain", "est")):
        make_pairs(tmp_path / split, infrared, visible, ("1",))
        save(tmp_path / split / label / "1.png", GRAY)
    found = find_pairs(tmp_path)
    assert found.layout == layout
    assert sorted(entry.name for entry in found.entries) == ["test/1", "train/1"]
    only = find_pairs(tmp_path, split="Train")
    assert [entry.name for entry in only.entries] == ["1"]
    assert only.entries[0].label == tmp_path / train / label / "1.png"
    with pytest.raises(PairError, match="splits found: test, train"):
        find_pairs(tmp_path, split="val")


def test_load_keeps_depth_and_reduces_color(tmp_path: Path) -> None:
    deep = (GRAY.astype(np.uint16) << 4) + 3
    save(tmp_path / "ir" / "deep.png", deep)
    save(tmp_path / "ir" / "gray.png", cv2.cvtColor(GRAY, cv2.COLOR_GRAY2BGR))
    for name in ("deep", "gray"):
        save(tmp_path / "vi" / f"{name}.png", COLOR)
    pairs = dict(find_pairs(tmp_path).iterate())
    np.testing.assert_array_equal(pairs["deep"].infrared, deep)
    assert pairs["deep"].infrared.dtype == np.uint16
    np.testing.assert_array_equal(pairs["gray"].infrared, GRAY)
    np.testing.assert_array_equal(pairs["gray"].visible, COLOR[:, :, ::-1])  # OpenCV wrote BGR


def test_clip_is_read_in_order(tmp_path: Path) -> None:
    write_clip(tmp_path / "ir.mp4", 6)
    write_clip(tmp_path / "vi.mp4", 8)
    found = find_pairs(tmp_path)
    assert (found.layout, len(found), found.rate) == ("clip", 6, 25.0)
    means = [pair.visible.mean() for _, pair in found.iterate()]
    assert means == sorted(means) and len(means) == 6
    assert found.load(3).visible.mean() == means[3] == found.load(-3).visible.mean()
    assert found.load(3).infrared.ndim == 2
    assert "clips of two lengths: ir.mp4 has 6 frames, vi.mp4 has 8 frames" in check_folder(tmp_path).problems


def test_errors_name_what_is_expected_and_found(tmp_path: Path) -> None:
    with pytest.raises(PairError, match=r"nowhere: does not exist\. Remedy"):
        find_pairs(tmp_path / "nowhere")
    with pytest.raises(PairError, match="unknown layout 'voc'; layouts: auto"):
        find_pairs(tmp_path, "voc")
    with pytest.raises(PairError, match=r"expected .*infrared/ \+ visible/.*, found nothing"):
        find_pairs(tmp_path)
    make_pairs(tmp_path / "scene", names=("a",))
    with pytest.raises(PairError, match=r"found scene/. Remedy: name the subfolder, e.g. .*scene"):
        find_pairs(tmp_path)
    (tmp_path / "scene" / "visible" / "a.png").rename(tmp_path / "scene" / "visible" / "b.png")
    with pytest.raises(PairError, match=r"1 \(a.png, ...\) infrared and 1 \(b.png, ...\) visible"):
        find_pairs(tmp_path / "scene")


def test_two_files_of_one_stem_are_refused(tmp_path: Path) -> None:
    make_pairs(tmp_path)
    save(tmp_path / "visible" / "0.jpg", COLOR)
    with pytest.raises(PairError, match=r"0.jpg and 0.png share a name"):
        find_pairs(tmp_path)
    assert any("names used twice" in line for line in check_folder(tmp_path).problems)


stems = st.text(st.sampled_from("abXY019_-"), min_size=1, max_size=6).filter(lambda s: s.strip("_-"))


@settings(deadline=None, max_examples=100)
@given(st.sets(stems), st.sets(stems), st.randoms())
def test_equal_stems_match_and_nothing_is_lost(left: set[str], right: set[str], random) -> None:  # type: ignore[no-untyped-def]
    infrared = [Path(f"ir/{s}.{random.choice(['png', 'jpg'])}") for s in left]
    visible = [Path(f"vi/{s}.{random.choice(['png', 'bmp'])}") for s in right]
    random.shuffle(infrared)
    matching = match_names(infrared, visible)
    matched = {(a.stem, b.stem) for _, a, b in matching.pairs}
    assert {(s, s) for s in left & right} <= matched
    assert {a for _, a, _ in matching.pairs} | set(matching.only_infrared) == set(infrared)
    assert {b for _, _, b in matching.pairs} | set(matching.only_visible) == set(visible)
    assert len(matching.pairs) + len(matching.only_infrared) == len(infrared)
    assert [p[0] for p in matching.pairs] == sorted((p[0] for p in matching.pairs), key=natural_key)


@settings(deadline=None, max_examples=60)
@given(
    st.sets(st.integers(0, 99999), min_size=1, max_size=12),
    st.sampled_from(
        [
            ("{}_ir", "{}_vis"),
            ("IR{}", "VIS{}"),
            ("thermal_{}", "rgb_{}"),
            ("F_{}_PreviewData", "F_{}_RGB"),
            ("{}-T", "{}"),
        ]
    ),
)
def test_marked_names_match_their_own_number_only(numbers: set[int], form: tuple[str, str]) -> None:
    ordered = sorted(numbers)
    infrared = [Path(form[0].format(n) + ".png") for n in reversed(ordered)]
    visible = [Path(form[1].format(n) + ".jpg") for n in ordered[1:]]  # one is missing: order alone would shift all
    matching = match_names(infrared, visible)
    assert [(a.stem, b.stem) for _, a, b in matching.pairs] == [
        (form[0].format(n), form[1].format(n)) for n in ordered[1:]
    ]
    assert [p.stem for p in matching.only_infrared] == [form[0].format(ordered[0])]


def test_ambiguous_marks_are_left_alone() -> None:
    matching = match_names([Path("1_ir.png"), Path("1_IR.png")], [Path("1_vis.png")])
    assert not matching.pairs and len(matching.only_infrared) == 2


def _break(folder: Path, fault: str) -> None:
    first = folder / "visible" / "0.png"
    data = first.read_bytes()
    if fault == "zero bytes":
        first.write_bytes(b"")
    elif fault == "truncated png":
        first.write_bytes(data[: len(data) // 2])
    elif fault == "truncated jpeg":
        first.unlink()
        save(first.with_suffix(".jpg"), COLOR)
        whole = first.with_suffix(".jpg").read_bytes()
        first.with_suffix(".jpg").write_bytes(whole[: len(whole) // 2])
    elif fault == "no image":
        first.write_bytes(b"hello")
    elif fault == "size":
        save(first, COLOR[:20])
    elif fault == "unmatched":
        first.unlink()
    elif fault == "empty side":
        for path in (folder / "visible").iterdir():
            path.unlink()
    elif fault == "swapped":
        (folder / "visible").rename(folder / "x")
        (folder / "infrared").rename(folder / "visible")
        (folder / "x").rename(folder / "infrared")
    else:
        name, text = {
            "orphan label": ("7.txt", "0 .5 .5 .1 .1"),
            "four values": ("0.txt", "0 .5 .5 .1"),
            "word": ("0.txt", "0 .5 .5 .1 wide"),
            "class": ("0.txt", "\n3 .5 .5 .1 .1"),
            "fraction class": ("0.txt", "0.5 .5 .5 .1 .1"),
            "outside": ("0.txt", "0 .5 1.5 .1 .1"),
            "nan": ("0.txt", "0 nan .5 .1 .1"),
            "no extent": ("0.txt", "0 .5 .5 0 .1"),
        }[fault]
        (folder / "labels").mkdir()
        (folder / "classes.txt").write_text("person\ncar\n")
        (folder / "labels" / name).write_text(text)


@pytest.mark.parametrize(
    ("fault", "said"),
    [
        ("zero bytes", "1 unreadable images: visible/0.png (empty file)"),
        ("truncated png", "visible/0.png (truncated after"),
        ("truncated jpeg", "visible/0.jpg (truncated after"),
        ("no image", "visible/0.png (not a readable image"),
        ("size", "1 pairs of two sizes (resize or register them): 0 (32x24 infrared, 32x20 visible)"),
        ("unmatched", "1 infrared images without a visible one: 0.png"),
        ("empty side", "visible/ holds no image"),
        ("swapped", "sides probably swapped: 2 of 2 infrared images are colored, 2 of 2 visible ones gray"),
        ("orphan label", "1 labels without an image in"),
        ("four values", "0.txt:1 has 4 values, expected 5"),
        ("word", "0.txt:1 holds something that is not a number"),
        ("class", "0.txt:2 has class 3, expected 0..1 of classes.txt"),
        ("fraction class", "0.txt:1 has class 0.5"),
        ("outside", "0.txt:1 has a box outside 0..1"),
        ("nan", "0.txt:1 has a box outside 0..1"),
        ("no extent", "0.txt:1 has a box without extent"),
    ],
)
def test_check_names_the_fault(tmp_path: Path, fault: str, said: str) -> None:
    make_pairs(tmp_path)
    assert check_folder(tmp_path).ok
    _break(tmp_path, fault)
    report = check_folder(tmp_path)
    assert not report.ok
    assert any(said in line for line in report.problems), report.lines()
    assert len(report.problems) == (2 if fault == "empty side" else 1), report.lines()


def test_mask_of_another_size_and_depth_note(tmp_path: Path) -> None:
    save(tmp_path / "ir" / "0.png", GRAY.astype(np.uint16) * 100)
    save(tmp_path / "vi" / "0.png", COLOR)
    save(tmp_path / "masks" / "0.png", GRAY[:10])
    report = check_folder(tmp_path)
    assert any("0.png is 32x10, its visible image 32x24" in line for line in report.problems)
    assert report.notes == ["infrared pixels are uint16, kept as stored"]


def test_load_names_the_truncated_file(tmp_path: Path) -> None:
    make_pairs(tmp_path)
    _break(tmp_path, "truncated png")
    with pytest.raises(PairError, match=r"visible/0\.png: truncated"):
        find_pairs(tmp_path).load(0)


@pytest.mark.parametrize("name", ["detection/m3fd", "saliency/vt5000", "sequences/m3svd_0111_1753", "unlabelled/tno"])
def test_real_folders_are_fine(name: str) -> None:
    folder = SHARED / "data" / name
    if not folder.is_dir():
        pytest.skip(f"no {folder}")
    report = check_folder(folder)
    assert report.ok, report.lines()
    found = find_pairs(folder)
    assert len(found) == report.pairs > 0
    pair = found.load(0)
    assert pair.infrared.ndim == 2 and pair.infrared.shape == pair.visible.shape[:2]


def test_real_clip() -> None:
    folder = SHARED / "data" / "sequences" / "m3svd_video_0111_1716"
    if not folder.is_dir():
        pytest.skip(f"no {folder}")
    found = find_pairs(folder)
    assert len(found) == 151 == sum(1 for _ in found.iterate())


def test_one_split_under_two_names_is_refused(tmp_path: Path) -> None:
    for split in ("a_train", "b_train"):
        for side in ("Infrared", "Visible"):
            (tmp_path / split / side).mkdir(parents=True)
            cv2.imwrite(str(tmp_path / split / side / "1.png"), np.zeros((8, 8), np.uint8))
    with pytest.raises(PairError, match=r"a_train/ and b_train/ are both 'train'"):
        find_pairs(tmp_path)


def test_a_text_label_goes_before_others_of_its_name(tmp_path: Path) -> None:
    for side in ("ir", "vi", "labels"):
        (tmp_path / side).mkdir()
    for side in ("ir", "vi"):
        cv2.imwrite(str(tmp_path / side / "1.png"), np.zeros((8, 8), np.uint8))
    for suffix in (".txt", ".xml", ".json"):
        (tmp_path / "labels" / f"1{suffix}").write_text("")
    (entry,) = find_pairs(tmp_path).entries
    assert entry.label is not None and entry.label.suffix == ".txt"


def test_class_names_are_read_with_a_byte_order_mark_and_refused_in_another_encoding(tmp_path: Path) -> None:
    source = PairSource("plain", "", tmp_path / "ir", tmp_path / "vi")
    (tmp_path / "classes.txt").write_bytes(b"\xef\xbb\xbfPeople\r\nCar\r\n\r\n")
    assert class_names(source) == ("People", "Car")
    (tmp_path / "classes.txt").write_bytes("Fußgänger\n".encode("latin-1"))
    with pytest.raises(PairError, match=r"classes\.txt: is not UTF-8"):
        class_names(source)
