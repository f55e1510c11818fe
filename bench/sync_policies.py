"""Pairing policies on the same streams: ours, message_filters' ApproximateTimeSynchronizer, and ours around that.

    python bench/sync_policies.py [--seconds 60] [--bag FILE --visible TOPIC --infrared TOPIC --tolerance MS]

message_filters comes with a ROS installation; without it only our own policy is measured. With --bag the streams are
those of a recording, and its stamps are taken for the times of exposure.
"""

from __future__ import annotations

import argparse
import bisect
import importlib.util
import random
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from pathlib import Path
from typing import Any, NamedTuple

from builtin_interfaces.msg import Time
from std_msgs.msg import Header

from cldyn_ros.filters import make_pairer
from cldyn_ros.params import NodeParams
from cldyn_ros.sync import Source

MS = 1_000_000
START = 1_700_000_000_000 * MS
V, IR = Source.VISIBLE, Source.INFRARED


class Shot(NamedTuple):
    """One image, ordered by arrival. `taken`: when it was exposed, in time that never jumps."""

    arrival: int
    source: Source
    stamp: int
    taken: int


@dataclass(frozen=True)
class Camera:
    """A free-running camera: rate, phase, standard deviation of exposures, delay of stamps, share of losses."""

    rate: float = 30.0
    phase_ms: float = 0.0
    jitter_ms: float = 1.0
    late_ms: float = 0.0
    lost: float = 0.0

    def shots(self, source: Source, seconds: float) -> list[Shot]:
        rng = random.Random(f"{source.value}")
        shots, arrival = [], 0
        for k in range(int(seconds * self.rate)):
            taken = START + round((self.phase_ms + k * 1000 / self.rate + rng.gauss(0, self.jitter_ms)) * MS)
            arrival = max(arrival + 1, taken + round(rng.uniform(5, 15) * MS))
            if rng.random() >= self.lost:
                shots.append(Shot(arrival, source, taken + round(self.late_ms * MS), taken))
        return shots


@dataclass(frozen=True)
class Case:
    """Two streams and the settings they get."""

    name: str
    shots: list[Shot]
    tolerance_ms: float = 20.0
    offset_ms: float = 0.0
    jump: int | None = None
    """Arrival of the first image after time has jumped back."""


class Made(NamedTuple):
    """A pair, and the arrival of the image that settled it."""

    visible: Shot
    infrared: Shot
    settled: int


Feed = Callable[[Shot], list[tuple[Shot, Shot]]]


def ours(policy: str, case: Case) -> Feed:
    pairer = make_pairer(
        NodeParams(sync_policy=policy, sync_tolerance_ms=case.tolerance_ms, sync_infrared_offset_ms=case.offset_ms)
    )
    return lambda shot: [
        (pair.visible.payload, pair.infrared.payload) for pair in pairer.offer(shot.source, shot.stamp, shot)
    ]


@dataclass
class Stamped:
    """What message_filters wants of a message."""

    header: Header
    shot: Shot


def theirs(case: Case) -> Feed:
    filters: Any = importlib.import_module("message_filters")
    inputs = {source: filters.SimpleFilter() for source in Source}
    made: list[tuple[Shot, Shot]] = []
    synchronizer = filters.ApproximateTimeSynchronizer(list(inputs.values()), 10, case.tolerance_ms / 1e3)
    synchronizer.registerCallback(lambda visible, infrared: made.append((visible.shot, infrared.shot)))

    def feed(shot: Shot) -> list[tuple[Shot, Shot]]:
        made.clear()
        stamp = Time(sec=shot.stamp // 10**9, nanosec=shot.stamp % 10**9)
        inputs[shot.source].signalMessage(Stamped(Header(stamp=stamp), shot))
        return list(made)

    feed.synchronizer = synchronizer  # type: ignore[attr-defined]  # keeps it alive
    return feed


def cases(seconds: float) -> Iterator[Case]:
    def both(visible: Camera, infrared: Camera) -> list[Shot]:
        return sorted(visible.shots(V, seconds) + infrared.shots(IR, seconds))

    thermal = Camera(phase_ms=5.0, jitter_ms=3.0)
    yield Case("30/30 Hz, jitter 3 ms", both(Camera(), thermal))
    yield Case("30/9 Hz", both(Camera(), Camera(9.0)), 50.0)
    late = both(Camera(), replace(thermal, late_ms=30.0))
    yield Case("30/30 Hz, infrared 30 ms late", late)
    yield Case("the same, offset set to -30", late, offset_ms=-30.0)
    late = both(Camera(10.0), replace(thermal, rate=10.0, late_ms=30.0))
    yield Case("10/10 Hz, infrared 30 ms late", late)
    yield Case("the same, offset set to -30", late, offset_ms=-30.0)
    yield Case("30/30 Hz, 20 % lost", both(Camera(lost=0.2), replace(thermal, lost=0.2)))
    clean = both(Camera(), thermal)
    repeated = [
        Shot(s.arrival + k * 5 * MS, s.source, s.stamp, s.taken)
        for n, s in enumerate(clean)
        for k in range(1 + (n % 10 == 0))
    ]
    yield Case("every tenth image twice", sorted(repeated))
    far = [s._replace(stamp=s.stamp + 3_600_000 * MS) if n % 200 == 100 else s for n, s in enumerate(clean)]
    yield Case("one stamp in 200 an hour ahead", far)
    length = clean[-1].arrival - clean[0].arrival + 30 * MS
    again = [Shot(s.arrival + length, s.source, s.stamp, s.taken + length) for s in clean]
    yield Case("bag that loops once", clean + again, jump=again[0].arrival)


def bag_case(options: argparse.Namespace) -> Case:
    from cldyn_ros.bag_files import BagReader
    from cldyn_ros.replay import header_stamp

    topics = {options.visible: V, options.infrared: IR}
    with BagReader(options.bag) as bag:
        messages = [(m.stamp_ns, topics[m.topic], header_stamp(m.data)) for m in bag.messages(list(topics))]
    shots = [Shot(arrival, source, stamp, stamp) for arrival, source, stamp in messages]
    return Case(options.bag.name, sorted(shots), options.tolerance)


def possible(case: Case) -> int:
    """Pairs of the whole recording, closest exposure first, each image once."""
    line = sorted({(shot.taken, shot.source) for shot in case.shots})
    used: set[int] = set()
    for gap, k in sorted((b[0] - a[0], k) for k, (a, b) in enumerate(pairwise(line)) if a[1] is not b[1]):
        if gap <= case.tolerance_ms * MS and not used & {k, k + 1}:
            used |= {k, k + 1}
    return len(used) // 2


def row(case: Case, policy: str, feed: Feed) -> str:
    made = [Made(*pair, shot.arrival) for shot in case.shots for pair in feed(shot)]
    best, name = possible(case), f"| {case.name} | {policy} "
    if not made:
        return f"{name}| 0 of {best} | | | | | | |"
    gaps = sorted(abs(pair.visible.taken - pair.infrared.taken) / MS for pair in made)
    visible = sorted(shot.taken for shot in case.shots if shot.source is V)
    wrong = sum(
        gap_to(visible, pair.infrared.taken) + MS < abs(pair.visible.taken - pair.infrared.taken) for pair in made
    )
    waits = sorted((pair.settled - max(pair.visible.arrival, pair.infrared.arrival)) / MS for pair in made)
    after = [pair.settled for pair in made if case.jump is not None and pair.settled >= case.jump]
    recovery = "" if case.jump is None else f"{(after[0] - case.jump) / MS:.0f} ms" if after else "never"
    return (
        f"{name}| {len(made)} of {best} | {sum(gaps) / len(gaps):.1f} | {gaps[int(0.95 * len(gaps))]:.1f} "
        f"| {100 * wrong / len(made):.0f} % | {sum(waits) / len(waits):.1f} | {waits[-1]:.0f} | {recovery} |"
    )


def gap_to(times: list[int], time: int) -> int:
    """To the nearest of sorted times."""
    k = bisect.bisect(times, time)
    return min(abs(other - time) for other in times[max(0, k - 1) : k + 1])


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=60.0, help="length of a stream")
    parser.add_argument("--bag", type=Path, help="rosbag2 folder, .mcap or .db3 instead of simulated streams")
    parser.add_argument("--visible", default="/visible/image_raw", help="topic of the bag")
    parser.add_argument("--infrared", default="/infrared/image_raw", help="topic of the bag")
    parser.add_argument("--tolerance", type=float, default=50.0, help="for the bag, in ms")
    options = parser.parse_args(arguments)
    installed = importlib.util.find_spec("message_filters") is not None
    if not installed:
        print("message_filters is not installed: measuring nearest only\n")
    print("| streams | policy | pairs | gap ms | p95 | not the nearest | wait ms | largest | after the jump |")
    print("|---|---|---|---|---|---|---|---|---|")
    for case in [bag_case(options)] if options.bag else cases(options.seconds):
        print(row(case, "nearest", ours("nearest", case)))
        if installed:
            print(row(case, "ApproximateTimeSynchronizer", theirs(case)))
            print(row(case, "approximate", ours("approximate", case)))


if __name__ == "__main__":
    main()
