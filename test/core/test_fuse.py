"""`cldyn fuse`: what is written, what is reported, and that nothing unfinished looks finished."""

from __future__ import annotations

import json
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest
from naive import random_tensors
from numpy.typing import NDArray

from cldyn_core import CLDyN, save_weights
from cldyn_core.cli import main
from cldyn_core.data.images import clip_frames
from cldyn_core.engine import FusionEngine
from cldyn_core.fuse import outputs, pipeline
from cldyn_core.fuse.outputs import save_answer
from cldyn_core.fuse.sources import Frame
from cldyn_core.types import Detections, FramePair, LabelMap, SaliencyMap, StepResult

Fuse = Callable[..., int]


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("weights") / "w.safetensors"
    save_weights(CLDyN.from_reference(random_tensors(2, 4, seed=2)), path)
    return path


@pytest.fixture
def fuse(weights: Path) -> Fuse:
    def run(*words: object) -> int:
        return main(["fuse", *map(str, words), "--weights", str(weights), "--device", "cpu"])

    return run


def make_pairs(folder: Path, count: int = 4, dtype: type = np.uint8, seed: int = 0) -> Path:
    rng = np.random.default_rng(seed)
    for side, shape, kind in (("infrared", (40, 48), dtype), ("visible", (40, 48, 3), np.uint8)):
        (folder / side).mkdir(parents=True)
        for index in range(count):
            high = 256 if kind is np.uint8 else 2000 + 600 * index  # another range in every image, yet the same scene
            cv2.imwrite(str(folder / side / f"{index}.png"), rng.integers(0, high, shape).astype(kind))
    return folder


def make_clip(path: Path, frames: list[NDArray[np.uint8]]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*"FFV1"), 25.0, frames[0].shape[1::-1])
    for frame in frames:
        writer.write(frame)
    writer.release()


def files(folder: Path) -> dict[str, bytes]:
    """All outputs below a folder; its record says how long it took, so that is left out."""
    found = (path for path in sorted(folder.rglob("*")) if path.is_file() and path.name != "fuse.json")
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in found}


def record(path: Path) -> dict:
    return json.loads(path.read_text())


def count_steps(monkeypatch: pytest.MonkeyPatch, interrupt_at: int = 0) -> list[FusionEngine]:
    """The engine of every step from now on; one of them is interrupted as by Ctrl-C."""
    steps: list[FusionEngine] = []
    real = FusionEngine.step

    def step(engine: FusionEngine, pair: FramePair) -> StepResult:
        steps.append(engine)
        if len(steps) == interrupt_at:
            raise KeyboardInterrupt
        return real(engine, pair)

    monkeypatch.setattr(FusionEngine, "step", step)
    return steps


def test_a_folder_and_a_single_pair(tmp_path: Path, fuse: Fuse, capsys: pytest.CaptureFixture) -> None:
    pairs = make_pairs(tmp_path / "pairs", 2)
    assert fuse(pairs, "-o", tmp_path / "all") == 0
    assert "2 fused, 0 failed" in capsys.readouterr().out
    assert fuse(pairs / "visible" / "0.png", pairs / "infrared" / "0.png", "-o", tmp_path / "one") == 0
    assert list(files(tmp_path / "all")) == ["0.png", "1.png"]
    assert files(tmp_path / "one")["0.png"] == files(tmp_path / "all")["0.png"]
    said = record(tmp_path / "all" / "fuse.json")
    assert said["complete"] and said["counts"]["fused"] == 2 and said["frames_per_second"] > 0
    assert len(said["recipe"]["weights"]["fusion"]) == 64 and "prepare" in said["median_ms"]


def test_splits_and_subfolders_are_sequences(tmp_path: Path, fuse: Fuse) -> None:
    pairs = make_pairs(tmp_path / "pairs", 2)
    for split in ("train", "test"):
        for side, name in (("infrared", "Infrared"), ("visible", "Visible")):
            shutil.copytree(pairs / side, tmp_path / "fmb" / split / name)
    assert fuse(tmp_path / "fmb", "-o", tmp_path / "splits", "--quality", 90) == 0
    assert list(files(tmp_path / "splits")) == ["test/0.jpg", "test/1.jpg", "train/0.jpg", "train/1.jpg"]
    shutil.copytree(pairs, tmp_path / "root" / "night")
    shutil.copytree(pairs, tmp_path / "root" / "day")
    assert fuse(tmp_path / "root", "-o", tmp_path / "below", "--limit", 1) == 0
    assert list(files(tmp_path / "below")) == ["day/0.png", "night/0.png"]


def test_independent_pairs_do_not_depend_on_their_neighbors(tmp_path: Path, fuse: Fuse) -> None:
    pairs = make_pairs(tmp_path / "pairs", 3, np.uint16)
    alone = pairs / "visible" / "2.png", pairs / "infrared" / "2.png"
    assert fuse(*alone, "-o", tmp_path / "alone") == 0
    assert fuse(pairs, "-o", tmp_path / "all") == 0
    assert fuse(pairs, "-o", tmp_path / "stream", "--mode", "stream") == 0
    expected = files(tmp_path / "alone")["2.png"]
    assert files(tmp_path / "all")["2.png"] == expected
    assert files(tmp_path / "stream")["2.png"] != expected, "a sequence smooths its thermal range over time"


def test_a_bad_pair_is_named_counted_and_done_later(
    tmp_path: Path, fuse: Fuse, capsys: pytest.CaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    pairs, out = make_pairs(tmp_path / "pairs"), tmp_path / "out"
    whole = (pairs / "infrared" / "2.png").read_bytes()
    (pairs / "infrared" / "2.png").write_bytes(whole[:60])
    (pairs / "visible" / "3.png").unlink()
    assert fuse(pairs, "-o", out) == 1
    said, shown = record(out / "fuse.json"), capsys.readouterr()
    assert list(said["failures"]) == ["2"] and "truncated" in said["failures"]["2"]
    assert "2: " in shown.err and "truncated" in shown.err and "2 fused, 1 failed" in shown.out
    assert said["counts"]["left_out"] == {"infrared images without a partner": 1}
    assert list(files(out)) == ["0.png", "1.png"]

    (pairs / "infrared" / "2.png").write_bytes(whole)
    steps = count_steps(monkeypatch)
    assert fuse(pairs, "-o", out, "--resume") == 0
    assert len(steps) == 1 and list(files(out)) == ["0.png", "1.png", "2.png"]
    assert record(out / "fuse.json")["failures"] == {} and record(out / "fuse.json")["counts"]["present"] == 2
    assert fuse(pairs, "-o", out, "--resume") == 0 and len(steps) == 1


def test_interrupted_and_resumed(tmp_path: Path, fuse: Fuse, monkeypatch: pytest.MonkeyPatch) -> None:
    pairs, out = make_pairs(tmp_path / "pairs", 5), tmp_path / "out"
    assert fuse(pairs, "-o", tmp_path / "straight") == 0
    with monkeypatch.context() as patch:
        count_steps(patch, interrupt_at=3)
        assert fuse(pairs, "-o", out) == 130
    assert list(files(out)) == ["0.png", "1.png"] and not record(out / "fuse.json")["complete"]
    assert fuse(pairs, "-o", out) == 1, "neither --resume nor --overwrite"
    assert fuse(pairs, "-o", out, "--resume", "--mode", "open") == 1, "another recipe"
    steps = count_steps(monkeypatch)
    assert fuse(pairs, "-o", out, "--resume") == 0
    assert len(steps) == 3 and files(out) == files(tmp_path / "straight")
    assert fuse(pairs, "-o", out, "--overwrite", "--mode", "open") == 0 and len(steps) == 8


def test_a_sequence_has_its_own_engine_and_is_resumed_from_its_start(
    tmp_path: Path, fuse: Fuse, monkeypatch: pytest.MonkeyPatch
) -> None:
    for index, name in enumerate(("a", "b")):
        make_pairs(tmp_path / "root" / name, 3, np.uint16, seed=index)
    stream = ("--mode", "stream")
    assert fuse(tmp_path / "root", "-o", tmp_path / "straight", *stream) == 0
    with monkeypatch.context() as patch:
        count_steps(patch, interrupt_at=6)
        assert fuse(tmp_path / "root", "-o", tmp_path / "out", *stream) == 130
    assert len(files(tmp_path / "out")) == 5
    steps = count_steps(monkeypatch)
    assert fuse(tmp_path / "root", "-o", tmp_path / "out", *stream, "--resume") == 0
    assert len(steps) == 3, "sequence a is there, b is done again from its start"
    assert files(tmp_path / "out") == files(tmp_path / "straight")
    assert fuse(tmp_path / "root", "-o", tmp_path / "again", *stream) == 0
    assert len(set(map(id, steps[3:]))) == 2


def test_ctrl_c_ends_with_130_and_whole_files(tmp_path: Path, weights: Path) -> None:
    pairs, out = make_pairs(tmp_path / "pairs", 400), tmp_path / "out"
    words = ["fuse", str(pairs), "-o", str(out), "--weights", str(weights), "--device", "cpu"]
    process = subprocess.Popen(
        [sys.executable, "-m", "cldyn_core.cli", *words],
        stderr=subprocess.PIPE,
        text=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),  # a background shell has it ignored
    )
    deadline = time.monotonic() + 60
    while not list(out.glob("*.png")) and time.monotonic() < deadline:
        time.sleep(0.02)
    process.send_signal(signal.SIGINT)
    _, error = process.communicate(timeout=60)
    assert process.returncode == 130 and error.strip().endswith("cldyn: interrupted"), error
    found = files(out)
    assert 0 < len(found) < 400 and all(name.endswith(".png") for name in found)
    assert all(cv2.imdecode(np.frombuffer(data, np.uint8), 1) is not None for data in found.values())
    assert record(out / "fuse.json")["counts"]["fused"] == len(found)


def test_a_video_is_whole_or_not_there(tmp_path: Path, fuse: Fuse, monkeypatch: pytest.MonkeyPatch) -> None:
    pairs, video = make_pairs(tmp_path / "pairs"), tmp_path / "out" / "fused.mkv"
    assert fuse(pairs, "-o", tmp_path / "images") == 0
    with monkeypatch.context() as patch:
        count_steps(patch, interrupt_at=3)
        assert fuse(pairs, "-o", video) == 130
    assert [path.name for path in video.parent.iterdir()] == ["fused.mkv.json"]
    assert fuse(pairs, "-o", video, "--resume", "--fps", 25) == 1, "another recipe"
    assert fuse(pairs, "-o", video, "--resume") == 0
    expected = [cv2.imread(str(tmp_path / "images" / f"{i}.png")) for i in range(4)]
    np.testing.assert_array_equal(list(clip_frames(video)), expected)  # .mkv is lossless
    steps = count_steps(monkeypatch)
    assert fuse(pairs, "-o", video) == 1 and fuse(pairs, "-o", video, "--resume") == 0 and not steps


def test_frames_that_do_not_fit_a_video_are_failures(tmp_path: Path, fuse: Fuse) -> None:
    pairs = make_pairs(tmp_path / "pairs", 3)
    cv2.imwrite(str(pairs / "visible" / "1.png"), np.zeros((20, 24, 3), np.uint8))
    assert fuse(pairs, "-o", tmp_path / "fused.avi", "--quality", 80) == 1
    assert "is 24x20, the video is 48x40" in record(tmp_path / "fused.avi.json")["failures"]["1"]
    assert len(list(clip_frames(tmp_path / "fused.avi"))) == 2


def test_two_videos(tmp_path: Path, fuse: Fuse, capsys: pytest.CaptureFixture) -> None:
    rng = np.random.default_rng(1)
    frames = [rng.integers(0, 256, (40, 48, 3), np.uint8) for _ in range(4)]
    make_clip(tmp_path / "vi.mkv", frames)
    make_clip(tmp_path / "ir.mkv", frames[:3])
    assert fuse(tmp_path / "vi.mkv", tmp_path / "ir.mkv", "-o", tmp_path / "out") == 0
    assert list(files(tmp_path / "out")) == ["000000.png", "000001.png", "000002.png"]
    said = record(tmp_path / "out" / "fuse.json")
    assert said["times_real_time"] == pytest.approx(3 / 25 / said["seconds"], rel=0.05)
    assert said["counts"]["left_out"] == {"visible frames after the end of the other clip": 1}
    assert "left out: 1 visible frames" in capsys.readouterr().out
    assert fuse(tmp_path / "vi.mkv", tmp_path / "ir.mkv", "-o", tmp_path / "fused.mp4") == 0
    assert len(list(clip_frames(tmp_path / "fused.mp4"))) == 3


def test_workers_write_the_same_files(tmp_path: Path, fuse: Fuse, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("cldyn_core.fuse.sources.PIECE", 2)
    pairs = make_pairs(tmp_path / "pairs", 5, np.uint16)
    (pairs / "infrared" / "3.png").write_bytes(b"no image")
    assert fuse(pairs, "-o", tmp_path / "one") == 1
    assert fuse(pairs, "-o", tmp_path / "two", "--workers", 2) == 1
    assert files(tmp_path / "two") == files(tmp_path / "one") and len(files(tmp_path / "one")) == 4
    one, two = (record(tmp_path / name / "fuse.json") for name in ("one", "two"))
    assert two["counts"] == one["counts"] and two["failures"] == one["failures"]


def test_ray_writes_the_same_files(tmp_path: Path, fuse: Fuse, capsys: pytest.CaptureFixture) -> None:
    pytest.importorskip("ray.data", reason="Ray is not installed: pip install -r requirements-scale.txt")
    for index, name in enumerate(("a", "b", "c")):
        make_pairs(tmp_path / "root" / name, 3, np.uint16, seed=index)
    (tmp_path / "root" / "b" / "infrared" / "1.png").write_bytes(b"no image")
    for words in (("-o", tmp_path / "one"), ("-o", tmp_path / "two", "--ray", "--workers", 2)):
        assert fuse(tmp_path / "root", *words, "--mode", "stream") == 1
    assert files(tmp_path / "two") == files(tmp_path / "one") and len(files(tmp_path / "one")) == 8
    assert "b/1: " in capsys.readouterr().err
    one, two = (record(tmp_path / name / "fuse.json") for name in ("one", "two"))
    assert two["counts"] == one["counts"] and two["failures"] == one["failures"]


def test_a_full_disk_ends_the_run(
    tmp_path: Path, fuse: Fuse, capsys: pytest.CaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    def no_space(path: Path, _content: bytes) -> None:
        raise OSError(28, "No space left on device", str(path))

    monkeypatch.setattr(outputs, "write_whole", no_space)
    assert fuse(make_pairs(tmp_path / "pairs"), "-o", tmp_path / "out") == 1
    assert "No space left on device" in capsys.readouterr().err
    assert not record(tmp_path / "out" / "fuse.json")["complete"]


def test_answers_beside_the_image(tmp_path: Path) -> None:
    boxes = Detections(
        np.array([[1, 2, 3, 4.25]], np.float32), np.array([0.5], np.float32), np.array([1]), ("person", "car")
    )
    areas = np.arange(6, dtype=np.uint8).reshape(2, 3)
    for answer in (boxes, LabelMap(areas, ("road",) * 6), SaliencyMap(areas * 40), None):
        save_answer(answer, tmp_path, "a.1")
    assert sorted(files(tmp_path)) == ["a.1.saliency.png", "a.1.segmentation.png", "a.1.txt"]
    assert (tmp_path / "a.1.txt").read_text() == "car 0.500 1.0 2.0 3.0 4.2\n"
    for name, expected in (("segmentation", areas), ("saliency", areas * 40)):
        np.testing.assert_array_equal(cv2.imread(str(tmp_path / f"a.1.{name}.png"), cv2.IMREAD_UNCHANGED), expected)


def test_reading_is_ahead_in_order_and_bounded() -> None:
    begun: list[int] = []
    enough = threading.Event()

    def load(index: int) -> Frame:
        begun.append(index)
        if len(begun) == pipeline.DEPTH:
            enough.set()
        time.sleep(0.002 * (index % 3))  # later ones may be ready before
        return Frame(str(index), None)

    frames = pipeline.read_ahead(((lambda i=i: load(i)) for i in range(50)), threads=3)
    assert next(frames).name == "0"
    assert enough.wait(5.0), "others are read although nobody has asked for them"
    time.sleep(0.05)
    assert len(begun) <= pipeline.DEPTH + 1
    assert [frame.name for frame in frames] == [str(i) for i in range(1, 50)]


def test_faults_are_named(tmp_path: Path, fuse: Fuse, capsys: pytest.CaptureFixture) -> None:
    pairs = make_pairs(tmp_path / "root" / "pairs", 1)
    shutil.copytree(pairs, tmp_path / "root" / "more")
    make_clip(tmp_path / "vi.mkv", [np.zeros((8, 8, 3), np.uint8)])
    (tmp_path / "file").touch()
    for words, text in (
        ((pairs, "-o", tmp_path / "a.mcap"), "made from a bag only"),
        ((tmp_path / "root", "-o", tmp_path / "a.mp4"), "a video is one sequence, these are 2"),
        ((pairs, "-o", tmp_path / "file"), "is a file"),
        ((pairs, pairs, pairs, "-o", tmp_path / "out"), "VISIBLE INFRARED"),
        ((tmp_path / "vi.mkv", pairs / "infrared" / "0.png", "-o", tmp_path / "out"), "one is a video"),
        ((pairs, "-o", tmp_path / "out", "--homography", *[0] * 9), "cannot be inverted"),
        ((pairs, "-o", pairs, "--resume"), "was not made by `cldyn fuse`"),
    ):
        assert fuse(*words) == 1, text
        error = capsys.readouterr().err
        assert error.startswith("cldyn: ") and text in error and error.count("\n") == 1, error
    for option, value in (("--quality", "0"), ("--workers", "-1"), ("--limit", "0"), ("--fps", "0"), ("--mode", "x")):
        with pytest.raises(SystemExit):
            fuse(pairs, "-o", tmp_path / "out", option, value)
        assert value in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_noise_stays_where_it_is_asked_to(fuse: Fuse, tmp_path: Path) -> None:
    pairs = make_pairs(tmp_path / "pairs", 1)  # of nothing but noise
    assert fuse(pairs, "-o", tmp_path / "clean") == fuse(pairs, "-o", tmp_path / "raw", "--no-denoise") == 0
    clean, raw = (cv2.imread(str(tmp_path / name / "0.png")).astype(float) for name in ("clean", "raw"))
    assert clean.std() < 0.7 * raw.std()
