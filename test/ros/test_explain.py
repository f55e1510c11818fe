"""What diagnostics say of streams that do not pair, and that following the advice makes them pair."""

from __future__ import annotations

import random
import re
from dataclasses import dataclass, replace

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from cldyn_ros.explain import SyncState, explain_no_match, lag_hint
from cldyn_ros.filters import make_pairer
from cldyn_ros.params import NodeParams, parse
from cldyn_ros.sync import Source
from cldyn_ros.timing import Timing

MS = 1_000_000
NOW = 1_700_000_000_000 * MS
V, IR = Source.VISIBLE, Source.INFRARED


@dataclass(frozen=True)
class Camera:
    """Frames of three seconds. `late_ms`: of the stamps; `latency_ms`: from exposure to arrival, with a jitter."""

    rate: float = 30.0
    late_ms: float = 0.0
    latency_ms: float = 10.0
    phase_ms: float = 0.0
    jitter_ms: float = 0.0

    def frames(self, source: Source, seed: int = 0) -> list[tuple[int, Source, int]]:
        """Arrival, source, stamp."""
        rng = random.Random(seed + (source is IR))
        frames = []
        for k in range(int(3 * self.rate)):
            taken = NOW + round((self.phase_ms + k * 1000 / self.rate) * MS)
            arrival = taken + round((self.latency_ms + rng.uniform(0, self.jitter_ms)) * MS)
            frames.append((arrival, source, taken + round(self.late_ms * MS)))
        return frames


def run(visible: Camera, infrared: Camera, asked: NodeParams, seed: int = 0) -> tuple[int, SyncState]:
    """Number of pairs, and what is known at the end."""
    pairer = make_pairer(asked)
    timing, pairs = Timing(), 0
    frames = visible.frames(V, seed), infrared.frames(IR, seed)
    end = min(stream[-1][0] for stream in frames)
    for arrival, source, stamp in sorted(frame for stream in frames for frame in stream if frame[0] <= end):
        timing.add(source, stamp, arrival, arrival - stamp)
        pairs += len(pairer.offer(source, stamp, None))
    miss = pairer.last_miss_ns
    cameras = {source: camera for source in Source if (camera := timing.camera(source)) is not None}
    state = SyncState(
        asked.sync_tolerance_ms, {s: pairer.counts(s) for s in Source}, None if miss is None else miss / MS,
        offset_ms=asked.sync_infrared_offset_ms, queue=asked.sync_queue, exact=asked.sync_policy == "exact",
        cameras=cameras, lag=timing.lag(),
    )  # fmt: skip
    return pairs, state


def advice(text: str, asked: NodeParams) -> NodeParams:
    """The settings with the advice of `text` followed, alternatives left out."""
    found = re.findall(r"set sync\.(\w+) to (-?[\w.]+)", text.partition("; or, ")[0])
    assert found, text
    return parse({f"sync.{name}": type(getattr(asked, f"sync_{name}"))(value) for name, value in found}, asked)


@given(
    rates=st.tuples(st.sampled_from([5.0, 9.0, 15.0, 30.0, 60.0]), st.sampled_from([5.0, 9.0, 15.0, 30.0])),
    late_ms=st.floats(-3000, 3000),
    phase_ms=st.floats(0, 100),
    jitter_ms=st.floats(0, 4),
    tolerance_ms=st.floats(1, 60),
    seed=st.integers(0, 999),
)
@settings(deadline=None, max_examples=80)
def test_following_the_advice_makes_pairs(
    rates: tuple[float, float], late_ms: float, phase_ms: float, jitter_ms: float, tolerance_ms: float, seed: int
) -> None:
    visible = Camera(rates[0], jitter_ms=jitter_ms)
    infrared = Camera(rates[1], late_ms=late_ms, phase_ms=phase_ms, jitter_ms=jitter_ms)
    asked = NodeParams(sync_tolerance_ms=tolerance_ms)
    followed = []
    while not (result := run(visible, infrared, asked, seed))[0]:
        followed.append(explain_no_match(result[1]))
        assert len(followed) <= 2, followed
        asked = advice(followed[-1], asked)
    if followed:
        assert result[0] > 0.5 * 3 * min(rates)
    if any("infrared_offset" in text for text in followed):
        assert result[1].residual_ms == pytest.approx(0.0, abs=1.0)


@given(st.floats(-200, 200), st.floats(0, 100), st.sampled_from([5.0, 9.0, 30.0]), st.integers(0, 999))
@settings(deadline=None, max_examples=60)
def test_the_lag_of_stamps_is_measured_whatever_rate_and_phase(
    late_ms: float, phase_ms: float, rate: float, seed: int
) -> None:
    jitter_ms = 2.5
    infrared = Camera(rate, late_ms=late_ms, phase_ms=phase_ms, jitter_ms=jitter_ms)
    _, state = run(Camera(jitter_ms=jitter_ms), infrared, NodeParams(), seed)
    assert state.lag is not None
    assert state.lag.ms == pytest.approx(late_ms, abs=jitter_ms)


@given(late_us=st.integers(-14_000, 14_000), jitter_ms=st.floats(0, 2))
@settings(deadline=None, max_examples=40)
def test_equal_stamps_that_are_shifted_get_the_exact_offset(late_us: int, jitter_ms: float) -> None:
    assume(late_us)
    visible, infrared = Camera(latency_ms=8.0, jitter_ms=jitter_ms), Camera(late_ms=late_us / 1000, jitter_ms=jitter_ms)
    asked = NodeParams(sync_policy="exact")
    pairs, state = run(visible, infrared, asked)
    assert pairs == 0
    text = explain_no_match(state)
    assert text.startswith("both cameras deliver, but no two stamps are equal")
    assert run(visible, infrared, advice(text, asked))[0] > 80


def test_exact_without_a_trigger_advises_nearest() -> None:
    pairs, state = run(Camera(30.0), Camera(29.0, phase_ms=3.3), NodeParams(sync_policy="exact"))
    assert pairs == 0
    assert "set sync.policy to nearest" in explain_no_match(state)


def test_the_texts_name_numbers() -> None:
    late = explain_no_match(run(Camera(10.0), Camera(10.0, late_ms=41), NodeParams(sync_tolerance_ms=20))[1])
    assert (
        "infrared stamps lag by about 41 ms, judged by when images arrive, so set sync.infrared_offset_ms to -41"
        in late
    )
    early = explain_no_match(run(Camera(10.0), Camera(10.0, late_ms=-41), NodeParams(sync_tolerance_ms=20))[1])
    assert "infrared stamps lead by about 41 ms" in early and "sync.infrared_offset_ms to 41" in early
    narrow = explain_no_match(run(Camera(10.0), Camera(10.0, phase_ms=40), NodeParams(sync_tolerance_ms=20))[1])
    assert (
        "at visible 10 Hz and infrared 10 Hz the nearest images are up to 50 ms apart, so set sync.tolerance_ms to 51"
        in narrow
    )


def test_images_that_come_too_late_for_the_queue() -> None:
    visible, infrared, asked = Camera(60.0), Camera(60.0, latency_ms=410), NodeParams(sync_tolerance_ms=8)
    pairs, state = run(visible, infrared, asked)
    assert pairs == 0
    found = re.search(
        r"or, if the stamps are right and infrared images only come that late, sync.queue to (\d+)",
        explain_no_match(state),
    )
    assert found
    assert run(visible, infrared, replace(asked, sync_queue=int(found[1])))[0] > 120


def test_different_clocks_are_told_with_their_times() -> None:
    _, state = run(Camera(), Camera(late_ms=-(NOW / MS) + 90_000), NodeParams())
    text = explain_no_match(state)
    assert "stamps are of different clocks: visible 2023-11-14 22:13:" in text
    assert "infrared 1970-01-01 00:01:3" in text and "sync.stamp to arrival" in text


def test_pairs_one_frame_off_are_hinted_at() -> None:
    """Stamps 30 ms late at 30 Hz pair with the next frame, 3 ms away: nothing starves, but the pairs are wrong."""
    pairs, state = run(Camera(), Camera(late_ms=30), NodeParams(sync_tolerance_ms=20))
    assert pairs > 80
    assert lag_hint(state).startswith("infrared stamps lag by about 30 ms")
    assert lag_hint(run(Camera(), Camera(late_ms=30), NodeParams(sync_infrared_offset_ms=-30))[1]) == ""
    assert lag_hint(run(Camera(), Camera(latency_ms=20), NodeParams())[1]) == ""


def test_nothing_is_said_of_what_is_not_known() -> None:
    timing = Timing()
    assert timing.lag() is None and timing.camera(V) is None
    timing.add(V, 0, 5, 5)
    assert timing.camera(V) is None, "stamp 0 is no time"
    for k in range(40):
        timing.add(V, NOW + k, k, 0)
        timing.add(IR, NOW + k, k + 600 * MS, 0)
    assert timing.lag() is None, "images that came long after each other"
