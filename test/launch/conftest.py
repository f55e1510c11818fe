"""Where things are, for the tests of package and launch files."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="session")
def root() -> Path:
    """The project."""
    return ROOT


@pytest.fixture(scope="session")
def quiet_environment() -> dict[str, str]:
    """Environment for commands: one ROS only, few threads."""
    env = {name: value for name, value in os.environ.items() if not name.startswith("COLCON_")}
    env |= {"OMP_NUM_THREADS": "1", "PYTHONDONTWRITEBYTECODE": "1", "ROS_AUTOMATIC_DISCOVERY_RANGE": "LOCALHOST"}
    if "ROS_DISTRO" not in env:  # ROS from wheels; a ROS from apt has set this itself
        env |= {"AMENT_PREFIX_PATH": sys.prefix, "PYTHONPATH": ""}
    return env
