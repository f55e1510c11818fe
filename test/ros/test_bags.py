"""Bags: what is written is what ROS would have recorded, and faults are named."""

from __future__ import annotations

import argparse
from pathlib import Path

import cv2
import numpy as np
import pytest

pytest.importorskip("rosbags", reason="rosbags is not installed")

from cldyn_core.types import FramePair
from cldyn_ros.bag_files import BagError, BagReader, BagRecorder, typestore
from cldyn_ros.bags import START_NS, add_to_bag_command, write_bag

RNG = np.random.default_rng(1)


def make_pairs(count: int = 3, dtype: type = np.uint8) -> list[tuple[str, FramePair]]:
    high = 256 if dtype is np.uint8 else 4096
    return [
        (str(i), FramePair(RNG.integers(0, 256, (10, 14, 3), np.uint8), RNG.integers(0, high, (10, 14)).astype(dtype)))
        for i in range(count)
    ]


def decode(bag: BagReader, topic: str) -> list:
    return [typestore().deserialize_cdr(m.data, m.type) for m in bag.messages([topic])]


@pytest.mark.parametrize("name", ["out.mcap", "out.db3", "bag"])
def test_images_come_back_with_stamps_and_frames(tmp_path: Path, name: str) -> None:
    pairs = make_pairs(4)
    summary = write_bag(pairs, tmp_path / name, rate=8.0, infrared_offset_ms=2.5, visible_frame="eye")
    assert (summary.pairs, summary.messages, summary.seconds) == (4, 16, 0.5)
    assert [p.name for p in tmp_path.iterdir()] == [name]  # nothing temporary is left
    assert (tmp_path / name).is_dir() == (name == "bag")
    with BagReader(tmp_path / name) as bag:
        assert {topic.name: topic.count for topic in bag.topics} == {
            "/infrared/image_raw": 4, "/infrared/camera_info": 4, "/visible/image_raw": 4, "/visible/camera_info": 4
        }  # fmt: skip
        assert bag.start_ns == START_NS
        stamps = [m.stamp_ns for m in bag.messages()]
        assert stamps == sorted(stamps)
        visible, infrared = decode(bag, "/visible/image_raw"), decode(bag, "/infrared/image_raw")
    for i, (_, pair) in enumerate(pairs):
        np.testing.assert_array_equal(visible[i].data.reshape(10, 14, 3), pair.visible)
        np.testing.assert_array_equal(infrared[i].data.reshape(10, 14), pair.infrared)
        stamp = visible[i].header.stamp
        assert stamp.sec * 10**9 + stamp.nanosec == START_NS + i * 125_000_000
        assert infrared[i].header.stamp.nanosec - stamp.nanosec == 2_500_000
    assert (visible[0].encoding, visible[0].step, visible[0].header.frame_id) == ("rgb8", 42, "eye")
    assert (infrared[0].encoding, infrared[0].step) == ("mono8", 14)


def test_rclpy_reads_what_is_written(tmp_path: Path) -> None:
    serialization = pytest.importorskip("rclpy.serialization", reason="rclpy is not installed")
    from sensor_msgs.msg import CameraInfo, CompressedImage, Image

    (_, pair), *_ = pairs = make_pairs(2, np.uint16)
    write_bag(pairs, tmp_path / "raw.mcap", infrared_offset_ms=-1.0)
    write_bag(make_pairs(2), tmp_path / "small.mcap", compressed="png")
    kinds = {"Image": Image, "CameraInfo": CameraInfo, "CompressedImage": CompressedImage}
    messages = {}
    for name in ("raw.mcap", "small.mcap"):
        with BagReader(tmp_path / name) as bag:
            for recorded in bag.messages():
                kind = kinds[recorded.type.rsplit("/", 1)[1]]
                message = serialization.deserialize_message(recorded.data, kind)
                assert len(serialization.serialize_message(message)) == len(
                    recorded.data
                )  # padding bytes are undefined
                messages.setdefault(recorded.topic, message)
    assert len(messages) == 6
    infrared, info = messages["/infrared/image_raw"], messages["/visible/camera_info"]
    assert (infrared.encoding, infrared.width, infrared.height, infrared.step) == ("mono16", 14, 10, 28)
    assert (infrared.header.stamp.sec, infrared.header.stamp.nanosec) == (START_NS // 10**9 - 1, 999_000_000)
    assert infrared.data.tobytes() == pair.infrared.tobytes()
    assert (info.width, info.height, info.distortion_model, list(info.d)) == (14, 10, "plumb_bob", [0.0] * 5)


@pytest.mark.parametrize(
    ("kind", "dtype"), [("jpeg", np.uint8), ("png", np.uint8), ("png", np.uint16), ("jpeg", np.uint16)]
)
def test_compressed(tmp_path: Path, kind: str, dtype: type) -> None:
    shade = np.tile(np.linspace(0, 200, 14, dtype=dtype), (10, 1))
    pair = FramePair(np.repeat(shade[:, :, None], 3, axis=2).astype(np.uint8), shade)
    write_bag([("a", pair)], tmp_path / "c.mcap", compressed=kind, fov_deg=None)
    with BagReader(tmp_path / "c.mcap") as bag:
        assert sorted(topic.name for topic in bag.topics) == [
            "/infrared/image_raw/compressed",
            "/visible/image_raw/compressed",
        ]
        (infrared,), (visible,) = (decode(bag, f"/{side}/image_raw/compressed") for side in ("infrared", "visible"))
    stored = cv2.imdecode(infrared.data, cv2.IMREAD_UNCHANGED)
    assert stored.dtype == dtype
    np.testing.assert_allclose(stored.astype(int), shade.astype(int), atol=0 if "png" in infrared.format else 4)
    assert visible.format == f"rgb8; {kind} compressed bgr8"
    assert infrared.format == (
        "mono8; jpeg compressed "
        if (kind, dtype) == ("jpeg", np.uint8)
        else f"{'mono8' if dtype is np.uint8 else 'mono16'}; png compressed "
    )


def test_camera_info_has_the_size_of_each_image(tmp_path: Path) -> None:
    pair = FramePair(np.zeros((10, 14, 3), np.uint8), np.zeros((6, 8), np.float32))
    write_bag([("a", pair)], tmp_path / "c.mcap", fov_deg=90.0)
    with BagReader(tmp_path / "c.mcap") as bag:
        (infrared,), (visible,) = (decode(bag, f"/{side}/camera_info") for side in ("infrared", "visible"))
        assert decode(bag, "/infrared/image_raw")[0].encoding == "32FC1"
    assert (infrared.width, infrared.height, visible.width, visible.height) == (8, 6, 14, 10)
    assert visible.k[0] == pytest.approx(7.0) and visible.k[2] == 6.5 and visible.p[5] == visible.k[4]
    assert infrared.header.frame_id == "infrared_optical_frame"


def test_existing_target_is_kept_unless_forced(tmp_path: Path) -> None:
    target = tmp_path / "a.mcap"
    target.write_bytes(b"mine")
    with pytest.raises(BagError, match=r"a\.mcap: exists already.*--force"):
        write_bag(make_pairs(), target)
    assert target.read_bytes() == b"mine"
    assert write_bag(make_pairs(), target, force=True).pairs == 3
    write_bag(make_pairs(2), tmp_path / "bag")
    assert write_bag(make_pairs(3), tmp_path / "bag", force=True).pairs == 3
    (tmp_path / "home").mkdir()
    with pytest.raises(BagError, match="is no bag, so it is not replaced"):
        write_bag(make_pairs(), tmp_path / "home", force=True)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["a.mcap", "bag", "home"]


def test_a_fault_on_the_way_leaves_no_bag(tmp_path: Path) -> None:
    def broken():  # type: ignore[no-untyped-def]
        yield from make_pairs(2)
        raise OSError("disk gone")

    with pytest.raises(OSError, match="disk gone"):
        write_bag(broken(), tmp_path / "a.mcap")
    with pytest.raises(BagError, match="pair odd: an image of shape"):
        write_bag([("odd", FramePair(np.zeros((4, 4, 3), np.uint8), np.zeros((4, 4), np.int64)))], tmp_path / "a.mcap")
    with pytest.raises(BagError, match="no message to write"):
        write_bag([], tmp_path / "a.mcap")
    for options, said in (
        ({"rate": 0.0}, "rate must"),
        ({"compressed": "gif"}, "unknown compression"),
        ({"fov_deg": 180.0}, "field of view"),
    ):
        with pytest.raises(BagError, match=said):
            write_bag(make_pairs(), tmp_path / "a.mcap", **options)  # type: ignore[arg-type]
    assert not list(tmp_path.iterdir())


def test_reader_names_missing_unknown_and_damaged_bags(tmp_path: Path) -> None:
    with pytest.raises(BagError, match="nowhere: does not exist"):
        BagReader(tmp_path / "nowhere")
    with pytest.raises(BagError, match=r"no metadata.yaml"):
        BagReader(tmp_path)
    (tmp_path / "a.txt").write_text("x")
    with pytest.raises(BagError, match="unknown kind of bag"):
        BagReader(tmp_path / "a.txt")
    for name in ("a.mcap", "a.db3"):
        write_bag(make_pairs(20), tmp_path / name)
        data = (tmp_path / name).read_bytes()
        for keep in (0, 5, len(data) // 2):
            (tmp_path / name).write_bytes(data[:keep])
            with pytest.raises(BagError, match=f"{name}: truncated or damaged"), BagReader(tmp_path / name) as bag:
                assert sum(1 for _ in bag.messages()) < 0, "read to its end"


def test_recorder_takes_raw_messages_of_packages_it_does_not_know(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    share = tmp_path / "prefix" / "share" / "odd_msgs" / "msg"
    share.mkdir(parents=True)
    (share / "Part.msg").write_text("float64 value\n")
    (share / "Whole.msg").write_text("std_msgs/Header header\nPart[] parts\n")
    monkeypatch.setenv("AMENT_PREFIX_PATH", str(tmp_path / "prefix"))
    data = b"\x00\x01\x00\x00" + bytes(20)
    with BagRecorder(tmp_path / "r.mcap") as recorder:
        recorder.write("/odd", "odd_msgs/msg/Whole", 5, data, latched=True)
        recorder.write("/odd", "odd_msgs/msg/Whole", 7, data)
        with pytest.raises(BagError, match="/odd carried odd_msgs/msg/Whole before, now odd_msgs/msg/Part"):
            recorder.write("/odd", "odd_msgs/msg/Part", 8, data)
        with pytest.raises(BagError, match="no definition of lost_msgs/msg/Thing found"):
            recorder.write("/lost", "lost_msgs/msg/Thing", 8, data)
    with BagReader(tmp_path / "r.mcap") as bag:
        assert [(t.name, t.type, t.count, t.latched) for t in bag.topics] == [("/odd", "odd_msgs/msg/Whole", 2, True)]
        assert [(m.stamp_ns, m.data) for m in bag.messages()] == [(5, data), (7, data)]
        definition = bag._reader.connections[0].msgdef.data
    assert "Part[] parts" in definition and "float64 value" in definition


def test_recorder_knows_vision_msgs(tmp_path: Path) -> None:
    pytest.importorskip("rclpy", reason="rclpy is not installed")
    vision_msgs = pytest.importorskip("vision_msgs.msg", reason="vision_msgs is not built")
    from rclpy.serialization import serialize_message

    message = vision_msgs.Detection2DArray(detections=[vision_msgs.Detection2D(id="car")])
    with BagRecorder(tmp_path / "r.mcap") as recorder:
        recorder.write("/detections", "vision_msgs/msg/Detection2DArray", 1, serialize_message(message))
    with BagReader(tmp_path / "r.mcap") as bag:
        (decoded,) = decode(bag, "/detections")
    assert decoded.detections[0].id == "car"


def test_command(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for side, image in (("ir", np.zeros((8, 8), np.uint8)), ("vi", np.zeros((8, 8, 3), np.uint8))):
        (tmp_path / "set" / side).mkdir(parents=True)
        for i in range(3):
            cv2.imwrite(str(tmp_path / "set" / side / f"{i}.png"), image)
    (tmp_path / "set" / "ir" / "9.png").write_bytes(b"")
    parser = argparse.ArgumentParser()
    add_to_bag_command(parser.add_subparsers())
    args = parser.parse_args(
        ["to-bag", str(tmp_path / "set"), str(tmp_path / "o.mcap"), "--rate", "4", "--no-camera-info"]
    )
    assert args.run(args) == 0
    out = capsys.readouterr()
    assert "o.mcap: 3 pairs, 0.8 s" in out.out and "1 images without a partner" in out.err
    with BagReader(tmp_path / "o.mcap") as bag:
        assert (bag.count, bag.duration_ns // 10**6) == (6, 500)
