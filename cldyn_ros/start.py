"""Entry points of the executables: what happens before the imports, which take seconds, and after the end."""

from __future__ import annotations

import signal
from importlib import import_module

from cldyn_ros.stopping import StopFlag

SIGNALS = (signal.SIGINT, signal.SIGTERM)


def fusion_node() -> int:
    """`ros2 run cldyn_ros fusion_node`; see cldyn_ros.fusion_node.main."""
    return _run("cldyn_ros.fusion_node")


def replay() -> int:
    """`ros2 run cldyn_ros replay`; see cldyn_ros.replay.main."""
    return _run("cldyn_ros.replay")


def _run(module: str) -> int:
    """Take the signals, so that Ctrl-C ends the imports as quietly as all that follows, then run the module's main."""
    stop = StopFlag().set_on(*SIGNALS)
    status = int(import_module(module).main(stop=stop))
    for number in SIGNALS:
        signal.signal(number, signal.SIG_IGN)  # Python takes its handlers away at the end: a second Ctrl-C would kill
    return status
