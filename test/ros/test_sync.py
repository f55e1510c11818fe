"""Pairing of two stamped streams, against a brute-force oracle and on the faults a robot meets."""

from __future__ import annotations

import random
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cldyn_ros.sync import NearestPairer, Pair, Reason, Source

MS = 1_000_000
START = 1_000_000 * MS
V, IR = Source.VISIBLE, Source.INFRARED

Arrival = tuple[int, Source, int]
"""Time of arrival, camera, stamp; all in nanoseconds."""


def stream(
    source: Source, period_ms: float, count: int, phase_ms: float = 0.0, latency_ms: float = 0.0
) -> list[Arrival]:
    stamps = [START + int((phase_ms + k * period_ms) * MS) for k in range(count)]
    return [(s + int(latency_ms * MS), source, s) for s in stamps]


def play(pairer: NearestPairer[str], *streams: list[Arrival], flush: bool = True) -> list[Pair[str]]:
    pairs: list[Pair[str]] = []
    for _, source, stamp in sorted(a for s in streams for a in s):
        pairs += pairer.offer(source, stamp, f"{source.value}@{stamp}")
    return pairs + (pairer.flush() if flush else [])


def assert_nothing_lost(pairer: NearestPairer[str]) -> None:
    for source in Source:
        c = pairer.counts(source)
        assert c.offered == c.paired + c.alone + sum(c.dropped.values()) + pairer.waiting(source)


def oracle(visible: list[int], infrared: list[int], tolerance: int) -> set[tuple[int, int]]:
    """Closest first over neighbors of the merged time line; the whole recording is known. Ties go to the older pair."""
    line = sorted([(t, 0) for t in visible] + [(t, 1) for t in infrared])
    edges = sorted((b[0] - a[0], k) for k, (a, b) in enumerate(pairwise(line)) if a[1] != b[1])
    used: set[int] = set()
    pairs = set()
    for gap, k in edges:
        if gap <= tolerance and k not in used and k + 1 not in used:
            used |= {k, k + 1}
            a, b = sorted((line[k], line[k + 1]), key=lambda frame: frame[1])
            pairs.add((a[0], b[0]))
    return pairs


def test_simultaneous_frames_pair_at_once() -> None:
    pairer: NearestPairer[str] = NearestPairer(20 * MS)
    assert pairer.offer(V, START, "v") == []
    (pair,) = pairer.offer(IR, START, "i")
    assert (pair.visible.payload, pair.infrared.payload, pair.gap_ns) == ("v", "i", 0)


def test_single_pair_with_a_gap_does_not_wait_for_an_unknown_rate() -> None:
    pairer: NearestPairer[str] = NearestPairer(20 * MS)
    pairer.offer(IR, START + 7 * MS, "i")
    (pair,) = pairer.offer(V, START, "v")
    assert pair.gap_ns == 7 * MS


def test_synchronized_cameras_never_wait() -> None:
    pairer: NearestPairer[str] = NearestPairer(20 * MS)
    for k in range(30):
        pairer.offer(V, START + k * 33 * MS, "v")
        assert len(pairer.offer(IR, START + k * 33 * MS + 2 * MS, "i")) == 1


def test_30_against_9_hz_keeps_the_slower_rate_at_the_nearest_gap() -> None:
    pairer: NearestPairer[str] = NearestPairer(50 * MS)
    visible, infrared = stream(V, 1000 / 30, 300), stream(IR, 1000 / 9, 90, phase_ms=5)
    pairs = play(pairer, visible, infrared)
    assert len(pairs) >= 89
    gaps = [abs(p.gap_ns) / MS for p in pairs[1:]]
    assert max(gaps) <= 1000 / 60 + 0.001
    assert sum(gaps) / len(gaps) < 9.5  # greedy pairing in order of arrival gives 16.9
    assert pairer.counts(V).dropped[Reason.SURPLUS] > 80
    assert_nothing_lost(pairer)


@pytest.mark.parametrize("latency_ms", [0.0, 40.0, 180.0])
def test_latency_of_one_camera_does_not_change_the_pairs(latency_ms: float) -> None:
    pairer: NearestPairer[str] = NearestPairer(20 * MS)
    visible, infrared = stream(V, 33, 60), stream(IR, 33, 60, phase_ms=13, latency_ms=latency_ms)
    pairs = play(pairer, visible, infrared)
    assert {p.gap_ns for p in pairs} == {13 * MS}
    assert len(pairs) == 60


def test_constant_offset_is_removed() -> None:
    pairer: NearestPairer[str] = NearestPairer(5 * MS, infrared_offset_ns=-30 * MS)
    pairs = play(pairer, stream(V, 33, 40), stream(IR, 33, 40, phase_ms=30))
    assert len(pairs) == 40
    assert {p.gap_ns for p in pairs} == {0}


def test_stamps_too_far_apart_are_counted_and_measured() -> None:
    pairer: NearestPairer[str] = NearestPairer(10 * MS)
    assert play(pairer, stream(V, 1000, 10), stream(IR, 1000, 10, phase_ms=130)) == []
    assert pairer.last_miss_ns in (130 * MS, 870 * MS)
    assert pairer.counts(V).dropped[Reason.UNMATCHED] == 10
    assert_nothing_lost(pairer)


def test_silent_camera_bounds_the_queue() -> None:
    pairer: NearestPairer[str] = NearestPairer(20 * MS, queue=4)
    assert play(pairer, stream(V, 33, 50), flush=False) == []
    assert pairer.waiting(V) == 4
    assert pairer.counts(V).dropped == {Reason.UNMATCHED: 46}


def test_infrared_that_stops_does_not_hold_back_decided_pairs() -> None:
    """The last pair waits for a nearer frame that never comes; the progress of the other camera ends the wait."""
    pairer: NearestPairer[str] = NearestPairer(30 * MS)
    pairs = play(pairer, stream(V, 33, 30), stream(IR, 33, 10, phase_ms=20), flush=False)
    assert {p.infrared.stamp_ns for p in pairs} == {s for _, _, s in stream(IR, 33, 10, phase_ms=20)}


@pytest.mark.parametrize("count", [5, 200])
def test_bag_loop_goes_on_pairing(count: int) -> None:
    """Both a long bag and one shorter than the reset threshold."""
    pairer: NearestPairer[str] = NearestPairer(20 * MS)
    once = sorted(stream(V, 33, count) + stream(IR, 33, count, phase_ms=4))
    for loop in range(4):
        pairs = []
        for _, source, stamp in once:
            pairs += pairer.offer(source, stamp, "x")
        assert len(pairs) >= count - 4, f"loop {loop}"
    assert_nothing_lost(pairer)


def test_loop_of_one_camera_before_the_other() -> None:
    pairer: NearestPairer[str] = NearestPairer(20 * MS)
    play(pairer, stream(V, 33, 100), stream(IR, 33, 100))
    for stamp in (START, START + 33 * MS):
        pairer.offer(V, stamp, "v")
    pairer.offer(IR, START + 100 * 33 * MS, "stale")
    pairs = play(pairer, stream(V, 33, 100)[2:], stream(IR, 33, 100))
    assert len(pairs) >= 95
    assert_nothing_lost(pairer)


def test_one_stamp_from_the_future_costs_a_few_frames() -> None:
    pairer: NearestPairer[str] = NearestPairer(20 * MS)
    play(pairer, stream(V, 33, 10), stream(IR, 33, 10))
    pairer.offer(V, START + 3_600_000 * MS, "future")
    later_v, later_i = stream(V, 33, 20, phase_ms=330), stream(IR, 33, 20, phase_ms=330)
    assert len(play(pairer, later_v, later_i)) >= 18
    assert_nothing_lost(pairer)


def test_bad_stamps_are_named() -> None:
    pairer: NearestPairer[str] = NearestPairer(20 * MS)
    for stamp in (0, START, START, START - 5 * MS):
        pairer.offer(V, stamp, "v")
    dropped = pairer.counts(V).dropped
    assert dropped == {Reason.NO_STAMP: 1, Reason.DUPLICATE: 1, Reason.OUT_OF_ORDER: 1}


def test_take_newest_hands_out_a_frame_alone() -> None:
    pairer: NearestPairer[str] = NearestPairer(20 * MS)
    play(pairer, stream(V, 33, 3), flush=False)
    frame = pairer.take_newest(V)
    assert frame is not None
    assert frame.stamp_ns == START + 66 * MS
    assert pairer.take_newest(V) is None
    assert pairer.counts(V).alone == 1
    assert_nothing_lost(pairer)


def test_invalid_settings_are_refused() -> None:
    with pytest.raises(ValueError, match="tolerance_ns"):
        NearestPairer(-1)


@given(
    rates=st.tuples(st.sampled_from([5, 9, 15, 25, 30, 60]), st.sampled_from([5, 9, 15, 25, 30, 60])),
    phase_ms=st.floats(0, 60),
    latency_ms=st.floats(0, 30),
    tolerance_ms=st.integers(1, 80),
    drop=st.floats(0, 0.3),
    seed=st.integers(0, 2**16),
)
@settings(deadline=None, max_examples=150)
def test_jittered_streams_equal_the_oracle(
    rates: tuple[int, int], phase_ms: float, latency_ms: float, tolerance_ms: int, drop: float, seed: int
) -> None:
    """Jitter of 3 % of the period and lost frames; a synchronized start lets the pairer measure the rates."""
    rng = random.Random(seed)
    arrivals: list[Arrival] = []
    for source, rate, latency in ((V, rates[0], 0.0), (IR, rates[1], latency_ms)):
        period = 1000 / rate
        lead = stream(source, period, 6, phase_ms=-10_000)
        main = [
            (a + jitter, source, s + jitter)
            for a, _, s in stream(source, period, 40, phase_ms if source is IR else 0.0, latency)
            if rng.random() >= drop and (jitter := int(rng.uniform(-0.03, 0.03) * period * MS)) is not None
        ]
        arrivals += lead + main
    pairer: NearestPairer[str] = NearestPairer(tolerance_ms * MS, queue=64)
    pairs = play(pairer, arrivals)
    stamps = {s: [stamp for _, source, stamp in arrivals if source is s] for s in Source}
    ours = {(p.visible.stamp_ns, p.infrared.stamp_ns) for p in pairs}
    expected = oracle(stamps[V], stamps[IR], tolerance_ms * MS)
    start = START - 5_000 * MS  # the rates are unknown in the lead
    assert {p for p in ours if min(p) > start} == {p for p in expected if min(p) > start}
    assert_nothing_lost(pairer)


@given(
    frames=st.lists(st.tuples(st.sampled_from(list(Source)), st.integers(-200, 400)), max_size=120),
    tolerance_ms=st.integers(0, 60),
    queue=st.integers(1, 8),
)
@settings(deadline=None, max_examples=200)
def test_any_input_keeps_the_invariants(frames: list[tuple[Source, int]], tolerance_ms: int, queue: int) -> None:
    """Arbitrary stamps: bounded queue, nothing lost, nothing used twice, no pair over the tolerance."""
    pairer: NearestPairer[int] = NearestPairer(tolerance_ms * MS, queue=queue, reset_ns=100 * MS)
    pairs: list[Pair[int]] = []
    for number, (source, ms) in enumerate(frames):
        pairs += pairer.offer(source, max(0, START + ms * MS) if ms else 0, number)
        assert pairer.waiting(source) <= queue
        assert_nothing_lost(pairer)  # type: ignore[arg-type]
    pairs += pairer.flush()
    assert_nothing_lost(pairer)  # type: ignore[arg-type]
    assert all(abs(p.gap_ns) <= tolerance_ms * MS for p in pairs)
    used = [f.payload for p in pairs for f in (p.visible, p.infrared)]
    assert len(used) == len(set(used))
    assert all(frames[p.visible.payload][0] is V and frames[p.infrared.payload][0] is IR for p in pairs)
