"""The flag that ends node and replayer."""

from __future__ import annotations

import subprocess
import sys
import time

from cldyn_ros.stopping import StopFlag


def test_a_wait_ends_in_time_or_with_the_flag() -> None:
    stop = StopFlag()
    start = time.monotonic()
    assert not stop.wait(0.05)
    assert time.monotonic() - start >= 0.05
    assert not stop.wait(-1.0) and not stop.is_set()
    stop.set()
    stop.set()
    assert stop.is_set() and stop.wait(60.0) and stop.wait(60.0)


def test_signals_at_any_moment_of_many_waits_end_them() -> None:
    """Thousands of short waits under a storm of signals: wherever the handler runs, it returns."""
    script = """
import os, signal, threading, time
from cldyn_ros.stopping import StopFlag
end, stop, flags = time.monotonic() + 1.5, StopFlag(), 0
signal.signal(signal.SIGUSR1, lambda *_: stop.set())

def storm():
    while time.monotonic() < end:
        os.kill(os.getpid(), signal.SIGUSR1)

threading.Thread(target=storm).start()
while time.monotonic() < end:
    while not stop.wait(1e-6) and time.monotonic() < end:
        pass
    old, stop, flags = stop, StopFlag(), flags + 1
    os.close(old._read), os.close(old._write)
print(flags)
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=30, check=True)
    assert int(done.stdout) > 20
