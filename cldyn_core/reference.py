"""The published reference checkpoints: how to read them, their tensor names, and the way from them to ours."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from cldyn_core.a2si import PROTOTYPE_LENGTH
from cldyn_core.checkpoint import WeightsError, load_into, refuse_infinite
from cldyn_core.model import Architecture, CLDyN
from cldyn_core.tasks.saliency import SaliencyNetwork

# (our name, reference name); `#` stands for a block number. Prefixes: the rest of the name is the same on both sides.
_PREFIXES: tuple[tuple[str, str], ...] = (
    *(
        pair
        for ours, theirs, block in (
            ("vfn.encoder_ir.", "vfn.ir_feb.", "e#."),
            ("vfn.encoder_vi.", "vfn.vi_feb.", "e#."),
            ("vfn.decoder.", "vfn.frb2.", "d#."),
        )
        for pair in (
            (f"{ours}blocks.#.first.", f"{theirs}{block}Dcov1."),
            (f"{ours}blocks.#.second.", f"{theirs}{block}Dcov2."),
            (f"{ours}blocks.#.merge.", f"{theirs}{block}conv."),
        )
    ),
    ("vfn.encoder_ir.stem.", "vfn.ir_feb.bfe."),
    ("vfn.encoder_vi.stem.", "vfn.vi_feb.bfe."),
    ("vfn.attention.channel_mean.", "vfn.frb1.mlp_aa."),
    ("vfn.attention.channel_max.", "vfn.frb1.mlp_ma."),
    ("vfn.attention.spatial_mean.", "vfn.frb1.conv_mean_a."),
    ("vfn.attention.spatial_max.", "vfn.frb1.conv_max_a."),
    ("vfn.decoder.reduce.", "vfn.frb2.f_conv."),
    ("vfn.decoder.out.", "vfn.frb2.res.3."),
    ("vfn.decoder.narrow.", "vfn.frb2.res."),
    *(
        (f"{rsc}.blocks.#.{ours}", f"{rsc}.a2si#.{theirs}")
        for rsc in ("rsc_ir", "rsc_vi")
        for ours, theirs in (
            ("prototypes", "orthogonal_convolutional_prototypes"),
            ("task.first.", "p_task_f.0."),
            ("task.second.", "p_task_f.2."),
            ("image.", "p_img_f."),
            ("architecture.", "a_task_img."),
            ("query.task.first.", "bv_f.p_task_f.0."),
            ("query.task.second.", "bv_f.p_task_f.2."),
            ("query.image.", "bv_f.p_img_f."),
            ("query.mlp.", "bv_f.mlp."),
            ("kernel_1x1.", "mlp_1x1."),
            ("kernel_3x3.", "mlp_3x3."),
            ("norm.", "B_LR.0."),
            ("zero_conv.", "zc."),
        )
    ),
    ("bank.vectors", "bvb"),
)


def to_reference_name(name: str) -> str:
    """Our state-dict name -> the reference's. Raises KeyError for a name that is not of a CLDyN."""
    for ours, theirs in _PREFIXES:
        match = re.match(re.escape(ours).replace(r"\#", r"(\d+)"), name)
        if match:
            return theirs.replace("#", match[1] if match.groups() else "") + name[match.end() :]
    raise KeyError(name)


def model_from_reference(tensors: Mapping[str, Tensor]) -> CLDyN:
    """See CLDyN.from_reference."""
    model = CLDyN(_infer_architecture(tensors))
    wanted = {to_reference_name(name): (name, value) for name, value in model.state_dict().items()}
    missing = sorted(set(wanted) - set(tensors))
    unknown = sorted(k for k in set(tensors) - set(wanted) if k.split(".")[0] in {"vfn", "rsc_ir", "rsc_vi", "bvb"})
    if missing or unknown:
        raise WeightsError(
            f"not a CLDyN checkpoint in the reference layout: {len(missing)} tensors missing {missing[:3]}, "
            f"{len(unknown)} unknown {unknown[:3]}"
        )
    state = {}
    for theirs, (ours, like) in wanted.items():
        if tuple(tensors[theirs].shape) not in _accepted_shapes(theirs, tuple(like.shape)):
            raise WeightsError(f"{theirs} has shape {tuple(tensors[theirs].shape)}, expected {tuple(like.shape)}")
        if tensors[theirs].is_floating_point() != like.is_floating_point():  # batch norms count in integers
            raise WeightsError(f"{theirs} holds {tensors[theirs].dtype}, expected {like.dtype}")
        state[ours] = tensors[theirs].detach().to(like.dtype).reshape(like.shape)
    refuse_infinite("the reference checkpoint", state)
    model.load_state_dict(state)
    return model.eval()


def _accepted_shapes(name: str, shape: tuple[int, ...]) -> tuple[tuple[int, ...], ...]:
    """The bank is saved as (4, 32, 256), but trained as (128, 256)."""
    return (shape, (shape[0] * shape[1], shape[2])) if name == "bvb" else (shape,)


def read_reference(fusion: Path, compensation: Path | None = None) -> dict[str, Tensor]:
    """Read the reference's own files into the flat names that `CLDyN.from_reference` takes.

    `fusion` holds {'net': state dict of the VFN}; `compensation` holds {'rsc_ir', 'rsc_vi', 'bvb', ...}, or
    everything is in one file. Loads tensors only (weights_only): a file that needs more of pickle is refused with a
    WeightsError.
    """
    content, files = _load_tensors_only(fusion), str(fusion)
    if compensation is not None:
        content, files = {**content, **_load_tensors_only(compensation)}, f"{fusion}, {compensation}"
    flat: dict[str, Tensor] = {}
    for part, prefix in (("net", "vfn"), ("rsc_ir", "rsc_ir"), ("rsc_vi", "rsc_vi")):
        if not isinstance(content.get(part), Mapping):
            raise WeightsError(
                f"{files}: no entry {part!r}; the reference layout has 'net', 'rsc_ir', 'rsc_vi' and 'bvb'. "
                "Remedy: if they are in two files, give both"
            )
        flat.update({f"{prefix}.{name}": value for name, value in _state_dict(content[part], files).items()})
    if not isinstance(content.get("bvb"), Tensor):
        raise WeightsError(f"{files}: no tensor 'bvb' (the basis vector bank)")
    flat["bvb"] = content["bvb"]
    return flat


def read_reference_saliency(path: Path) -> SaliencyNetwork:
    """Read a CTDNet-18 of the reference: a state dict, plain or as the entry 'net', 'model' or 'state_dict'.

    In evaluation mode. Raises WeightsError as `read_reference` does, and for tensors that are missing, left over or of
    another shape.
    """
    content: Mapping[str, Any] = _load_tensors_only(path)
    content = next((content[e] for e in ("net", "model", "state_dict") if isinstance(content.get(e), Mapping)), content)
    network = SaliencyNetwork("ctdnet18")
    load_into(network.module, _state_dict(content, path), path)
    network.module.eval()
    return network


def _state_dict(content: Mapping[str, Any], where: object) -> dict[str, Tensor]:
    """By name, without the prefix of a network that was trained in parallel."""
    others = [name for name, value in content.items() if not isinstance(value, Tensor)]
    if others:
        raise WeightsError(f"{where}: expected tensors alone in a state dict, not {others[:3]}")
    return {str(name).removeprefix("module."): value for name, value in content.items()}


def _load_tensors_only(path: Path) -> dict[str, Any]:
    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
    except FileNotFoundError:
        raise
    except Exception as error:
        raise WeightsError(
            f"{path}: damaged, or more than plain tensors, and code in pickles is never run ({type(error).__name__})"
        ) from error
    if not isinstance(content, dict):
        raise WeightsError(f"{path}: holds a {type(content).__name__}, expected a dictionary")
    return content


def _infer_architecture(tensors: Mapping[str, Tensor]) -> Architecture:
    blocks = {m[1] for m in (re.match(r"vfn\.ir_feb\.e(\d+)\.", k) for k in tensors) if m}
    if not blocks:
        raise WeightsError("no VFN encoder blocks (vfn.ir_feb.e0...) among the tensors: not the reference layout")
    last = tensors.get("rsc_ir.a2si0.a_task_img.3.weight")
    branches = last.shape[0] // PROTOTYPE_LENGTH if last is not None else Architecture().branches
    return Architecture(encoder_blocks=len(blocks), branches=branches)
