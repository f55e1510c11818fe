"""Compressed bags, unpacked within limits: a megabyte of zstd can stand for gigabytes."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from lz4.frame import LZ4FrameDecompressor
from rosbags.rosbag2 import Reader, storage_mcap

if sys.version_info >= (3, 14):
    from compression.zstd import ZstdDecompressor
else:
    from backports.zstd import ZstdDecompressor

MAX_CHUNK = 512 << 20
"""Bytes of an unpacked MCAP chunk; writers make chunks of a few megabytes, or of one large message."""


def check_metadata(path: Path) -> None:
    """Raise ValueError for a metadata.yaml that is large, deep or holds aliases."""
    from cldyn_core.text_files import check_yaml, read_text  # here, since cldyn_core imports torch, which takes seconds

    check_yaml(read_text(path, 1 << 20))


def bound_chunks() -> None:
    """Have rosbags unpack no more of an MCAP chunk than the chunk states, and than MAX_CHUNK; it sets no limit."""
    storage_mcap.DECOMPRESSORS.update(
        zstd=lambda data, size: _bounded(ZstdDecompressor(), data, size),
        lz4=lambda data, size: _bounded(LZ4FrameDecompressor(), data, size),
    )


def unpacked(reader: Reader) -> Callable[[bytes], bytes]:
    """What to do with each message of an open reader: unpack it, within limits, where messages are compressed."""
    storage: Any = reader.storage
    if storage.metadata.compression_mode != "message":
        return lambda data: data
    storage.metadata = storage.metadata._replace(compression_mode=None)  # rosbags would unpack without a limit
    return lambda data: _bounded(ZstdDecompressor(), data, MAX_CHUNK)


def _bounded(decompressor: Any, data: bytes, size: int) -> bytes:
    """Raises ValueError for more than `size` or MAX_CHUNK bytes."""
    if size > MAX_CHUNK:
        raise ValueError(f"a chunk of {size} bytes, more than {MAX_CHUNK}")
    content: bytes = decompressor.decompress(data, size + 1)
    if len(content) > size:
        raise ValueError(f"a chunk or message unpacks to more than {size} bytes")
    if not decompressor.eof:
        raise ValueError("a compressed chunk or message ends early")
    return content
