"""Every kept input, and a fixed budget of mutations, through every target; and that the harness sees crashes."""

from __future__ import annotations

import time
from itertools import islice

import pytest
from fuzz_run import CORPUS, CrashError, corpus, mutations, run_one
from fuzz_targets import TARGETS

BUDGET = {"image": 2000, "compressed": 1500, "mcap": 400, "db3": 150, "weights": 400, "parameters": 400, "training": 25}


@pytest.mark.parametrize("name", TARGETS)
def test_foreign_bytes_are_taken_or_refused(name: str) -> None:
    inputs = corpus(name)
    assert inputs and sum(map(len, inputs)) < 1 << 16
    for data in (*inputs, *islice(mutations(inputs, 0), BUDGET[name])):
        run_one(TARGETS[name], data)


def test_every_corpus_has_a_target() -> None:
    assert {path.name for path in CORPUS.iterdir()} == set(TARGETS) == set(BUDGET)


def test_a_wrong_error_a_hang_and_a_waste_of_memory_are_crashes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("fuzz_run.MEGABYTES", 50)
    with pytest.raises(CrashError, match="KeyError"):
        run_one(lambda data: {}[data], b"")
    with monkeypatch.context() as short:
        short.setattr("fuzz_run.SECONDS", 1)
        with pytest.raises(CrashError, match="more than 1 s"):
            run_one(lambda data: time.sleep(5), b"")
    waste: list[bytes] = [b"x" * (800 << 20)]
    waste.clear()  # a higher peak before does not hide it
    with pytest.raises(CrashError, match="MB"):
        run_one(lambda data: waste.append(b"x" * (600 << 20)), b"")
    run_one(lambda data: None, b"")


def test_mutations_are_the_same_for_a_seed_and_differ() -> None:
    first, again = (list(islice(mutations([b"abc", b"12"], 3), 200)) for _ in range(2))
    assert first == again != list(islice(mutations([b"abc", b"12"], 4), 200))
    assert len(set(first)) > 50
