"""Every kept input, and a fixed budget of mutations, through every target; and that the harness sees crashes."""

from __future__ import annotations

import subprocess
import sys
from itertools import islice

import pytest
from fuzz_run import CORPUS, corpus, mutations, run_one
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


HARNESS = """
import time
import fuzz_run
from fuzz_run import CrashError, run_one

def crash(target):
    try:
        run_one(target, b"")
    except CrashError as error:
        return str(error)
    return ""

fuzz_run.MEGABYTES, waste = 50, [b"x" * (800 << 20)]
waste.clear()  # a higher peak before does not hide a later one
print(crash(lambda data: waste.append(b"x" * (600 << 20))))
print(crash(lambda data: {}[data]))
fuzz_run.SECONDS = 1
print(crash(lambda data: time.sleep(5)))
print(crash(lambda data: None))
"""


def test_a_wrong_error_a_hang_and_a_waste_of_memory_are_crashes() -> None:
    """In a process of its own: one that ran other tests may have freed memory to waste."""
    command = [sys.executable, "-c", HARNESS]
    done = subprocess.run(command, cwd=CORPUS.parent, capture_output=True, text=True, timeout=60)
    waste, error, hang, nothing = done.stdout.splitlines()
    assert waste.startswith("grew by 6") and waste.endswith(" MB"), done
    assert error.startswith("KeyError") and hang == "runs for more than 1 s" and not nothing


def test_mutations_are_the_same_for_a_seed_and_differ() -> None:
    first, again = (list(islice(mutations([b"abc", b"12"], 3), 200)) for _ in range(2))
    assert first == again != list(islice(mutations([b"abc", b"12"], 4), 200))
    assert len(set(first)) > 50
