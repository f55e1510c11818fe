"""Reference checkpoints end to end: `.pth` of the published names and shapes, `cldyn weights import`, networks."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from shared_data import SHARED
from torch import Tensor

from cldyn_core import CLDyN, WeightsError, load_weights, tasks
from cldyn_core.cli import main
from cldyn_core.reference import read_reference, read_reference_saliency, to_reference_name

pytestmark = pytest.mark.skipif(SHARED is None, reason="the published names are not on this machine")


def listed(file: str, title: str = "") -> dict[str, tuple[tuple[int, ...], torch.dtype]]:
    """Names, shapes and types of one list of the published names: that under the heading which begins so."""
    assert SHARED is not None
    text = (SHARED / "design" / file).read_text()
    if title:
        text = text[text.index(f"## {title}") :].split("\n## ")[0]
    rows = [line.split("\t") for line in text.splitlines() if "\t" in line]
    names = {}
    for name, shape, *rest in rows:
        dtype = getattr(torch, rest[0]) if rest else (torch.int64 if name.endswith("tracked") else torch.float32)
        names[name] = (tuple(int(n) for n in re.findall(r"\d+", shape)), dtype)
    return names


def randoms(names: dict[str, tuple[tuple[int, ...], torch.dtype]], seed: int) -> dict[str, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    made = {}
    for name, (shape, dtype) in names.items():
        value = torch.randn(shape, generator=generator)
        if dtype == torch.int64:
            value = torch.randint(1, 1000, shape, generator=generator)
        elif name.endswith("running_var"):
            value = 0.5 + value.abs()
        elif len(shape) > 1:
            value = value * (1.5 / value[0].numel()) ** 0.5
        else:
            value = (1.0 if name.endswith("weight") else 0.0) + 0.2 * value  # of a norm, or a bias
        made[name] = value.to(dtype)
    return made


@pytest.fixture(scope="module", params=[2])
def parts(request: pytest.FixtureRequest) -> dict[str, dict[str, Tensor]]:
    """A checkpoint of CLDyN with so many blocks: its parts by their keys, the bank apart."""
    blocks = request.param
    one = listed("keys_cldyn.txt", "RSC")
    rsc = {name.replace("a2si0.", f"a2si{i}."): what for i in range(blocks - 1) for name, what in one.items()}
    made = {"net": randoms(listed("keys_cldyn.txt", f"VFN(num_blocks={blocks})"), 0)}
    made |= {"rsc_ir": randoms(rsc, 1), "rsc_vi": randoms(rsc, 2)}
    bank = torch.linalg.qr(torch.randn(256, 128, generator=torch.Generator().manual_seed(3)))[0].T
    return {**made, "bvb": bank.reshape(4, 32, 256).to(torch.bfloat16)}  # type: ignore[dict-item]


def flat(parts: dict) -> dict[str, Tensor]:
    prefixes = {"net": "vfn", "rsc_ir": "rsc_ir", "rsc_vi": "rsc_vi"}
    named = {f"{prefix}.{name}": v for part, prefix in prefixes.items() for name, v in parts[part].items()}
    return {**named, "bvb": parts["bvb"]}


def pair() -> tuple[Tensor, Tensor, Tensor]:
    """Visible and infrared image, task feature."""
    generator = torch.Generator().manual_seed(4)
    shapes = ((1, 3, 8, 8), (1, 1, 8, 8), (1, 8, 3, 3))
    visible, infrared, feature = (torch.rand(shape, generator=generator) for shape in shapes)
    return visible, infrared, feature


def fused(model: CLDyN) -> list[Tensor]:
    with torch.no_grad():
        return [model.compensated_pass(*pair()).luma]


def choices(model: CLDyN) -> list[Tensor]:
    """What the network's choices are made of, and the kernels of every choice at work."""
    feature, every, made = pair()[2], torch.arange(4)[None], list[Tensor]()
    x = torch.rand(1, 8, 6, 6, generator=torch.Generator().manual_seed(5))
    with torch.no_grad():
        vectors = model.bank()[:, 0][None]
        for block in (*model.rsc_ir.blocks, *model.rsc_vi.blocks):
            task, image = block.describe_task(feature), block.describe_image(x)
            made += [block.logits(task, image), block.query(task, image), block.apply_kernels(x, every, vectors)]
    return made


def same(left: list[Tensor], right: list[Tensor]) -> bool:
    return all(torch.equal(a, b) for a, b in zip(left, right, strict=True))


@pytest.mark.parametrize("parts", [2, 4], indirect=True)
@pytest.mark.parametrize("files", ["one", "two", "parallel"])
def test_import_of_a_cldyn(parts: dict, files: str, tmp_path: Path) -> None:
    sources, given = [tmp_path / "a.pth"], dict(parts)
    if files == "parallel":
        given["net"] = {f"module.{name}": value for name, value in parts["net"].items()}
        given["bvb"] = torch.nn.Parameter(parts["bvb"].view(128, 256))
    if files == "two":
        sources.append(tmp_path / "b.pth")
        torch.save({"net": given.pop("net"), "epoch": 7}, sources[0])
    torch.save({**given, "epoch": 9}, sources[-1])
    out = tmp_path / "cldyn.safetensors"
    assert main(["weights", "import", *map(str, sources), "-o", str(out)]) == 0

    expected, model = flat(parts), load_weights(out)
    state, initial = model.state_dict(), CLDyN(model.architecture).state_dict()
    blocks = len(model.rsc_ir.blocks) + 1
    assert len(state) == len(expected) == {2: 156, 4: 252}[blocks] + 2 * 54 * (blocks - 1) + 1
    for name, value in state.items():
        assert torch.equal(value, expected[to_reference_name(name)].to(value.dtype)), name
        assert not torch.equal(value, initial[name]), f"{name} is left as it was built"
    byhand = CLDyN.from_reference(expected)
    assert same(fused(model), fused(byhand)) and same(choices(model), choices(byhand))
    assert main(["weights", "verify", str(out)]) == 0


def silent(module: torch.nn.Module, outputs: Callable[[], list[Tensor]]) -> list[str]:
    """The tensors of a network whose change changes no output (but counters of training steps)."""
    before, generator, found = outputs(), torch.Generator().manual_seed(5), []
    assert same(before, outputs())
    for name, value in module.state_dict().items():
        if value.is_floating_point():
            kept = value.clone()
            value.add_(torch.rand(value.shape, generator=generator))
            found += [name] if same(before, outputs()) else []
            value.copy_(kept)
    assert same(before, outputs())
    return found


@pytest.mark.parametrize("parts", [2], indirect=True)  # more blocks take longer
def test_every_tensor_of_a_cldyn_matters(parts: dict) -> None:
    model = CLDyN.from_reference(flat(parts))
    assert silent(model.vfn, lambda: fused(model)) == []
    for part in (model.rsc_ir, model.rsc_vi, model.bank):
        assert silent(part, lambda: choices(model)) == []


def saliency_outputs(module: torch.nn.Module) -> list[Tensor]:
    image = torch.randn(1, 3, 32, 32, generator=torch.Generator().manual_seed(6))
    with torch.no_grad():
        seen = module(image)
    return [seen.feature, seen.mask, seen.edge, *seen.side]


@pytest.mark.parametrize("wrap", [dict, lambda t: {"net": {f"module.{k}": v for k, v in t.items()}, "epoch": 1}])
def test_import_of_a_ctdnet(wrap: Callable[[dict], dict], tmp_path: Path) -> None:
    tensors = randoms(listed("keys_ctdnet18.txt"), 7)
    torch.save(wrap(tensors), tmp_path / "r.pth")
    out = tmp_path / "saliency.safetensors"
    assert main(["weights", "import", "--kind", "saliency", str(tmp_path / "r.pth"), "-o", str(out)]) == 0
    network = tasks.load_network(out, torch.device("cpu"))
    state, initial = network.module.state_dict(), tasks.build("ctdnet18", ()).module.state_dict()
    assert network.model == "ctdnet18" and len(load_file(out)) == len(state) == len(tensors) == 242
    for name, value in state.items():
        assert torch.equal(value, tensors[name]) and not torch.equal(value, initial[name]), name
    byhand = tasks.build("ctdnet18", ())
    byhand.module.load_state_dict(tensors)
    assert same(saliency_outputs(network.module), saliency_outputs(byhand.module.eval()))


def test_every_tensor_of_a_ctdnet_matters(tmp_path: Path) -> None:
    torch.save(randoms(listed("keys_ctdnet18.txt"), 7), tmp_path / "r.pth")
    module = read_reference_saliency(tmp_path / "r.pth").module
    assert silent(module, lambda: saliency_outputs(module)) == []


def test_other_files_are_refused(parts: dict, tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    path, names = tmp_path / "r.pth", listed("keys_ctdnet18.txt")
    torch.save({name: value for name, value in randoms(names, 7).items() if name != "head_1.bias"}, path)
    with pytest.raises(WeightsError, match=r"missing \['head_1.bias'\]"):
        read_reference_saliency(path)
    torch.save({**parts, "net": {**parts["net"], "steps": 3}}, path)
    with pytest.raises(WeightsError, match=r"r\.pth: expected tensors alone.*'steps'"):
        read_reference(path)
    far = {name.replace("ir_feb.e1.", "ir_feb.e999999."): value for name, value in parts["net"].items()}
    torch.save({**parts, "net": far}, path)
    with pytest.raises(WeightsError, match="missing"):
        CLDyN.from_reference(read_reference(path))
    with pytest.raises(SystemExit) as stop:
        main(["weights", "import", "--kind", "saliency", str(path), str(path), "-o", str(tmp_path / "x.safetensors")])
    assert stop.value.code == 2 and "one file" in capsys.readouterr().err
