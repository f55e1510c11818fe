"""glibc gives large blocks back to the system and takes them again on every frame; told not to, the network runs
twice as fast.
"""

from __future__ import annotations

import ctypes
import os

_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3
_KEEP = 1 << 30


def keep_freed_memory() -> bool:
    """Let malloc keep freed blocks for reuse (about the peak of one frame). True when done.

    Does nothing where the C library is not glibc, and when CLDYN_KEEP_MEMORY=0.
    """
    if os.environ.get("CLDYN_KEEP_MEMORY", "1") == "0":
        return False
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (OSError, AttributeError):
        return False
    return bool(mallopt(_M_MMAP_THRESHOLD, _KEEP)) and bool(mallopt(_M_TRIM_THRESHOLD, _KEEP))
