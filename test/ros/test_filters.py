"""The policies; approximate with a stand-in for message_filters where it is not installed."""

from __future__ import annotations

import sys
import types
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cldyn_ros.filters import Pairer, make_pairer
from cldyn_ros.params import NodeParams
from cldyn_ros.sync import NearestPairer, Source

MS = 1_000_000
T0 = 1_000_000 * MS


def pairer_of(policy: str, tolerance_ms: float = 5.0, offset_ns: int = 0) -> Pairer[Any]:
    return make_pairer(
        NodeParams(sync_policy=policy, sync_tolerance_ms=tolerance_ms, sync_infrared_offset_ms=offset_ns / MS)
    )


class SimpleFilter:
    def __init__(self) -> None:
        self.callback: Callable[[Any], None] = lambda _: None

    def signalMessage(self, msg: Any) -> None:  # noqa: N802
        self.callback(msg)


class ApproximateTimeSynchronizer:
    """Pairs the last message of each input; like the real one it never pairs again after time has jumped back."""

    def __init__(self, inputs: list[SimpleFilter], queue: int, slop: float = 0.0) -> None:
        self._slop_ns = round(slop * 1e9)
        self._last: list[Any] = [None] * len(inputs)
        self._newest = 0
        for k, one in enumerate(inputs):
            one.callback = lambda msg, k=k: self._add(k, msg)

    def registerCallback(self, callback: Callable[..., None]) -> None:  # noqa: N802
        self._callback = callback

    def _add(self, k: int, msg: Any) -> None:
        stamp = msg.header.stamp.sec * 1_000_000_000 + msg.header.stamp.nanosec
        if stamp < self._newest - 1_000_000_000:
            return
        self._newest = max(stamp, self._newest)
        self._last[k] = (stamp, msg)
        if all(self._last) and abs(self._last[0][0] - self._last[1][0]) <= self._slop_ns:
            self._callback(self._last[0][1], self._last[1][1])
            self._last = [None, None]


@pytest.fixture(params=["approximate", "exact"])
def policy(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    module = types.ModuleType("message_filters")
    module.SimpleFilter = SimpleFilter  # type: ignore[attr-defined]
    module.ApproximateTimeSynchronizer = ApproximateTimeSynchronizer  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "message_filters", module if request.param == "approximate" else None)
    return str(request.param)


@pytest.mark.parametrize("name", ["nearest", "exact"])
def test_the_built_in_policies_need_no_message_filters(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "message_filters", None)
    assert isinstance(pairer_of(name), NearestPairer)


stamps = st.lists(st.tuples(st.integers(1, 40), st.integers(0, 6)), max_size=40, unique_by=lambda item: item[0])


@given(visible=stamps, infrared=stamps)
@settings(deadline=None, max_examples=200)
def test_exact_pairs_equal_stamps_and_nothing_else(
    visible: list[tuple[int, int]], infrared: list[tuple[int, int]]
) -> None:
    """Whatever is lost and however late one camera is against the other: as long as each delivers in order."""
    pairer = pairer_of("exact", 50, -5)
    arrivals = []
    for source, frames, shift in ((Source.VISIBLE, visible, 0), (Source.INFRARED, infrared, 5)):
        moment = 0
        for stamp, late in sorted(frames):
            moment = max(moment, stamp + late)
            arrivals.append((moment, stamp, source, T0 + stamp * MS + shift))
    pairs = [pair for *_, source, stamp in sorted(arrivals) for pair in pairer.offer(source, stamp, stamp)]
    pairs += pairer.flush()
    both = {stamp for stamp, _ in visible} & {stamp for stamp, _ in infrared}
    assert [pair.visible.payload for pair in pairs] == [T0 + stamp * MS for stamp in sorted(both)]
    assert all(pair.infrared.payload == pair.visible.payload + 5 and pair.gap_ns == 0 for pair in pairs)


def test_missing_message_filters_is_refused_with_the_remedy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "message_filters", None)
    with pytest.raises(ValueError, match=r"message-filters, or use sync\.policy 'nearest'"):
        pairer_of("approximate")


def test_pairs_with_the_offset_applied_and_counts(policy: str) -> None:
    pairer = pairer_of(policy, 10, -30 * MS)
    assert pairer.offer(Source.VISIBLE, T0, "v") == []
    (pair,) = pairer.offer(Source.INFRARED, T0 + 30 * MS, "i")
    assert (pair.visible.payload, pair.infrared.payload, pair.gap_ns) == ("v", "i", 0)
    assert pair.infrared.stamp_ns == T0 + 30 * MS
    assert (pairer.counts(Source.VISIBLE).paired, pairer.counts(Source.INFRARED).offered) == (1, 1)
    assert pairer.take_newest(Source.VISIBLE) is None


def test_a_bag_loop_rebuilds_the_synchronizer(policy: str) -> None:
    pairer = pairer_of(policy, 10)
    for loop in range(3):
        for k in range(100):
            pairer.offer(Source.VISIBLE, T0 + k * 33 * MS, "v")
            assert len(pairer.offer(Source.INFRARED, T0 + k * 33 * MS, "i")) == 1 or k == 0, f"loop {loop}, frame {k}"


@pytest.mark.parametrize("policy", ["approximate"], indirect=True)  # exact has no tolerance
def test_a_new_tolerance_takes_effect(policy: str) -> None:
    pairer = pairer_of(policy)
    pairer.offer(Source.VISIBLE, T0, "v")
    assert pairer.offer(Source.INFRARED, T0 + 8 * MS, "i") == []
    pairer.tolerance_ns = 10 * MS
    pairer.offer(Source.VISIBLE, T0 + 100 * MS, "v")
    assert len(pairer.offer(Source.INFRARED, T0 + 108 * MS, "i")) == 1


def test_take_newest_is_the_last_frame_once(policy: str) -> None:
    pairer = pairer_of(policy)
    pairer.offer(Source.VISIBLE, T0, "a")
    pairer.offer(Source.VISIBLE, T0 + 33 * MS, "b")
    frame = pairer.take_newest(Source.VISIBLE)
    assert frame is not None
    assert frame.payload == "b"
    assert pairer.take_newest(Source.VISIBLE) is None
