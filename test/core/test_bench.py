"""`cldyn bench`: what it runs, what it makes of the times, what it says. No test depends on a time."""

from __future__ import annotations

import json
from multiprocessing import Pipe
from pathlib import Path
from typing import Any

import pytest
import torch

from cldyn_core import CLDyN
from cldyn_core.bench.floor import floor_ms, multiply_adds
from cldyn_core.bench.laps import FUSION, LOOP, Job, Lap, UnavailableError
from cldyn_core.bench.machine import Probe, peak_memory_mb
from cldyn_core.bench.results import EAGER, PROBE, REFERENCE, SizeResult
from cldyn_core.bench.rounds import END, TURN, Record, serve
from cldyn_core.bench.sides import EngineSide, ReferenceSide, Side
from cldyn_core.bench.subject import write_subject
from cldyn_core.checkpoint import BUNDLED, load_weights
from cldyn_core.cli import main
from cldyn_core.engine.kernels import KernelTables
from cldyn_core.tasks import explain
from cldyn_core.types import Backend, BlockPlan, CompensationPlan, Precision, Task


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> str:
    path = tmp_path_factory.mktemp("bench") / "subject.safetensors"
    write_subject(path)
    return str(path)


def job(weights: str, task: Task = Task.NONE) -> Job:
    return Job(weights, 96, 64, task, "cpu", 1, Backend.TORCH, Precision.FP32)


def test_the_subject_s_compensation_does_something_and_its_fusion_is_the_trained_one(weights: str) -> None:
    subject, bundled = load_weights(weights), load_weights(BUNDLED / "cldyn.safetensors")
    assert not KernelTables(subject).identity
    for name, value in bundled.vfn.state_dict().items():
        assert torch.equal(value, subject.vfn.state_dict()[name])
    query = subject.rsc_ir.blocks[0].query  # an engine must not find anything to skip
    assert query.mlp[-1].weight.count_nonzero() == query.mlp[-1].weight.numel()


def test_the_whole_command_as_a_user_calls_it(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    words = ["bench", "--sizes", "96x64", "--backends", "torch", "--task", "none", "--seconds", "1", "--threads", "1"]
    assert main([*words, "--json", str(tmp_path / "bench.json")]) == 0
    document = json.loads((tmp_path / "bench.json").read_text())
    assert {"stream_vs_reference", "exact_vs_reference", "executor_vs_eager"} <= set(document["ratios"])
    assert all(ratio > 0 for ratio in document["ratios"].values())
    assert document["hardware"]["cores"] >= 1 and document["versions"]["torch"] == torch.__version__
    found = document["sizes"]["96x64"]
    ways = [row["way"] for row in found["rows"]]
    assert ways == ["reference", "first_pass", "open", "exact", "stream_made", "stream_held", "stream"]
    assert {row["rounds"] for row in found["rows"]} == {3} and found["best"] == EAGER
    assert all(floor["distance"] > 0 for floor in found["floors"].values())
    assert found["memory_mb"][REFERENCE] > 50
    printed = capfd.readouterr()
    assert "| torch fp32, stream, plan held" in printed.out and "stream_vs_reference" in printed.out
    assert "random compensation" in printed.out and "round 3" in printed.err


@pytest.mark.skipif(bool(explain(Task.DETECTION)), reason="no detector here")
@pytest.mark.parametrize("side", [ReferenceSide, EngineSide])
def test_a_side_tells_every_stage_of_fusion_and_loop(weights: str, side: type[Side]) -> None:
    laps = side(job(weights, Task.DETECTION)).turn()
    assert {lap.scope for lap in laps} == {FUSION, LOOP}
    for lap in laps:
        fusion, planned = lap.scope == FUSION, lap.way in ("reference", "stream_made", "exact")
        expected = {"execute"} | ({"plan"} if planned else set())
        expected |= set() if fusion else {"convert", "task", "publish"}
        assert set(lap.stages_ms) == expected, lap.way
        assert 0.5 * lap.total_ms < sum(lap.stages_ms.values()) < lap.total_ms + 1.0  # a busy machine takes its share


def test_multiply_adds_are_those_of_the_paper_and_of_the_plan() -> None:
    model = CLDyN()
    assert multiply_adds(model.vfn, None) == 32_076
    block = BlockPlan(torch.tensor([[0, 0, 1, 3]]), torch.tensor([[5, 6, 0, 31]]))
    plan = CompensationPlan((block,), (block,))
    assert multiply_adds(model.vfn, plan) == 32_076 + 2 * (64 * (1 + 1 + 9 + 9) + 64)


def test_the_floor_is_arithmetic_or_memory() -> None:
    rates = {"fp32": 2e9, "copy": 12e6}
    assert floor_ms(3000, 1000, "fp32", rates) == pytest.approx(3.0)  # 6e6 operations; 12 kB take 1 ms
    assert floor_ms(500, 1000, "fp32", rates) == pytest.approx(1.0)
    assert floor_ms(500, 1000, "int8", rates) is None


def test_the_machine_s_rates_are_measured() -> None:
    rates = Probe(torch.device("cpu")).rates()
    assert {"fp32", "copy"} <= set(rates) and min(rates.values()) > 1e6
    assert peak_memory_mb(torch.device("cpu")) is None or peak_memory_mb(torch.device("cpu")) > 10


def lap(way: str, total: float, scope: str = FUSION) -> Lap:
    return Lap(scope, way, total, {"execute": total})


def engine(precision: str, held: list[float], made: list[float]) -> Record:
    turns = [
        [lap("open", a / 2), lap("stream_held", a), lap("stream_made", b)] for a, b in zip(held, made, strict=True)
    ]
    facts = {"backend": "x", "precision": precision, "describe": "x", "memory_mb": 1.0, "multiply_adds": {}}
    return Record(turns, facts)


def records(**engines: Record) -> dict[str, Record]:
    turns = [[lap("reference", value), lap("first_pass", value / 5)] for value in (100.0, 300.0, 100.0)]
    reference = Record(turns, {"memory_mb": 2.0})
    machine = Record([{"fp32": 1e9, "copy": 1e9}, {"fp32": 3e9, "copy": 2e9}], {"memory_mb": 3.0})
    eager = engine("fp32", [80.0, 80.0, 80.0], [90.0, 90.0, 90.0])
    return {REFERENCE: reference, PROBE: machine, EAGER: eager, **engines}


def test_ratios_are_taken_round_by_round() -> None:
    fast = engine("fp32", [10.0, 30.0, 10.0], [20.0, 60.0, 20.0])
    result = SizeResult(records(fast=fast), pixels=1, period=10)
    assert result.best == "fast"
    # One frame in ten plans: 11, 33, 11 ms. The busy second round was busy for both sides.
    assert result.row(FUSION, "fast", "stream").ms == pytest.approx(11.0)  # type: ignore[union-attr]
    assert result.ratios()["stream_vs_reference"] == pytest.approx(100 / 11, abs=1e-3)
    assert result.ratios()["executor_vs_eager"] == pytest.approx(4.0)  # 20 ms to 5, 60 to 15
    assert "exact_vs_reference" not in result.ratios(), "what was not measured is left out"
    assert result.rates == {"fp32": 3e9, "copy": 2e9}


def test_a_reduced_precision_is_not_the_best_where_fp32_was_measured() -> None:
    half = engine("bf16", [1.0, 1.0, 1.0], [1.0, 1.0, 1.0])
    assert SizeResult(records(half=half), pixels=1, period=10).best == EAGER
    assert SizeResult(records(half=half), pixels=1, period=10, usual="bf16").best == "half"


class Speaking:
    """A side that answers twice, or is told to fail."""

    def __init__(self, job: Job) -> None:
        if job.width == 1:
            raise UnavailableError("no such thing here")
        self._left = job.height

    def turn(self) -> str:
        self._left -= 1
        if self._left < 0:
            raise OSError("disk on fire")
        return "a turn"

    def facts(self) -> dict[str, Any]:
        return {"backend": "speech"}


@pytest.mark.parametrize(
    ("width", "turns", "expected"),
    [(1, 0, ["no such thing here"]), (2, 2, ["", "a turn", "a turn"]), (2, 1, ["", "a turn", "OSError: disk on fire"])],
)
def test_a_side_answers_until_its_end_or_says_what_is_wrong(width: int, turns: int, expected: list[str]) -> None:
    ours, theirs = Pipe()
    for word in (TURN, TURN, END):
        ours.send(word)
    serve(Speaking, Job("", width, turns, Task.NONE, "cpu", 1), theirs)
    assert [str(ours.recv()) for _ in expected] == expected
    if turns == 2:
        assert ours.recv()["backend"] == "speech"


@pytest.mark.parametrize("words", [["--sizes", "640"], ["--backends", "abacus"], ["--task", "cooking"]])
def test_usage_errors_are_told(words: list[str], capfd: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as status:
        main(["bench", *words])
    assert status.value.code == 2 and words[1] in capfd.readouterr().err
