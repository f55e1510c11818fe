"""rosbag2 files, read and written as serialized messages. Needs no ROS installation."""

from __future__ import annotations

import importlib.util
import os
import re
import shutil
import tempfile
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from types import TracebackType
from typing import Literal

from rosbags.interfaces import Connection, Qos, QosDurability, QosHistory, QosLiveliness, QosReliability, QosTime
from rosbags.rosbag2 import Reader, StoragePlugin, Writer
from rosbags.typesys import Stores, get_types_from_msg, get_typestore
from rosbags.typesys.store import Typestore

from cldyn_ros.bag_limits import bound_chunks, check_metadata, unpacked
from cldyn_ros.interface import is_type

SUFFIXES = {"sqlite3": ".db3", "mcap": ".mcap"}
BAG_VERSION: Literal[8] = 8
"""rosbag2 metadata version; 8 writes QoS as numbers, which every distribution from Humble on reads."""

_FOREVER = QosTime(9223372036, 854775807)


class BagError(ValueError):
    """A bag that cannot be read or written. The text names it, the reason and a remedy."""


@dataclass(frozen=True)
class BagTopic:
    """One topic of a bag."""

    name: str
    type: str
    """As "sensor_msgs/msg/Image"."""
    count: int
    latched: bool
    """Recorded from a transient-local publisher."""


@dataclass(frozen=True)
class BagMessage:
    """One recorded message."""

    topic: str
    type: str
    stamp_ns: int
    """Time of recording."""
    data: bytes
    """CDR with its 4-byte header, as rclpy serializes and publishes it."""


class BagReader:
    """Reads a rosbag2 directory or a bare .mcap or .db3 file; a context manager. Raises BagError."""

    def __init__(self, path: Path) -> None:
        self.path = path
        if not path.exists():
            raise BagError(f"{path}: does not exist. Remedy: name a rosbag2 directory, an .mcap or a .db3 file")
        if path.is_dir() and not (path / "metadata.yaml").is_file():
            files = (
                ", ".join(sorted(p.name for p in path.iterdir() if p.suffix in SUFFIXES.values()))
                or "neither .mcap nor .db3"
            )
            raise BagError(f"{path}: no metadata.yaml. Remedy: name a file in it instead ({files})")
        if path.is_file() and path.suffix not in SUFFIXES.values():
            raise BagError(f"{path}: unknown kind of bag. Remedy: name a rosbag2 directory, an .mcap or a .db3 file")
        bound_chunks()
        self._reader = Reader(path)
        try:
            if path.is_dir():
                check_metadata(path / "metadata.yaml")
            self._reader.open()
            self._unpack = unpacked(self._reader)
            self.topics = tuple(_topic(connection) for connection in self._reader.connections)
            self.count = int(self._reader.message_count)
            self.start_ns = int(self._reader.start_time) if self.count else 0
            self.duration_ns = int(self._reader.duration) if self.count else 0
        except Exception as error:  # damaged bytes surface as many kinds of error in the parser
            raise _damaged(path, error) from error

    def messages(self, topics: Collection[str] | None = None) -> Iterator[BagMessage]:
        """Messages in order of time, of some topics or all. Raises BagError where the file is damaged."""
        chosen = [c for c in self._reader.connections if topics is None or c.topic in topics]
        if not chosen:
            return
        try:
            for connection, stamp, data in self._reader.messages(chosen):
                if type(stamp) is not int or not isinstance(data, (bytes, memoryview)):  # SQLite takes any type
                    raise BagError(f"a message of {connection.topic} holds a {type(data).__name__} at {stamp!r}")
                yield BagMessage(connection.topic, connection.msgtype, stamp, self._unpack(bytes(data)))
        except GeneratorExit:
            raise
        except Exception as error:
            raise _damaged(self.path, error) from error

    def close(self) -> None:
        """Close the files; more than once does no harm."""
        if self._reader.is_open:
            self._reader.close()

    def __enter__(self) -> BagReader:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


class BagRecorder:
    """Writes serialized messages to a new bag, which appears under its name when it is complete.

    A path that ends in .mcap or .db3 becomes one bare file, which `ros2 bag play` and the replayer take; any other name
    a rosbag2 directory with metadata.yaml. As a context manager it removes the bag again when its body raises.
    """

    def __init__(self, path: Path, *, storage: str | None = None, force: bool = False) -> None:
        """Storage: "mcap" (default) or "sqlite3", for a directory. force: replace an existing bag. Raises BagError."""
        by_suffix = {suffix: name for name, suffix in SUFFIXES.items()}.get(path.suffix)
        if storage is not None and storage not in SUFFIXES:
            raise BagError(f"unknown storage {storage!r}; storages: {', '.join(sorted(SUFFIXES))}")
        if by_suffix and storage and by_suffix != storage:
            raise BagError(f"{path}: storage {storage} is written to {SUFFIXES[storage]} files. Remedy: rename it")
        self.path, self._force, self._bare = path, force, by_suffix is not None
        self._storage = storage or by_suffix or "mcap"
        self._check_target()
        path.parent.mkdir(parents=True, exist_ok=True)
        self._work = Path(tempfile.mkdtemp(prefix=f".{path.name}.", dir=path.parent))
        plugin = StoragePlugin.MCAP if self._storage == "mcap" else StoragePlugin.SQLITE3
        self._made = self._work / (path.stem if self._bare else path.name)
        self._writer = Writer(self._made, version=BAG_VERSION, storage_plugin=plugin)
        self._writer.open()
        self._connections: dict[str, Connection] = {}
        self.count = 0

    def write(self, topic: str, msgtype: str, stamp_ns: int, data: bytes, *, latched: bool = False) -> None:
        """Append a message. `latched`, read at the topic's first message: its publisher is transient-local.

        Raises BagError for a type whose definition is not found, and for a topic that changes its type.
        """
        connection = self._connections.get(topic) or self._add_topic(topic, msgtype, latched)
        if connection.msgtype != msgtype:
            raise BagError(f"{topic} carried {connection.msgtype} before, now {msgtype}")
        self._writer.write(connection, stamp_ns, data)
        self.count += 1

    def close(self) -> None:
        """Complete the bag and give it its name. Raises BagError when nothing was written."""
        if not self.count:
            self.abort()
            raise BagError(f"{self.path}: no message to write")
        self._writer.close()
        made = self._made / self.path.name if self._bare else self._made
        self._check_target()
        if self.path.is_dir():
            shutil.move(self.path, self._work / "replaced")
        os.replace(made, self.path)
        shutil.rmtree(self._work)

    def abort(self) -> None:
        """Leave nothing behind."""
        self._writer.abort()
        shutil.rmtree(self._work, ignore_errors=True)

    def __enter__(self) -> BagRecorder:
        return self

    def __exit__(self, kind: type[BaseException] | None, _value: object, _trace: TracebackType | None) -> None:
        if kind is None:
            self.close()
        else:
            self.abort()

    def _check_target(self) -> None:
        if not self.path.exists():
            return
        if not self._force:
            raise BagError(f"{self.path}: exists already. Remedy: name another, or replace it with --force")
        is_bag = self.path.is_file() if self._bare else (self.path / "metadata.yaml").is_file()
        if not is_bag:
            raise BagError(f"{self.path}: exists and is no bag, so it is not replaced. Remedy: name another")

    def _add_topic(self, topic: str, msgtype: str, latched: bool) -> Connection:
        durability = QosDurability.TRANSIENT_LOCAL if latched else QosDurability.VOLATILE
        qos = Qos(
            QosHistory.KEEP_LAST, 10, QosReliability.RELIABLE, durability,
            _FOREVER, _FOREVER, QosLiveliness.AUTOMATIC, _FOREVER, False,
        )  # fmt: skip
        store = typestore_with(msgtype)
        self._connections[topic] = self._writer.add_connection(
            topic, msgtype, typestore=store, offered_qos_profiles=[qos]
        )
        return self._connections[topic]


@lru_cache(maxsize=1)
def typestore() -> Typestore:
    """Message definitions of Jazzy's common packages; those of other packages join as they are asked for."""
    return get_typestore(Stores.ROS2_JAZZY)


def typestore_with(msgtype: str) -> Typestore:
    """The store, knowing `msgtype`; definitions it lacks are read from the installed package's .msg files.

    Raises BagError when the package is not installed.
    """
    store = typestore()
    if msgtype not in store.types:
        _register_package(store, msgtype.split("/")[0], msgtype)
    if msgtype not in store.types:
        raise BagError(f"no definition of {msgtype} found. Remedy: source the workspace that has it")
    return store


def _register_package(store: Typestore, package: str, wanted: str) -> None:
    folder = next((p for prefix in _prefixes(package) if (p := prefix / "share" / package / "msg").is_dir()), None)
    if folder is None:
        raise BagError(f"no definition of {wanted} found. Remedy: install {package}, or source its workspace")
    types = {}
    for path in sorted(folder.glob("*.msg")):
        text = path.read_text(encoding="utf-8")
        types.update(get_types_from_msg(text, f"{package}/msg/{path.stem}"))
        for other in set(re.findall(r"^(\w+)/\w+", text, re.MULTILINE)) - {package}:
            if not any(name.startswith(f"{other}/") for name in store.types):
                _register_package(store, other, wanted)
    store.register(types)


def _prefixes(package: str) -> list[Path]:
    """Installation prefixes that may hold a package: the environment's, and the one its Python module lies in."""
    prefixes = [Path(p) for p in os.environ.get("AMENT_PREFIX_PATH", "").split(os.pathsep) if p]
    spec = importlib.util.find_spec(package)
    return prefixes + (list(Path(spec.origin).parents) if spec and spec.origin else [])


def _topic(connection: Connection) -> BagTopic:
    name, msgtype, count = connection.topic, connection.msgtype, connection.msgcount
    if not isinstance(name, str) or not is_type(msgtype) or type(count) is not int:
        raise BagError(f"a topic {name!r} of type {msgtype!r} with {count!r} messages")
    profiles = getattr(connection.ext, "offered_qos_profiles", ())
    latched = any(qos.durability == QosDurability.TRANSIENT_LOCAL for qos in profiles)
    return BagTopic(name, msgtype, count, latched)


def _damaged(path: Path, error: Exception) -> BagError:
    reason = str(error).rstrip(".") or type(error).__name__
    return BagError(
        f"{path}: truncated or damaged ({reason}). Remedy: copy or record it again, or try `ros2 bag reindex`"
    )
