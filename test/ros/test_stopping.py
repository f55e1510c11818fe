"""The flag that ends node and replayer."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from cldyn_ros.bag_files import BagRecorder
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


def run(script: str) -> str:
    """Output of a Python process."""
    return subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=30, check=True).stdout


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
    assert int(run(script)) > 20


def test_a_signal_taken_by_another_thread_ends_the_wait_of_the_main_thread() -> None:
    script = """
import signal, threading, time
from cldyn_ros.stopping import StopFlag
stop = StopFlag().set_on(signal.SIGINT)
thread = threading.Thread(target=lambda: (time.sleep(0.3), signal.pthread_kill(threading.get_ident(), signal.SIGINT)))
thread.start()
start = time.monotonic()
print(stop.wait(20.0), time.monotonic() - start < 10.0)
"""
    assert run(script).split() == ["True", "True"]


def test_other_signals_do_not_end_a_wait() -> None:
    script = """
import os, signal, time
from cldyn_ros.stopping import StopFlag
stop = StopFlag().set_on(signal.SIGINT)
signal.signal(signal.SIGALRM, lambda *_: None)
signal.setitimer(signal.ITIMER_REAL, 0.05, 0.05)
start = time.monotonic()
print(stop.wait(0.4), time.monotonic() - start >= 0.4)
"""
    assert run(script).split() == ["False", "True"]


@pytest.mark.parametrize("executable", ["fusion_node", "replay"])
@pytest.mark.parametrize("delay_s", [0.0, 0.3])
def test_an_executable_interrupted_while_it_imports_ends_quietly(
    executable: str, delay_s: float, tmp_path: Path
) -> None:
    bag = tmp_path / "empty.mcap"
    script = f"""
import sys
from cldyn_ros import start
real = start.import_module
def announced(name):
    print("imports begin", flush=True)
    return real(name)
start.import_module = announced
sys.argv[0] = "{executable}"
sys.exit(start.{executable}())
"""
    arguments = []
    if executable == "replay":
        with BagRecorder(bag) as recorder:
            recorder.write("/t", "std_msgs/msg/Empty", 1, bytes(5))
        arguments = [str(bag), "--start-delay", "60"]
    process = subprocess.Popen(
        [sys.executable, "-c", script, *arguments], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    assert process.stdout is not None and process.stdout.readline() == "imports begin\n"
    time.sleep(delay_s)
    process.send_signal(signal.SIGINT)
    process.send_signal(signal.SIGTERM)
    _, errors = process.communicate(timeout=60)
    assert process.returncode == 0 and "Traceback" not in errors, errors
