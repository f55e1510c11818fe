"""Weight files: what was saved comes back; what is not a weight file of ours is refused with a reason."""

from __future__ import annotations

import json
import pickle
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from naive import random_tensors
from safetensors.torch import save_file

from cldyn_core import CLDyN, WeightsError, load_weights, save_weights
from cldyn_core.checkpoint import manifest_path, read_tensors, write_tensors
from cldyn_core.model import Architecture
from cldyn_core.reference import read_reference


@pytest.fixture
def saved(tmp_path: Path) -> Path:
    torch.manual_seed(0)
    path = tmp_path / "a.safetensors"
    save_weights(CLDyN(), path, {"steps": 3})
    return path


def test_round_trip(tmp_path: Path) -> None:
    model = CLDyN.from_reference(random_tensors(3, 5, seed=0))
    save_weights(model, tmp_path / "deep" / "a.safetensors", {"data": "random"})
    loaded = load_weights(tmp_path / "deep" / "a.safetensors")
    assert loaded.architecture == Architecture(3, 5) and not loaded.training
    for name, value in model.state_dict().items():
        assert torch.equal(value, loaded.state_dict()[name]), name
    manifest = json.loads((tmp_path / "deep" / "a.json").read_text())
    assert manifest["record"] == {"data": "random"} and manifest["architecture"] == {"encoder_blocks": 3, "branches": 5}


def test_loads_into_a_model_that_fits_only(saved: Path) -> None:
    model = CLDyN()
    assert load_weights(saved, model) is model
    with pytest.raises(WeightsError, match=r"expected Architecture\(encoder_blocks=4"):
        load_weights(saved, CLDyN(Architecture(encoder_blocks=4)))


def test_a_pickle_is_refused_by_content_and_by_name(tmp_path: Path, saved: Path) -> None:
    for name, content in (
        ("p.pth", b"anything"),
        ("q.safetensors", pickle.dumps([1], protocol=2)),
        ("s.safetensors", pickle.dumps([1])),
    ):
        (tmp_path / name).write_bytes(content)
        with pytest.raises(WeightsError, match=r"pickle.*expected \.safetensors"):
            load_weights(tmp_path / name)
    torch.save({"a": torch.zeros(1)}, tmp_path / "r.safetensors")
    with pytest.raises(WeightsError, match="pickle"):
        load_weights(tmp_path / "r.safetensors")
    with pytest.raises(WeightsError, match=r"saved as \.safetensors"):
        save_weights(CLDyN(), tmp_path / "p.pth")


@pytest.mark.parametrize("keep", [0, 7, 100, -1])
def test_a_truncated_file_is_refused(saved: Path, keep: int) -> None:
    saved.write_bytes(saved.read_bytes()[:keep])
    with pytest.raises(WeightsError, match="truncated or altered"):
        load_weights(saved)


@settings(max_examples=25, deadline=None)
@given(position=st.floats(0, 1, exclude_max=True), bit=st.integers(0, 7))
def test_a_single_flipped_bit_is_noticed(tmp_path_factory: pytest.TempPathFactory, position: float, bit: int) -> None:
    path = tmp_path_factory.mktemp("bits") / "a.safetensors"
    write_tensors(path, {"x": torch.arange(40.0)}, kind="cldyn", architecture={}, record={})
    content = bytearray(path.read_bytes())
    content[int(position * len(content))] ^= 1 << bit
    path.write_bytes(bytes(content))
    with pytest.raises(WeightsError):
        read_tensors(path, kind="cldyn")


def test_missing_files_and_manifests_are_named(tmp_path: Path, saved: Path) -> None:
    with pytest.raises(FileNotFoundError, match="nowhere"):
        load_weights(tmp_path / "nowhere.safetensors")
    for content, text in (
        ("{", "not valid JSON"),
        ("[]", "expected a manifest"),
        ('{"format": "cldyn-weights-1"}', "lacks"),
    ):
        manifest_path(saved).write_text(content)
        with pytest.raises(WeightsError, match=text):
            load_weights(saved)
    manifest_path(saved).unlink()
    with pytest.raises(WeightsError, match=r"manifest a.json is missing"):
        load_weights(saved)


@pytest.mark.parametrize(
    "change",
    [{"sha256": 7}, {"architecture": {"encoder_blocks": "2", "branches": 4}}, {"architecture": []}, {"record": None},
     {"architecture": {"encoder_blocks": 2, "branches": 0}}],
)  # fmt: skip
def test_a_manifest_of_other_types_is_refused(saved: Path, change: dict) -> None:
    manifest = json.loads(manifest_path(saved).read_text())
    manifest_path(saved).write_text(json.dumps(manifest | change))
    with pytest.raises(WeightsError):
        load_weights(saved)


def test_any_header_length_is_no_pickle(tmp_path: Path) -> None:
    for count in range(8, 30):  # one of them has a header whose length begins with the byte of a pickle
        path = tmp_path / "a.safetensors"
        tensors = {f"t{k:0>{count}}": torch.zeros(1) for k in range(8)}
        write_tensors(path, tensors, kind="cldyn", architecture={}, record={})
        assert read_tensors(path)[0].keys() == tensors.keys()


def test_weights_of_something_else_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "d.safetensors"
    write_tensors(path, {"x": torch.zeros(1)}, kind="detector", architecture={}, record={})
    with pytest.raises(WeightsError, match="'detector' weights, expected 'cldyn'"):
        load_weights(path)
    write_tensors(
        path, {"x": torch.zeros(1)}, kind="cldyn", architecture={"encoder_blocks": 2, "branches": 4}, record={}
    )
    with pytest.raises(WeightsError, match="another architecture than CLDyN"):
        load_weights(path)
    write_tensors(path, {"x": torch.zeros(1)}, kind="cldyn", architecture={"depth": 2}, record={})
    with pytest.raises(WeightsError, match="architecture of a CLDyN"):
        load_weights(path)


def test_reference_files(tmp_path: Path) -> None:
    tensors = random_tensors(2, 4, seed=1)
    parts = {
        p: {k.split(".", 1)[1]: v for k, v in tensors.items() if k.startswith(p + ".")}
        for p in ("vfn", "rsc_ir", "rsc_vi")
    }
    torch.save({"net": parts["vfn"]}, tmp_path / "vfn.pth")
    torch.save(
        {"rsc_ir": parts["rsc_ir"], "rsc_vi": parts["rsc_vi"], "bvb": tensors["bvb"], "epoch": 3}, tmp_path / "rsc.pth"
    )
    model = CLDyN.from_reference(read_reference(tmp_path / "vfn.pth", tmp_path / "rsc.pth"))
    expected = CLDyN.from_reference(tensors).state_dict()
    assert all(torch.equal(v, expected[k]) for k, v in model.state_dict().items())
    with pytest.raises(WeightsError, match="no entry 'rsc_ir'"):
        read_reference(tmp_path / "vfn.pth")


class _Payload:
    def __reduce__(self) -> tuple:
        return (Path.touch, (Path("payload-ran"),))


def test_code_in_a_reference_file_is_never_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    torch.save({"net": _Payload()}, tmp_path / "evil.pth")
    with pytest.raises(WeightsError, match="never run"):
        read_reference(tmp_path / "evil.pth")
    assert not Path("payload-ran").exists()
    save_file({"x": torch.zeros(1)}, tmp_path / "plain.safetensors")
    with pytest.raises(WeightsError):
        read_reference(tmp_path / "plain.safetensors")
