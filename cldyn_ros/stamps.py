"""Stamps of messages as one number."""

from __future__ import annotations

from std_msgs.msg import Header


def stamp_ns(header: Header) -> int:
    """When it was taken, in nanoseconds."""
    return int(header.stamp.sec) * 1_000_000_000 + int(header.stamp.nanosec)
