"""The weights that come with the package: variants, what manifests say, and `cldyn weights`."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from cldyn_core import CLDyN, EngineSettings, Task, WeightsError, load_weights, save_weights, tasks
from cldyn_core.checkpoint import bundled_files, manifest_path, read_manifest, resolve_weights, write_tensors
from cldyn_core.cli import main
from cldyn_core.registry import DataSet, TrainingRecord, WeightFile, describe_weights

RECORD: dict[str, Any] = {
    "data": [{"name": "a", "pairs": 3, "license": "MIT"}, {"name": "b", "pairs": 4}],
    "licenses": {"b": "research only"},
    "license": "Apache-2.0, see the data sets for what they allow",
    "metrics": {"map50": 0.51234, "qabf": 0.6},
    "recipe": {"steps": 5},
    "limits": "Trained on seven pairs.",
}


def make_saliency(path: Path, record: dict[str, Any] = RECORD) -> None:
    torch.manual_seed(1)
    tasks.save_network(tasks.build("ctdnet-small", ()), path, record)


@pytest.fixture
def bundled(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A package with the weights default (cldyn, saliency) and paper (cldyn)."""
    folder = tmp_path / "weights"
    torch.manual_seed(0)
    for name in ("cldyn.safetensors", "paper/cldyn.safetensors"):
        save_weights(CLDyN(), folder / name, RECORD)
    make_saliency(folder / "saliency.safetensors")
    monkeypatch.setattr("cldyn_core.checkpoint.BUNDLED", folder)
    return folder


def test_names_of_variants_are_resolved(bundled: Path) -> None:
    assert resolve_weights("default", "cldyn") == bundled / "cldyn.safetensors"
    assert resolve_weights("paper", "cldyn") == bundled / "paper/cldyn.safetensors"
    assert resolve_weights("any/where.safetensors", "cldyn") == Path("any/where.safetensors")
    assert [path.relative_to(bundled).as_posix() for path in bundled_files()] == [
        "cldyn.safetensors", "saliency.safetensors", "paper/cldyn.safetensors",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("name", "wanted", "text"),
    [
        ("papers", "cldyn", r"^papers: no such weight file.*Remedy: one of default, paper;"),
        ("net.pth", "cldyn", r"^net\.pth: .*weights import"),
        ("paper", "saliency", r"'paper' hold no saliency, they hold cldyn\. Remedy: default, a path"),
        ("default", "detector", r"'default' hold no detector, they hold cldyn, saliency\. Remedy: a path"),
    ],
)
def test_other_names_are_refused_with_those_that_exist(bundled: Path, name: str, wanted: str, text: str) -> None:
    with pytest.raises(WeightsError, match=text):
        resolve_weights(name, wanted)


def test_tasks_take_variants_and_say_what_one_lacks(bundled: Path) -> None:
    settings = EngineSettings(saliency_weights="default")
    assert tasks.explain(Task.SALIENCY, settings) == ""
    assert tasks.create(Task.SALIENCY, settings, torch.device("cpu")).model == "ctdnet-small"
    lacking = replace(settings, saliency_weights="paper")
    assert "hold no saliency" in tasks.explain(Task.SALIENCY, lacking)
    assert Task.SALIENCY not in tasks.available_tasks(lacking)
    with pytest.raises(ValueError, match=r"saliency\.weights.*hold no saliency"):
        tasks.create(Task.SALIENCY, lacking, torch.device("cpu"))


def test_a_record_is_read_in_all_its_forms() -> None:
    record = TrainingRecord.of(RECORD)
    assert record.data == (DataSet("a", 3, "MIT"), DataSet("b", 4, "research only"))
    assert record.main_metric == "map50 0.5123" and record.lacks() == []
    assert TrainingRecord.of({"data": ["a", "b"]}).data == (DataSet("a", None, ""), DataSet("b", None, ""))
    assert TrainingRecord.of({"data": {"a": 5}, "licenses": {"a": "MIT"}}).data == (DataSet("a", 5, "MIT"),)
    for old in ({}, {"data": "133 pairs, 33 held out"}, {"data": {"detection": "133 pairs"}}):
        read = TrainingRecord.of(old)
        assert read.data == () and len(read.lacks()) == 5, "older records are read, and say less"


@pytest.mark.parametrize(
    ("change", "text"),
    [
        ({"data": []}, "data"),
        ({"licenses": {}}, "licenses of b"),
        ({"license": ""}, "license (of"),
        ({"metrics": {"map50": float("nan")}}, "metrics"),
        ({"metrics": {"map50": "high"}}, "metrics"),
        ({"recipe": None}, "recipe"),
        ({"limits": ""}, "limits"),
    ],
)
def test_what_bundled_weights_must_say(bundled: Path, change: dict, text: str, capsys: pytest.CaptureFixture) -> None:
    save_weights(CLDyN(), bundled / "paper/cldyn.safetensors", {**RECORD, **change})
    assert main(["weights", "verify"]) == 1
    lines = capsys.readouterr().out.splitlines()
    assert [line[:3] for line in lines] == ["ok ", "ok ", "BAD"]
    assert text in lines[2] and "Remedy: " in lines[2]


def test_verify_says_what_is_sound(bundled: Path, tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    assert main(["weights", "verify"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 3 and all(line.startswith("ok ") for line in lines)
    assert "saliency ctdnet-small" in lines[1] and "map50 0.5123" in lines[1] and "tensors" in lines[1]
    save_weights(CLDyN(), tmp_path / "mine.safetensors")
    assert main(["weights", "verify", str(tmp_path / "mine.safetensors")]) == 0, "only bundled ones need a record"
    with pytest.raises(SystemExit) as stop:
        main(["weights", "verify", "--nonsense"])
    assert stop.value.code == 2


def test_verify_names_every_fault_with_a_remedy(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    def made(name: str) -> Path:
        make_saliency(tmp_path / f"{name}.safetensors")
        return tmp_path / f"{name}.safetensors"

    def rewritten(name: str, architecture: dict | None = None, **changed: torch.Tensor) -> Path:
        path = made(name)
        described = architecture or read_manifest(path)["architecture"]
        tensors = load_file(path) | changed
        write_tensors(path, tensors, kind="saliency", architecture=described, record={})
        return path

    altered, alone = made("altered"), made("alone")
    altered.write_bytes(altered.read_bytes()[:-1])
    manifest_path(alone).unlink()
    infinite = rewritten("infinite", **{"head_1.bias": torch.tensor([torch.inf])})
    faults = {
        altered: "truncated or altered",
        alone: "manifest",
        infinite: "not finite",
        rewritten("wide", {"model": "ctdnet18", "names": []}): "another architecture",
        rewritten("unknown", {"model": "u2net", "names": []}): "u2net",
        rewritten("extra", more=torch.zeros(1)): "unknown ['more']",
        tmp_path / "nowhere.safetensors": "no such weight file",
    }
    assert main(["weights", "verify", *map(str, faults)]) == 1
    lines = capsys.readouterr().out.splitlines()
    for line, (path, text) in zip(lines, faults.items(), strict=True):
        assert line.startswith(f"BAD  {path}") and text in line and "Remedy: " in line, line


def test_verify_without_the_packages_says_so(
    bundled: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    monkeypatch.setattr("cldyn_core.tasks.saliency.SaliencyNetwork.missing", classmethod(lambda cls: "needs pip x"))
    assert main(["weights", "verify"]) == 0
    assert "not built: needs pip x" in capsys.readouterr().out


def test_no_weights_at_all_are_not_sound(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("cldyn_core.checkpoint.BUNDLED", tmp_path)
    assert main(["weights", "verify"]) == 1


def test_list(bundled: Path, capsys: pytest.CaptureFixture) -> None:
    assert main(["weights", "list"]) == 0
    head, *rows, total = capsys.readouterr().out.splitlines()
    assert len(rows) == 3 and head.split()[:4] == ["variant", "name", "kind", "model"]
    saliency, paper = rows[1], rows[2]
    sha256 = read_manifest(bundled / "saliency.safetensors")["sha256"]
    for text in ("default", "saliency", "ctdnet-small", sha256[:12], "a, b (7 pairs)", "map50 0.5123", "Apache-2.0"):
        assert text in saliency
    assert paper.startswith("paper") and "encoder_blocks=2 branches=4" in paper
    size = sum(path.stat().st_size for path in bundled_files()) / 1e6
    assert total.split() == ["total", f"{size:.1f}"]
    assert main(["weights", "list", "--json"]) == 0
    shown = json.loads(capsys.readouterr().out)
    assert [(each["variant"], each["name"]) for each in shown] == [
        ("default", "cldyn"), ("default", "saliency"), ("paper", "cldyn"),
    ]  # fmt: skip
    assert shown[1]["manifest"] == read_manifest(bundled / "saliency.safetensors")


def test_a_log_line(bundled: Path, tmp_path: Path) -> None:
    path = resolve_weights("paper", "cldyn")
    sha256 = read_manifest(path)["sha256"][:12]
    expected = f"paper: cldyn encoder_blocks=2 branches=4, sha256 {sha256}, map50 0.5123"
    assert describe_weights(path) == expected
    make_saliency(tmp_path / "mine.safetensors", {})
    assert describe_weights(tmp_path / "mine.safetensors").startswith(
        "mine.safetensors: saliency ctdnet-small, sha256 "
    )


def test_the_card_says_what_the_manifests_say(bundled: Path, capsys: pytest.CaptureFixture) -> None:
    assert main(["weights", "card"]) == 0
    card = capsys.readouterr().out
    assert [line for line in card.splitlines() if line.startswith("## ")] == [
        "## default: cldyn",
        "## default: saliency",
        "## paper: cldyn",
    ]
    assert card.count("Trained on seven pairs.") == card.count("0.5123") == card.count("research only") == 3


def test_the_printed_card_is_that_of_the_weights_of_this_version(capsys: pytest.CaptureFixture) -> None:
    printed = Path(__file__).parents[2] / "doc/model_card.md"
    assert main(["weights", "card"]) == 0
    assert printed.read_text(encoding="utf-8") == capsys.readouterr().out, "run: cldyn weights card > doc/model_card.md"


def test_pack_halves_and_merges(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    run, out, more = tmp_path / "network.safetensors", tmp_path / "new/saliency.safetensors", tmp_path / "more.json"
    make_saliency(run, {"stage": "saliency", "license": "old"})
    more.write_text(json.dumps(RECORD))
    assert main(["weights", "pack", str(run), "-o", str(out), "--half", "--record", str(more)]) == 0
    assert "lacks" not in capsys.readouterr().out
    assert read_manifest(out)["record"] == {"stage": "saliency", **RECORD}
    assert out.stat().st_size < 0.52 * run.stat().st_size
    before, after = load_file(run), load_file(out)
    for name, value in before.items():
        assert after[name].dtype == (torch.float16 if value.is_floating_point() else value.dtype)
    packed = tasks.load_network(out, torch.device("cpu")).module.state_dict()
    assert all(torch.equal(packed[name], value.half().to(value.dtype)) for name, value in before.items())
    assert main(["weights", "pack", str(run), "-o", str(run)]) == 0, "in place"
    assert "lacks" in capsys.readouterr().out
    assert load_file(run).keys() == before.keys() and WeightFile.read(run).record.license == "old"


def test_a_packed_cldyn_stays_float32(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    torch.manual_seed(0)
    model = CLDyN()
    save_weights(model, tmp_path / "a.safetensors")
    assert (
        main(["weights", "pack", str(tmp_path / "a.safetensors"), "-o", str(tmp_path / "b.safetensors"), "--half"]) == 0
    )
    assert "stays float32" in capsys.readouterr().out
    loaded = load_weights(tmp_path / "b.safetensors").state_dict()
    assert all(torch.equal(value, loaded[name]) for name, value in model.state_dict().items())


def test_pack_refuses_what_would_be_unusable(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    path, out, more = tmp_path / "a.safetensors", tmp_path / "b.safetensors", tmp_path / "more.json"
    write_tensors(path, {"x": torch.tensor([7e4])}, kind="saliency", architecture={}, record={})
    more.write_text("[]")
    for extra, text in (["--half"], "not finite"), (["--record", str(more)], "JSON object"):
        assert main(["weights", "pack", str(path), "-o", str(out), *extra]) == 1
        assert text in capsys.readouterr().err and not out.exists()
