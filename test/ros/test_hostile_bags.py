"""Bags made to harm: what unfolds, what names modules, what is of another type. Each is refused with a BagError."""

from __future__ import annotations

import os
import sqlite3
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from rosbags.rosbag2 import CompressionFormat, CompressionMode, StoragePlugin, Writer

from cldyn_core.types import FramePair
from cldyn_ros import bag_limits
from cldyn_ros.bag_files import BagError, BagReader, typestore
from cldyn_ros.bags import write_bag
from cldyn_ros.interface import is_type, message_class

STRING = "std_msgs/msg/String"


def read(path: Path) -> int:
    with BagReader(path) as bag:
        return sum(len(message.data) for message in bag.messages())


def zeros_bag(path: Path, mode: CompressionMode, megabytes: int) -> Path:
    """A rosbag2 folder with one compressed message of zeros."""
    writer = Writer(path, version=8, storage_plugin=StoragePlugin.MCAP)
    writer.set_compression(mode, CompressionFormat.ZSTD)
    with writer:
        connection = writer.add_connection("/a", STRING, typestore=typestore())
        writer.write(connection, 1, bytes(megabytes << 20))
    return path


@pytest.mark.parametrize("mode", [CompressionMode.MESSAGE, CompressionMode.STORAGE])
def test_what_unfolds_beyond_the_limit_is_refused(
    tmp_path: Path, mode: CompressionMode, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = zeros_bag(tmp_path / "bomb", mode, 8)
    assert sum(file.stat().st_size for file in path.iterdir()) < 100_000
    assert read(path) == 8 << 20
    monkeypatch.setattr(bag_limits, "MAX_CHUNK", 1 << 20)
    with pytest.raises(BagError, match=r"more than 1048576"):
        read(path)


def small_bag(path: Path) -> Path:
    image = np.zeros((4, 4), np.uint8)
    write_bag([("a", FramePair(np.zeros((4, 4, 3), np.uint8), image))], path)
    return path


@pytest.mark.parametrize(
    ("statement", "reason"),
    [
        ("UPDATE messages SET data = 100000000000", "holds a int"),  # bytes(n) would be n zeros
        ("UPDATE messages SET data = 'text'", "holds a str"),
        ("UPDATE messages SET timestamp = 'soon'", "damaged"),
        ("UPDATE topics SET type = 'antigravity/msg/X/../y'", "of type"),
        ("UPDATE topics SET name = x'00ff'", "damaged"),
        ("UPDATE topics SET offered_qos_profiles = '[[['", "damaged"),
    ],
)
def test_sqlite_holds_what_it_likes(tmp_path: Path, statement: str, reason: str) -> None:
    path = small_bag(tmp_path / "a.db3")
    assert read(path)
    with sqlite3.connect(path) as database:
        database.execute(statement)
    database.close()
    with pytest.raises(BagError, match=reason):
        read(path)


@pytest.mark.parametrize("metadata", ["a: &a [x]\nb: *a\n", "[" * 100, "rosbag2_bagfile_information: 3\n", "\0"])
def test_metadata_of_a_folder_has_limits(tmp_path: Path, metadata: str) -> None:
    path = small_bag(tmp_path / "bag")
    (path / "metadata.yaml").write_text(metadata)
    with pytest.raises(BagError, match="damaged"):
        read(path)


def test_a_folder_leads_to_no_other(tmp_path: Path) -> None:
    """Paths in the metadata count by their last part alone."""
    path = small_bag(tmp_path / "bag")
    (path / "bag.mcap").rename(tmp_path / "bag.mcap")
    metadata = path / "metadata.yaml"
    metadata.write_text(metadata.read_text().replace("bag.mcap", "../bag.mcap"))
    with pytest.raises(BagError, match="missing"):
        read(path)


@pytest.mark.parametrize(
    "name", ["std_msgs/msg/Nothing", "spy/msg/X", "spy.inner/msg/X", "os/msg/X", "../x/msg/X", "", "x"]
)
def test_a_bag_imports_no_module_but_message_packages(
    tmp_path: Path, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "spy").mkdir()
    (tmp_path / "spy" / "__init__.py").write_text("raise SystemExit('imported')")
    monkeypatch.syspath_prepend(tmp_path)
    assert message_class(STRING).__name__ == "String" and is_type(STRING)
    with pytest.raises((ImportError, AttributeError)):
        message_class(name)


def test_the_replayer_starts_without_torch() -> None:
    code = "import sys, cldyn_ros.replay; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], env=dict(os.environ), check=False).returncode == 0
