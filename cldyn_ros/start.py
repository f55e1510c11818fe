"""Entry points of the executables. They take the signals before the imports, which take seconds: Ctrl-C ends those as
quietly as all that follows.
"""

from __future__ import annotations

import signal
from importlib import import_module

from cldyn_ros.stopping import StopFlag


def fusion_node() -> int:
    """`ros2 run cldyn_ros fusion_node`; see cldyn_ros.fusion_node.main."""
    return _run("cldyn_ros.fusion_node")


def replay() -> int:
    """`ros2 run cldyn_ros replay`; see cldyn_ros.replay.main."""
    return _run("cldyn_ros.replay")


def _run(module: str) -> int:
    stop = StopFlag().set_on(signal.SIGINT, signal.SIGTERM)
    return int(import_module(module).main(stop=stop))
