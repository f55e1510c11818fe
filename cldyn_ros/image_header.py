"""Width and height of an encoded image, read from its header without decoding it.

Strict where a decoder is not: a file that the two would read differently could hide its size from the caller's limit.
"""

from __future__ import annotations

import struct

_PNG = b"\x89PNG\r\n\x1a\n"
_JPEG = b"\xff\xd8\xff"
_FRAME_MARKERS = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}  # start of frame, all kinds
_ENDS = frozenset({0x00, 0xD8, 0xD9, 0xDA})  # not a marker, a second start, end of image, image data


def encoded_size(data: bytes) -> tuple[int, int] | None:
    """(width, height) of a JPEG or PNG file; None if it is neither, ends before the size is told, or is a PNG whose
    chunks do not fit into it: OpenCV takes memory for what a chunk claims, up to 4 GB.
    """
    if data.startswith(_PNG):
        return _png_size(data)
    if data.startswith(_JPEG):
        return _jpeg_size(data)
    return None


def _png_size(data: bytes) -> tuple[int, int] | None:
    at, kind = len(_PNG), b""
    while at + 12 <= len(data) and kind != b"IEND":
        length, kind = struct.unpack(">I4s", data[at : at + 8])
        at += 12 + length
    whole = kind == b"IEND" and at <= len(data) and data[12:16] == b"IHDR"
    return struct.unpack(">II", data[16:24]) if whole else None


def _jpeg_size(data: bytes) -> tuple[int, int] | None:
    at = 2
    while at + 9 <= len(data):
        if data[at] != 0xFF:
            return None
        marker = data[at + 1]
        if marker in _ENDS:  # libjpeg passes over 0xFF00 and takes the next marker it finds
            return None
        if marker in _FRAME_MARKERS:
            height, width = struct.unpack(">HH", data[at + 5 : at + 9])
            return width, height
        if marker == 0xFF:  # fill byte
            at += 1
        elif marker == 0x01 or 0xD0 <= marker <= 0xD7:  # markers without a length
            at += 2
        else:
            at += 2 + struct.unpack(">H", data[at + 2 : at + 4])[0]
    return None
