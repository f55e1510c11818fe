"""Reads the two bags of a performance (what was played, what the node published) and says what happened."""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray
from rclpy.serialization import deserialize_message
from sensor_msgs.msg import Image

from cldyn_ros.bag_files import BagReader
from cldyn_ros.convert import to_infrared, to_visible
from cldyn_ros.demo.material import Material
from cldyn_ros.demo.performance import RECORDED, Performance, Switch
from cldyn_ros.stamps import stamp_ns

_INFRARED, _VISIBLE = "/infrared/image_raw", "/visible/image_raw"
_AROUND = 2  # frames before and after a switch that must all have been fused
_LIMIT = 1 << 26


@dataclass(frozen=True)
class FrameReport:
    """One ~/status message."""

    stamp_ns: int
    task: str
    values: dict[str, str]


@dataclass(frozen=True)
class SwitchReport:
    """A change of the task as the recording shows it."""

    switch: Switch
    frames_until: int
    """Frames fused between the request and the first of the new task, itself included; 0: it never came."""
    lost: int
    """Frames played within _AROUND of the switch that were not fused."""


@dataclass(frozen=True)
class Row:
    """Pictures of one frame, (H, W, 3) uint8 RGB each."""

    task: str
    pictures: dict[str, NDArray[np.uint8]]


@dataclass
class Evidence:
    """All that the summary and the sheet tell."""

    material: Material
    played: dict[str, list[int]] = field(default_factory=dict)
    """Stamps of the images played, by topic."""
    reports: list[FrameReport] = field(default_factory=list)
    published: Counter[str] = field(default_factory=Counter)
    """Recorded messages by topic."""
    fused_stamps: set[int] = field(default_factory=set)
    found: Counter[str] = field(default_factory=Counter)
    """Detections by class."""
    switches: list[SwitchReport] = field(default_factory=list)
    rows: list[Row] = field(default_factory=list)
    diagnostics: dict[str, dict[str, str]] = field(default_factory=dict)
    """Values of the last /diagnostics, by the name of the status."""

    def counted(self, status: str, key: str) -> int:
        """A counter of the last /diagnostics; 0 where it never counted."""
        return int(self.diagnostics.get(status, {}).get(key, "0"))

    @property
    def dropped(self) -> dict[str, int]:
        """Why images and pairs were not fused, as the node counted it."""
        counted = {key: self.counted("fusion", key) for key in ("superseded", "refused by engine", "failures")}
        for side in ("visible", "infrared"):
            values = self.diagnostics.get(f"{side} input", {})
            counted |= {f"{side} {key}": int(n) for key, n in values.items() if key.startswith(("dropped", "refused"))}
        return {key: n for key, n in counted.items() if n}


def examine(material: Material, performance: Performance) -> Evidence:
    """Read both bags twice: once for what happened, once for the pictures of the frames that the sheet shows."""
    evidence = Evidence(material)
    for topic, message in _messages(performance, material):
        evidence.published[topic] += 1
        if topic in (_INFRARED, _VISIBLE):
            evidence.played.setdefault(topic, []).append(stamp_ns(message.header))
        elif topic == "/cldyn/status":
            evidence.reports.append(_frame_report(message))
        elif topic == "/cldyn/fused/image_raw":
            evidence.fused_stamps.add(stamp_ns(message.header))
        elif topic == "/diagnostics":
            for status in message.status:
                values = {pair.key: pair.value for pair in status.values}
                evidence.diagnostics[status.name.rpartition(": ")[2]] = values
        elif topic == "/cldyn/detections":
            evidence.found.update(d.results[0].hypothesis.class_id for d in message.detections)
    evidence.switches = [_switch_report(evidence, switch) for switch in performance.switches]
    evidence.rows = _rows(evidence, performance)
    return evidence


def _messages(performance: Performance, material: Material) -> Iterator[tuple[str, Any]]:
    for bag in (material.bag, performance.recording):
        with BagReader(bag) as reader:
            for message in reader.messages([*RECORDED, _INFRARED, _VISIBLE]):
                yield message.topic, deserialize_message(message.data, RECORDED.get(message.topic, Image))


def _frame_report(message: Any) -> FrameReport:
    values = {pair.key: pair.value for pair in message.status[0].values}
    return FrameReport(stamp_ns(message.header), values["task"], values)


def _switch_report(evidence: Evidence, switch: Switch) -> SwitchReport:
    following = evidence.reports[switch.after_frames :]
    position = next((k for k, r in enumerate(following) if r.task == switch.task.value), None)
    if position is None:
        return SwitchReport(switch, 0, 0)
    stamps = evidence.played[_VISIBLE]
    here = stamps.index(following[position].stamp_ns)
    around = stamps[max(0, here - position - _AROUND) : here + _AROUND + 1]
    return SwitchReport(switch, position + 1, sum(stamp not in evidence.fused_stamps for stamp in around))


def _rows(evidence: Evidence, performance: Performance) -> list[Row]:
    """The frame in the middle of each task's first share."""
    chosen: dict[str, int] = {}
    for task in dict.fromkeys(t.value for t in evidence.material.schedule):
        stamps = _first_run([(r.task, r.stamp_ns) for r in evidence.reports], task)
        if stamps:
            chosen[task] = stamps[len(stamps) // 2]
    pictures: dict[int, dict[str, NDArray[np.uint8]]] = {stamp: {} for stamp in chosen.values()}
    names = {_VISIBLE: "visible", _INFRARED: "infrared", "/cldyn/fused/image_raw": "fused", "/cldyn/overlay": "overlay"}
    for topic, message in _messages(performance, evidence.material):
        if topic in names and stamp_ns(message.header) in pictures:
            pictures[stamp_ns(message.header)][names[topic]] = _picture(topic, message)
    return [Row(task, pictures[stamp]) for task, stamp in chosen.items()]


def _first_run(reports: list[tuple[str, int]], task: str) -> list[int]:
    groups = itertools.groupby(reports, key=lambda report: report[0])
    return next(([stamp for _, stamp in group] for name, group in groups if name == task), [])


def _picture(topic: str, message: Any) -> NDArray[np.uint8]:
    if topic == _INFRARED:
        gray = to_infrared(message, _LIMIT)
        if gray.dtype != np.uint8:
            low, high = np.percentile(gray, (1, 99.8))
            gray = np.clip((gray.astype(np.float32) - low) / max(float(high - low), 1.0) * 255, 0, 255).astype(np.uint8)
        return np.repeat(gray[..., None], 3, axis=2)
    return to_visible(message, _LIMIT)
