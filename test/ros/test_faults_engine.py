"""Faults of images, networks, weights and processes, with the real engine, over real DDS; see doc/faults.md."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import textwrap
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("rclpy")
pytest.importorskip("vision_msgs", reason="vision_msgs is not built; run make setup")

import torch
from diagnostic_msgs.msg import DiagnosticArray
from rclpy.lifecycle import TransitionCallbackReturn
from ros_bench import Bench, MakeBench, wait_for
from sensor_msgs.msg import Image

from cldyn_core import CLDyN, save_weights, tasks
from cldyn_core.data.synthetic import SceneConfig, render_frame
from cldyn_core.engine import FusionEngine
from cldyn_core.tasks.base import TaskNetwork
from cldyn_core.types import EngineSettings, SaliencyMap, Task
from cldyn_ros.suspicion import Suspicion
from cldyn_ros.sync import Source

T0 = 1_700_000_000_000_000_000
PERIOD = 50_000_000


class Network(TaskNetwork):
    """A task network that fails as it is told."""

    task, kind, names, module = Task.SALIENCY, "network", (), torch.nn.Identity()
    fault: Exception | None = None
    tries = 0

    def __init__(self, model: str = "", names: Sequence[str] = ()) -> None: ...

    @classmethod
    def models(cls) -> tuple[str, ...]:
        return ()

    def feature(self, image: torch.Tensor) -> torch.Tensor:
        Network.tries += 1
        if self.fault:
            raise self.fault
        return image - 0.5

    def losses(self, image: torch.Tensor, targets: Sequence[Any]) -> torch.Tensor:
        return image.mean((1, 2, 3))

    def predict(self, image: torch.Tensor) -> list:
        return [SaliencyMap((255 * image[0, 0]).byte().numpy())]


@pytest.fixture
def network(monkeypatch: pytest.MonkeyPatch) -> type[Network]:
    monkeypatch.setattr(tasks, "explain", lambda task, settings=None: "")
    monkeypatch.setattr(tasks, "available_tasks", lambda settings: (Task.NONE, Task.SALIENCY))
    monkeypatch.setattr(tasks, "create", lambda task, settings, device: Network())
    Network.fault, Network.tries = None, 0
    return Network


def engine(settings: EngineSettings) -> FusionEngine:
    return FusionEngine(settings, pause_s=0.2)


class Stream:
    """Pairs through the node, one after the other."""

    def __init__(self, bench: Bench) -> None:
        self.bench, self.number = bench, 0
        self.status = bench.listen("/cldyn/status", DiagnosticArray)
        self.fused = bench.listen("/cldyn/fused/image_raw", Image)
        self.diagnostics = bench.listen("/diagnostics", DiagnosticArray)

    def send(self, visible: np.ndarray, infrared: np.ndarray, **changes: Any) -> None:
        self.number += 1
        self.bench.show("infrared", T0 + self.number * PERIOD, infrared, **changes)
        self.bench.show("visible", T0 + self.number * PERIOD, visible)

    def fuse(self, visible: np.ndarray, infrared: np.ndarray, **changes: Any) -> tuple[np.ndarray, dict[str, str]]:
        """The fused image, and what its status says."""
        before = len(self.status), len(self.fused)
        self.send(visible, infrared, **changes)
        wait_for(lambda: len(self.status) > before[0] and len(self.fused) > before[1], 30.0)
        image, status = self.fused[-1], self.status[-1].status[0]
        told = {pair.key: pair.value for pair in status.values}
        assert status.level == (b"\x01" if told["error"] else b"\x00")
        return np.frombuffer(image.data, np.uint8).reshape(image.height, image.width, 3), told

    def refuse(self, visible: np.ndarray, infrared: np.ndarray, event: str) -> str:
        """The error of a pair that is refused and counted as `event`."""
        health = self.bench.node._active._health
        before = health.events().get(event, 0)
        self.send(visible, infrared)
        wait_for(lambda: health.events().get(event, 0) > before, 30.0)
        return str(health._last_error)

    def report(self, name: str, level: bytes, text: str, *pair: np.ndarray) -> None:
        """Until /diagnostics has a status `name` of that level that says `text`, while pairs go on."""
        self.diagnostics.clear()

        def found() -> bool:
            self.send(*pair)
            time.sleep(0.05)
            statuses = [status for array in self.diagnostics for status in array.status if status.name.endswith(name)]
            return any(status.level == level and text in status.message for status in statuses)

        wait_for(found)


def noise(*shape: int, seed: int = 0, dtype: Any = np.uint8) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, shape).astype(dtype)


def raw(values: np.ndarray, encoding: str) -> dict[str, Any]:
    return {"encoding": encoding, "is_bigendian": int(values.dtype.byteorder == ">")}


def test_any_image_is_fused_or_refused_by_name(make_bench: MakeBench, network: type[Network]) -> None:
    """In stream mode, so that a plan is held while size and encoding change."""
    stream = Stream(make_bench(engine=engine, device="cpu", task="saliency"))
    color, gray = noise(24, 32, 3), noise(24, 32)
    first, told = stream.fuse(color, gray)
    assert (told["mode"], told["error"], told["plan_age"]) == ("stream", "", "0")
    for name, wrong in {"visible": (noise(1, 1, 3), gray), "infrared": (color, noise(1, 1))}.items():
        assert stream.refuse(*wrong, "refused by engine") == f"the {name} image is 1x1; at least 3x3 pixels are needed"
    for shape in ((48, 64), (3, 3), (17, 23), (24, 32)):
        image, told = stream.fuse(noise(*shape, 3), gray)
        assert image.shape == (*shape, 3) and (told["mode"], told["error"]) == ("stream", "") and told["plan"]
    for values, encoding in (
        (gray.astype(np.uint16) << 4, "mono16"),
        ((gray.astype(np.uint16) << 4).astype(">u2"), "mono16"),
        (gray.astype(np.float32), "32FC1"),
        (noise(24, 32, 3), "bgr8"),
    ):
        image, told = stream.fuse(color, values, **raw(values, encoding))
        assert told["error"] == "" and image.shape == first.shape
    hole = gray.astype(np.float32)
    whole, _ = stream.fuse(color, hole, **raw(hole, "32FC1"))
    hole[0], hole[1] = np.nan, np.inf
    image, told = stream.fuse(color, hole, **raw(hole, "32FC1"))
    assert told["error"] == "" and np.abs(image[12:].astype(int) - whole[12:]).mean() < 40
    for level in (0, 255):
        image, told = stream.fuse(np.full_like(color, level), np.full_like(gray, level))
        assert told["error"] == "" and np.ptp(image[4:-4, 4:-4]) < 60, "flat in, nearly flat out"
    again, _ = stream.fuse(color, gray)
    assert np.abs(again.astype(int) - first).mean() < 20, "what came between left nothing behind"
    events = stream.bench.node._active._health.events()
    assert events["refused by engine"] == 2 and "failures" not in events and "task errors" not in events


def test_a_noisy_thermal_camera_is_cleaned_and_told(make_bench: MakeBench) -> None:
    stream = Stream(make_bench(engine=engine, device="cpu"))
    frame = render_frame(SceneConfig("night", 160, 120, seed=4), 0)
    grain = np.random.default_rng(1).normal(0, 12, frame.infrared.shape)
    noisy = np.clip(frame.infrared + grain, 0, 255).astype(np.uint8)
    wanted, told = stream.fuse(frame.visible, frame.infrared)
    assert float(told["noise infrared"]) < 2.5
    cleaned, told = stream.fuse(frame.visible, noisy)
    assert float(told["noise infrared"]) == pytest.approx(12, rel=0.2) and float(told["noise visible"]) < 4
    assert stream.bench.set_parameter("denoise", False).successful
    raw_image, told = stream.fuse(frame.visible, noisy)
    assert told["noise infrared"] == told["noise visible"] == "0.0"
    plain, _ = stream.fuse(frame.visible, frame.infrared)
    away = [np.abs(image.astype(float) - to).mean() for image, to in ((cleaned, wanted), (raw_image, plain))]
    assert away[0] < 0.7 * away[1]


@pytest.mark.parametrize(
    "fault",
    [KeyError("boxes"), torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2 GiB"), MemoryError()],
    ids=lambda fault: type(fault).__name__,
)
def test_a_task_network_that_raises_is_reported_rests_and_comes_back(
    make_bench: MakeBench, network: type[Network], fault: Exception
) -> None:
    stream = Stream(make_bench(engine=engine, device="cpu", task="saliency", loop__mode="exact"))
    maps = stream.bench.listen("/cldyn/saliency", Image)
    pair = noise(24, 32, 3), noise(24, 32)
    assert stream.fuse(*pair)[1]["mode"] == "exact"
    network.fault, network.tries = fault, 0
    began = time.monotonic()
    for _ in range(10):
        told = stream.fuse(*pair)[1]
        assert told["mode"] == "open" and told["plan"] == ""
        assert told["error"].startswith(f"saliency: {type(fault).__name__}: ") and "tried again in" in told["error"]
    assert network.tries <= 1 + (time.monotonic() - began) / 0.2
    stream.report("fusion", b"\x01", f"fusing without the task's feedback: saliency: {type(fault).__name__}", *pair)
    network.fault, answered = None, len(maps)
    wait_for(lambda: stream.fuse(*pair)[1]["error"] == "")
    wait_for(lambda: len(maps) > answered)
    stream.report("fusion", b"\x00", "fusing", *pair)
    wait_for(lambda: len(stream.fused) == stream.number)
    network.fault = fault
    assert "tried again in 0.2 s" in stream.fuse(*pair)[1]["error"], "a first failure again"
    network.fault = None
    assert stream.bench.set_parameter("detector.iou", 0.6).successful
    assert stream.fuse(*pair)[1]["mode"] == "exact", "a parameter that changes is a try at once"


def test_a_fusion_without_memory_costs_its_pairs_only(make_bench: MakeBench, monkeypatch: pytest.MonkeyPatch) -> None:
    stream = Stream(make_bench(engine=engine, device="cpu"))
    stream.fuse(noise(24, 32, 3), noise(24, 32))
    executor = stream.bench.engine._shared.executor  # type: ignore[attr-defined]
    encode = executor.encode

    def limited(infrared: torch.Tensor, luma: torch.Tensor) -> Any:
        if luma.shape[3] > 40:
            raise RuntimeError("[enforce fail at alloc_cpu.cpp:127] DefaultCPUAllocator: can't allocate memory")
        return encode(infrared, luma)

    monkeypatch.setattr(executor, "encode", limited)
    for _ in range(3):
        text = stream.refuse(noise(24, 64, 3), noise(24, 64), "out of memory")
        assert "not enough memory on cpu to fuse a visible image of 64x24: use smaller images (max_pixels" in text
    stream.report("fusion", b"\x02", "pairs failed: not enough memory on cpu", noise(24, 64, 3), noise(24, 64))
    assert len(stream.fused) == 1
    assert int(stream.fuse(noise(24, 32, 3), noise(24, 32))[1]["out of memory"]) > 3
    monkeypatch.undo()
    time.sleep(0.2)
    assert stream.fuse(noise(24, 64, 3), noise(24, 64))[1]["error"] == ""


def test_a_picture_that_stands_still_and_a_thermal_camera_on_the_visible_topic() -> None:
    now = 10.0
    visible, infrared = (Suspicion(source, lambda: now) for source in Source)
    first, second = noise(24, 32), noise(24, 32, seed=1)
    for k in range(30):
        now += 0.1
        assert infrared.look(first.copy(), "mono8") == "" or k >= 20
    said = "images come, but the picture has not changed for 3 s: camera frozen or covered?"
    now += 0.1
    assert infrared.look(first, "mono8") == said
    assert infrared.look(second, "mono8") == infrared.look(first, "mono16") == infrared.look(first[:8], "mono8") == ""
    now += 5.0
    assert infrared.look(first[:8], "mono8") == "", "a slow camera"
    assert "16-bit gray (mono16), as thermal cameras send them: are the topics swapped?" in visible.look(
        first, "mono16"
    )
    assert visible.look(second, "mono8") == ""


def test_what_is_suspicious_is_said_and_fused_all_the_same(make_bench: MakeBench) -> None:
    stream = Stream(make_bench())
    gray = noise(24, 32)

    def show(text: str) -> Any:
        deep = gray.astype(np.uint16) << 8
        stream.number += 1
        stream.bench.show("infrared", T0 + stream.number * PERIOD, gray)
        stream.bench.show("visible", T0 + stream.number * PERIOD, deep, encoding="mono16")
        time.sleep(0.05)
        found = [s for m in stream.diagnostics for s in m.status if text in s.message]
        return found

    swapped = wait_for(lambda: show("are the topics swapped?"))[0]
    assert swapped.name.endswith("visible input") and swapped.level == b"\x01"
    frozen = wait_for(lambda: show("the picture has not changed for"))[0]
    assert frozen.level == b"\x01" and stream.fused


def bad_weights(tmp_path: Path, kind: str) -> Path:
    path = tmp_path / "bad.safetensors"
    if kind == "pickle":
        torch.save({"weight": torch.zeros(3)}, path)
    elif kind == "a folder":
        path.mkdir()
    elif kind == "truncated":
        save_weights(CLDyN(), path)
        path.write_bytes(path.read_bytes()[:-100])
    else:
        tasks.save_network(tasks.build("ctdnet-small", ()), path, {})
    return path


@pytest.mark.parametrize(
    ("kind", "text"),
    [
        ("pickle", "pickle"),
        ("truncated", "sha256"),
        ("of another model", "these are 'saliency' weights, expected 'cldyn'"),
        ("a folder", "no such weight file"),
    ],
)
def test_bad_weights_leave_the_node_unconfigured_with_the_reason(
    make_bench: MakeBench, tmp_path: Path, kind: str, text: str, capfd: Any
) -> None:
    path = bad_weights(tmp_path, kind)
    bench = make_bench(start=False, engine=engine, device="cpu", weights=str(path))
    assert bench.node.trigger_configure() == TransitionCallbackReturn.FAILURE
    error = next(line for line in "".join(capfd.readouterr()).splitlines() if "cannot configure" in line)
    assert text in error and "bad.safetensors" in error
    assert bench.node.count_publishers("/cldyn/status") == 0


SCRIPT = """
    import sys, time
    sys.path.insert(0, {folder!r})
    from ros_bench import FakeEngine
    from cldyn_ros.fusion_node import load_engine, main

    def slow(settings):
        print("configuring", flush=True)
        time.sleep(1.0)
        return FakeEngine(settings)

    sys.exit(main(engine_factory=slow))
"""


def test_sigterm_while_configuring_ends_cleanly_and_never_activates() -> None:
    script = textwrap.dedent(SCRIPT).format(folder=os.path.dirname(__file__))
    process = subprocess.Popen(
        [sys.executable, "-c", script], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    try:
        assert process.stdout is not None and process.stdout.readline() == "configuring\n"
        process.send_signal(signal.SIGTERM)
        _, errors = process.communicate(timeout=20)
    finally:
        process.kill()
    assert process.returncode == 0 and "Traceback" not in errors, errors
    assert "configured in" in errors and "active: task" not in errors


FULL = """
import resource
resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0))
from dataclasses import replace
import numpy as np
from cldyn_core.types import EngineSettings, FramePair
from cldyn_ros.fusion_node import load_engine
engine = load_engine(EngineSettings(device="cpu"))
for task in engine.available_tasks:
    engine.apply(replace(engine.settings, task=task))
    result = engine.step(FramePair(np.zeros((48, 64, 3), np.uint8), np.zeros((48, 64), np.uint8)))
    print(f"fused for {result.task.value}{result.error}")
"""


def test_a_disk_that_takes_no_byte_keeps_no_task_from_its_work(tmp_path: Path) -> None:
    """On a machine that never ran it: no cache of anything is there."""
    home = dict.fromkeys(("HOME", "XDG_CACHE_HOME", "YOLO_CONFIG_DIR"), str(tmp_path))
    command = [sys.executable, "-c", FULL]
    done = subprocess.run(command, env=os.environ | home, capture_output=True, text=True, timeout=100, check=False)
    assert done.returncode == 0, done.stderr
    fused = [line for line in done.stdout.splitlines() if line.startswith("fused for ")]
    assert fused == [f"fused for {task.value}" for task in tasks.available_tasks(EngineSettings())], done.stdout
