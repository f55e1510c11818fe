"""Fast DDS settings that let images of any size through."""

from __future__ import annotations

import os
from importlib.resources import files
from pathlib import Path

PROFILE_VARIABLES = ("FASTDDS_DEFAULT_PROFILES_FILE", "FASTRTPS_DEFAULT_PROFILES_FILE")
"""The second is the name that older distributions read."""


def use_packaged_profile() -> Path | None:
    """Point Fast DDS to the packaged profile unless the user has chosen one. Call before rclpy.init.

    The default shared-memory segment of 512 KB loses best-effort images above that size. The publisher's side decides,
    so camera drivers want the same profile. Returns the path, None if the user's own is kept.
    """
    if any(os.environ.get(name) for name in PROFILE_VARIABLES):
        return None
    profile = Path(str(files("cldyn_ros") / "fastdds.xml"))
    if not profile.is_file():
        return None
    for name in PROFILE_VARIABLES:
        os.environ[name] = str(profile)
    return profile
