"""`cldyn fuse` on bags: what comes out is what the node would have published, beside what was there."""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

pytest.importorskip("rosbags", reason="rosbags is not installed")
pytest.importorskip("rclpy", reason="rclpy is not installed")
pytest.importorskip("vision_msgs", reason="vision_msgs is not built; run make setup")

from ros_bench import NAMES, FakeEngine

from cldyn_core.cli import main
from cldyn_core.types import FramePair
from cldyn_ros import fuse_bags
from cldyn_ros.bag_files import BagError, BagMessage, BagReader, BagRecorder, typestore, typestore_with
from cldyn_ros.bags import START_NS, write_bag
from cldyn_ros.params import NodeParams
from cldyn_ros.stamps import stamp_ns

Fuse = Callable[..., int]
RNG = np.random.default_rng(3)
SHAPE = (12, 16)
COPIED = ["/infrared/camera_info", "/infrared/image_raw", "/visible/camera_info", "/visible/image_raw"]


@pytest.fixture
def fuse(monkeypatch: pytest.MonkeyPatch) -> Fuse:
    monkeypatch.setattr("cldyn_core.fuse.pipeline.FusionEngine", FakeEngine)
    return lambda *words: main(["fuse", *map(str, words), "--device", "cpu"])


def make_bag(path: Path, count: int = 5, **options: Any) -> list[FramePair]:
    pairs = [FramePair(RNG.integers(0, 256, (*SHAPE, 3), np.uint8), np.zeros(SHAPE, np.uint16)) for _ in range(count)]
    write_bag([(str(i), pair) for i, pair in enumerate(pairs)], path, visible_frame="eye", **options)
    return pairs


def contents(path: Path) -> dict[str, list[tuple[int, bytes]]]:
    found: dict[str, list[tuple[int, bytes]]] = {}
    with BagReader(path) as bag:
        for message in bag.messages():
            found.setdefault(message.topic, []).append((message.stamp_ns, message.data))
    return found


def decoded(path: Path, topic: str) -> list[Any]:
    with BagReader(path) as bag:
        return [typestore_with(m.type).deserialize_cdr(m.data, m.type) for m in bag.messages([topic])]


@pytest.mark.parametrize(("source", "target"), [("in.mcap", "out.mcap"), ("in.db3", "out.db3"), ("bag", "out.mcap")])
def test_bag_to_bag(tmp_path: Path, fuse: Fuse, source: str, target: str) -> None:
    pairs = make_bag(tmp_path / source, infrared_offset_ms=4.0)
    assert fuse(tmp_path / source, "-o", tmp_path / target, "--task", "detection") == 0
    before, after = contents(tmp_path / source), contents(tmp_path / target)
    assert {topic: after[topic] for topic in COPIED} == before, "copied byte by byte, with their times"
    assert sorted(set(after) - set(before)) == [
        "/cldyn/detections",
        "/cldyn/fused/camera_info",
        "/cldyn/fused/image_raw",
    ]
    fused = decoded(tmp_path / target, "/cldyn/fused/image_raw")
    for index, (message, pair) in enumerate(zip(fused, pairs, strict=True)):
        assert (message.header.frame_id, stamp_ns(message.header)) == ("eye", START_NS + index * 10**8)
        assert (message.encoding, message.height, message.width) == ("rgb8", *SHAPE)
        np.testing.assert_array_equal(message.data.reshape(pair.visible.shape), pair.visible)
    recorded = [at for at, _ in after["/cldyn/fused/image_raw"]]
    assert recorded == [at for at, _ in before["/infrared/image_raw"]], "not before both images were there"
    found = decoded(tmp_path / target, "/cldyn/detections")
    assert [box.detections[0].results[0].hypothesis.class_id for box in found] == [NAMES[1]] * 5
    info = decoded(tmp_path / target, "/cldyn/fused/camera_info")
    assert len(info) == 5 and (info[0].width, stamp_ns(info[4].header)) == (16, START_NS + 4 * 10**8)
    said = json.loads((tmp_path / f"{target}.json").read_text())
    assert said["complete"] and said["counts"]["fused"] == 5 and said["times_real_time"] > 0
    assert not [path for path in tmp_path.iterdir() if path.name.startswith(".")]


def test_only_fused_and_compressed_images(tmp_path: Path, fuse: Fuse) -> None:
    make_bag(tmp_path / "in.mcap", compressed="png")
    assert fuse(tmp_path / "in.mcap", "-o", tmp_path / "out.db3", "--only-fused", "--limit", 3) == 0
    assert sorted(contents(tmp_path / "out.db3")) == ["/cldyn/fused/camera_info", "/cldyn/fused/image_raw"]
    assert len(decoded(tmp_path / "out.db3", "/cldyn/fused/image_raw")) == 3


def test_what_a_node_had_recorded_is_replaced(tmp_path: Path, fuse: Fuse) -> None:
    make_bag(tmp_path / "in.mcap")
    assert fuse(tmp_path / "in.mcap", "-o", tmp_path / "once.mcap") == 0
    assert fuse(tmp_path / "once.mcap", "-o", tmp_path / "twice.mcap") == 0
    once, twice = contents(tmp_path / "once.mcap"), contents(tmp_path / "twice.mcap")
    assert {topic: len(found) for topic, found in twice.items()} == {topic: len(found) for topic, found in once.items()}
    kind = "sensor_msgs/msg/Image"
    for (stamp, first), (again, second) in zip(*(c["/cldyn/fused/image_raw"] for c in (once, twice)), strict=True):
        one, two = (typestore().deserialize_cdr(data, kind) for data in (first, second))  # padding bytes are anything
        assert (stamp, one.header) == (again, two.header)
        np.testing.assert_array_equal(one.data, two.data)


def test_bag_to_images_and_video(tmp_path: Path, fuse: Fuse) -> None:
    pairs = make_bag(tmp_path / "in.db3", rate=20.0)
    assert fuse(tmp_path / "in.db3", "-o", tmp_path / "out", "--limit", 2) == 0
    names = sorted(path.name for path in (tmp_path / "out").glob("*.png"))
    assert names == [f"{START_NS + index * 50_000_000}.png" for index in range(2)]
    np.testing.assert_array_equal(cv2.imread(str(tmp_path / "out" / names[1]))[..., ::-1], pairs[1].visible)
    assert fuse(tmp_path / "in.db3", "-o", tmp_path / "out", "--limit", 2, "--resume") == 0
    assert fuse(tmp_path / "in.db3", "-o", tmp_path / "fused.mkv") == 0
    assert cv2.VideoCapture(str(tmp_path / "fused.mkv")).get(cv2.CAP_PROP_FPS) == pytest.approx(20.0)


def test_unpaired_and_unreadable_images_are_counted(tmp_path: Path, fuse: Fuse, capsys: pytest.CaptureFixture) -> None:
    make_bag(tmp_path / "in.mcap", 4)
    with BagReader(tmp_path / "in.mcap") as bag, BagRecorder(tmp_path / "bad.mcap") as bad:
        images = {"/visible/image_raw": 0, "/infrared/image_raw": 0}
        for message in bag.messages(images):
            images[message.topic] += 1
            content = typestore().deserialize_cdr(message.data, message.type)
            if (message.topic, images[message.topic]) == ("/visible/image_raw", 2):
                content.encoding = "nonsense"
            if (message.topic, images[message.topic]) != ("/infrared/image_raw", 4):
                data = bytes(typestore().serialize_cdr(content, message.type))
                bad.write(message.topic, message.type, message.stamp_ns, data)
    assert fuse(tmp_path / "bad.mcap", "-o", tmp_path / "out.mcap") == 1
    said = json.loads((tmp_path / "out.mcap.json").read_text())
    (name,) = said["failures"]
    assert name == f"/visible/image_raw at {START_NS + 10**8}" and "nonsense" in said["failures"][name]
    assert name in capsys.readouterr().err
    assert said["counts"]["fused"] == 2
    assert said["counts"]["left_out"] == {"infrared images (unmatched)": 1, "visible images (unmatched)": 1}
    assert len(contents(tmp_path / "out.mcap")["/visible/image_raw"]) == 4


def test_an_interrupted_bag_is_not_there(tmp_path: Path, fuse: Fuse, monkeypatch: pytest.MonkeyPatch) -> None:
    make_bag(tmp_path / "in.db3")
    with monkeypatch.context() as patch:
        patch.setattr(FakeEngine, "step", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
        assert fuse(tmp_path / "in.db3", "-o", tmp_path / "out.db3") == 130
    assert sorted(path.name for path in tmp_path.iterdir()) == ["in.db3", "out.db3.json"]
    assert fuse(tmp_path / "in.db3", "-o", tmp_path / "out.db3", "--resume", "--only-fused") == 1
    assert fuse(tmp_path / "in.db3", "-o", tmp_path / "out.db3", "--resume") == 0
    assert len(contents(tmp_path / "out.db3")["/cldyn/fused/image_raw"]) == 5
    assert fuse(tmp_path / "in.db3", "-o", tmp_path / "out.db3") == 1


def test_a_bag_that_is_damaged_half_way(tmp_path: Path, fuse: Fuse, monkeypatch: pytest.MonkeyPatch) -> None:
    make_bag(tmp_path / "in.mcap")
    real = BagReader.messages

    def damaged(bag: BagReader, topics: Any = None) -> Iterator[BagMessage]:
        for message in real(bag, topics):
            if message.stamp_ns > START_NS + 3 * 10**8:
                raise BagError("in.mcap: truncated or damaged")
            yield message

    with monkeypatch.context() as patch:
        patch.setattr(BagReader, "messages", damaged)
        assert fuse(tmp_path / "in.mcap", "-o", tmp_path / "out.mcap") == 1
    assert json.loads((tmp_path / "out.mcap.json").read_text())["failures"] == {
        "end of the bag": "in.mcap: truncated or damaged"
    }
    after = contents(tmp_path / "out.mcap")
    assert len(after["/cldyn/fused/image_raw"]) == len(after["/visible/image_raw"]) == 4


def test_faults_are_named(tmp_path: Path, fuse: Fuse, capsys: pytest.CaptureFixture) -> None:
    make_bag(tmp_path / "in.mcap", 2)
    (tmp_path / "no.mcap").write_bytes(b"nothing")
    for words, text in (
        (("in.mcap", "-o", tmp_path / "a.mcap", "--visible-topic", "/x"), "/visible/image_raw"),
        (("in.mcap", "-o", tmp_path / "in.mcap", "--overwrite"), "is the source"),
        (("no.mcap", "-o", tmp_path / "a.mcap"), "truncated or damaged"),
    ):
        assert fuse(tmp_path / words[0], *words[1:]) == 1
        error = capsys.readouterr().err
        assert error.startswith("cldyn: ") and text in error and error.count("\n") == 1, error


def test_pairs_as_the_node_does() -> None:
    parser = argparse.ArgumentParser()
    fuse_bags.add_source_options(parser)
    args = parser.parse_args([])
    assert args.sync_tolerance_ms == NodeParams().sync_tolerance_ms
    assert args.sync_infrared_offset_ms == NodeParams().sync_infrared_offset_ms
