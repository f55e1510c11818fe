"""Counters, latencies and the texts that name a missing camera; with a clock of the test's own."""

from __future__ import annotations

from collections import Counter

import pytest

from cldyn_ros.health import Health, InputState, Level, Report, SyncState
from cldyn_ros.meters import Rate, Window
from cldyn_ros.sync import Counts, Reason, Source

V, IR = Source.VISIBLE, Source.INFRARED
INPUTS = {V: InputState("/cam/image", 1), IR: InputState("/thermal/image", 1)}


class Bench:
    """Health whose clock stands where it is put."""

    def __init__(self) -> None:
        self.now = 100.0
        self.health = Health(lambda: self.now)

    def run(self, seconds: float, *sources: Source, error: str = "") -> None:
        """10 images a second of each source."""
        for _ in range(round(seconds * 10)):
            self.now += 0.1
            for source in sources:
                self.health.received(source, error)

    def starvation(self, inputs: dict[Source, InputState] | None = None, sync: SyncState | None = None) -> str:
        return self.health.starvation(1000.0, inputs or INPUTS, sync or sync_state())


def sync_state(miss_ms: float | None = None, **dropped: int) -> SyncState:
    """`dropped` of 100 visible frames by reason."""
    visible = Counts(offered=100, dropped=Counter({Reason(k): n for k, n in dropped.items()}))
    return SyncState(50.0, {V: visible, IR: Counts(offered=100)}, miss_ms)


def fusion(bench: Bench) -> Report:
    reports = bench.health.reports("", INPUTS, sync_state(), {"weights": "w"})
    return next(r for r in reports if r.name == "fusion")


def test_window_percentiles() -> None:
    window = Window(size=100)
    assert window.percentile(50) is None
    for k in range(1, 201):
        window.add(float(k))
    assert (window.percentile(50), window.percentile(95), window.percentile(100)) == (151.0, 196.0, 200.0)


def test_rate_follows_a_change_and_a_stop() -> None:
    rate = Rate(span_s=2.0)
    assert rate.hertz(0.0) == 0.0
    for k in range(60):
        rate.add(k / 30)
    assert rate.hertz(59 / 30) == pytest.approx(30.0)
    for k in range(12):
        rate.add(2.0 + k / 5)
    assert rate.hertz(4.2) == pytest.approx(5.0, rel=0.2)
    assert rate.hertz(10.0) == 0.0


def test_no_starvation_while_pairs_come() -> None:
    bench = Bench()
    bench.run(2.0, V, IR)
    bench.health.paired(3.0)
    bench.now += 0.9
    assert bench.starvation() == ""
    assert not bench.health.starving(1000.0)
    bench.now += 0.2
    assert bench.health.starving(1000.0)
    assert bench.starvation().startswith("no pair for 1.1 s; ")


def test_only_the_missing_camera_is_named() -> None:
    bench = Bench()
    bench.run(1.0, V, IR)
    bench.run(2.0, V)
    text = bench.starvation()
    assert "infrared missing: /thermal/image has a publisher, but no frame came for 2.0 s (10 received before)" in text
    assert "visible" not in text
    assert bench.health.silent(IR, 1000.0)
    assert not bench.health.silent(V, 1000.0)


@pytest.mark.parametrize(
    ("state", "text"),
    [
        (InputState("/t", 0), "no publisher on /t"),
        (InputState("/t", 1, other_type="a/msg/B"), "/t is published as a/msg/B"),
        (InputState("/t", 1, True), r"published best effort.*asks for reliable \(qos.reliability\)"),
        (InputState("/t", 2), r"2 publisher\(s\), but no frame arrived; large best-effort images"),
    ],
)
def test_likely_causes(state: InputState, text: str) -> None:
    bench = Bench()
    bench.run(2.0, V)
    with pytest.raises(AssertionError, match="infrared missing: .*" + text):
        raise AssertionError(bench.starvation({V: INPUTS[V], IR: state}))


def test_refused_images_are_the_cause() -> None:
    bench = Bench()
    bench.run(2.0, IR)
    bench.run(2.0, V, error="truncated: 3 bytes")
    assert "visible missing: 20 of 20 frames of /cam/image were refused, last: truncated: 3 bytes" in bench.starvation()


def test_stamps_apart_are_measured() -> None:
    bench = Bench()
    bench.run(2.0, V, IR)
    text = bench.starvation(sync=sync_state(130.0))
    assert "both cameras deliver" in text
    assert "(130 ms at the last miss) than sync.tolerance_ms (50)" in text


@pytest.mark.parametrize("reason", ["no_stamp", "duplicate"])
def test_a_driver_that_does_not_stamp_is_named(reason: str) -> None:
    bench = Bench()
    bench.run(2.0, V, IR)
    assert "visible images carry stamp 0 or repeat their stamp (99 of 100)" in bench.starvation(
        sync=sync_state(**{reason: 99})
    )


def test_fusion_report_has_counts_rates_and_latencies() -> None:
    bench = Bench()
    assert fusion(bench).message == "waiting for the first pair"
    for k in range(20):
        bench.now += 0.1
        bench.health.paired(4.0)
        assert bench.health.fused({"prepare": 2.0}, 10.0 + k) == k + 1
    bench.health.count("superseded")
    bench.health.count("task errors", "detection: oops")
    report = fusion(bench)
    assert (report.level, report.message) == (Level.OK, "fusing")
    expected = {"fused": "20", "rate Hz": "10.0", "prepare p50 ms": "2.0", "total p50 ms": "20.0"}
    expected |= {"total p95 ms": "29.0", "pair gap p50 ms": "4.0"}
    expected |= {"superseded": "1", "task errors": "1", "last error": "detection: oops"}
    assert expected.items() <= report.values.items()
    assert bench.health.fused_rate() == pytest.approx(10.0)


def test_reports_of_inputs_and_engine() -> None:
    bench = Bench()
    bench.run(3.0, V)
    sync = sync_state(surplus=7)
    starvation = bench.starvation(sync=sync)
    visible, infrared, fused, engine = bench.health.reports(starvation, INPUTS, sync, {"weights": "w"})
    assert (visible.name, visible.level, visible.message) == ("visible input", Level.OK, "receiving")
    assert visible.values.items() >= {"rate Hz": "10.0", "received": "30", "dropped surplus": "7"}.items()
    assert (infrared.level, fused.level, fused.message) == (Level.WARN, Level.ERROR, starvation)
    assert engine.values == {"weights": "w"}


def test_failing_pairs_are_an_error_until_one_is_fused() -> None:
    bench = Bench()
    for k in range(3):
        assert fusion(bench).level == Level.OK, f"{k} failures are an accident"
        bench.health.paired(1.0)
        bench.health.failed("failures", "RuntimeError: out of memory")
    report = fusion(bench)
    assert (report.level, report.message) == (Level.ERROR, "the last 3 pairs failed: RuntimeError: out of memory")
    assert report.values["failures"] == "3"
    bench.health.fused({}, 1.0)
    assert fusion(bench).level == Level.OK


def test_an_engine_that_hangs_is_an_error_and_a_pause_of_the_cameras_is_not() -> None:
    bench = Bench()
    bench.health.paired(1.0)
    bench.health.fused({}, 1.0)
    bench.now += 100.0
    assert fusion(bench).level == Level.OK, "no pairs, nothing to fuse"
    bench = Bench()
    for _ in range(70):
        bench.now += 1.0
        bench.health.paired(1.0)
    assert fusion(bench).message == "pairs come, but none was fused for 70 s: the engine hangs, or is far too slow"
