"""Weight files: safetensors beside a JSON manifest (sha256, architecture, training record). Never a pickle."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from reprlib import repr as short
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load as parse_safetensors
from safetensors.torch import save as to_safetensors
from torch import Tensor, nn

from cldyn_core.model import Architecture, CLDyN
from cldyn_core.text_files import read_json

MANIFEST_FORMAT = "cldyn-weights-1"
_MANIFEST = {"kind": str, "sha256": str, "architecture": dict, "record": dict}
CLDYN_KIND = "cldyn"
"""Kind of a CLDyN in a manifest; the task networks name theirs themselves."""
BUNDLED = Path(__file__).parent / "weights"
"""Folder of the weights that come with the package; its sub-folders are further, named variants."""
MAX_BYTES = 4 << 30
"""Of a weight file."""
_MAX_BLOCKS = 64  # a network is built before its tensors are compared
DEFAULT = "default"
"""Name of the variant that lies in `BUNDLED` itself."""


class WeightsError(ValueError):
    """A weight file that cannot be used; the text says what was expected."""


def to_half(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The tensors with floating-point ones in half precision."""
    return {name: value.half() if value.is_floating_point() else value for name, value in tensors.items()}


def manifest_path(path: Path) -> Path:
    """`x.safetensors` -> `x.json`, beside it."""
    return path.with_suffix(".json")


def save_weights(model: CLDyN, path: Path | str, record: Mapping[str, Any] | None = None) -> None:
    """Write a CLDyN to `path` (.safetensors) and its manifest beside it. `record`: how it was trained, free JSON."""
    write_tensors(
        path, model.state_dict(), kind=CLDYN_KIND, architecture=model.architecture.as_dict(), record=record or {}
    )


def load_weights(path: Path | str, model: CLDyN | None = None) -> CLDyN:
    """Read a CLDyN, in evaluation mode: a new one of the manifest's architecture, or into `model`, whose architecture
    must fit.

    Raises FileNotFoundError, or WeightsError for a pickle, a truncated or altered file, or one of another architecture.
    """
    tensors, manifest = read_tensors(path, kind=CLDYN_KIND)
    architecture = _architecture(path, manifest["architecture"])
    if model is not None and model.architecture != architecture:
        raise WeightsError(
            f"{path}: weights of another architecture: expected {model.architecture}, the file has {architecture}"
        )
    try:
        model = model or CLDyN(architecture)
    except ValueError as error:
        raise WeightsError(f"{path}: {error}") from error
    load_into(model, tensors, path)
    return model.eval()


def _architecture(path: Path | str, described: dict[str, Any]) -> Architecture:
    numbers = {name: value for name, value in described.items() if name not in {"compensation", "task_tokens"}}
    sound = all(type(value) is int and value > 0 for value in numbers.values())
    sound = sound and type(described.get("task_tokens", False)) is bool
    sound = sound and type(described.get("compensation", "")) is str and numbers.get("encoder_blocks", 0) <= _MAX_BLOCKS
    if set(numbers) != set(Architecture().as_dict()) or not sound:
        raise WeightsError(
            f"{path}: expected the architecture of a CLDyN (encoder_blocks, branches: integers), the blocks at most "
            f"{_MAX_BLOCKS}, not {short(described)}"
        )
    return Architecture(**described)


def write_tensors(
    path: Path | str,
    tensors: Mapping[str, Tensor],
    *,
    kind: str,
    architecture: Mapping[str, Any],
    record: Mapping[str, Any],
) -> None:
    """Write named tensors and their manifest, each file complete or not at all.

    kind: what the tensors are ("cldyn", "detector", ...); architecture: what a loader must build first.
    """
    path = check_target(path)
    content = to_safetensors({k: v.detach().cpu().contiguous() for k, v in tensors.items()})
    manifest = {
        "format": MANIFEST_FORMAT,
        "kind": kind,
        "sha256": hashlib.sha256(content).hexdigest(),
        "architecture": dict(architecture),
        "record": dict(record),
    }
    write_whole(path, content)
    write_whole(manifest_path(path), (json.dumps(manifest, indent=2) + "\n").encode())


def check_target(path: Path | str) -> Path:
    """The path, if weights can be written there; makes its folder. Raises WeightsError for another suffix.

    Call it before a training, not after.
    """
    path = Path(path)
    if path.suffix != ".safetensors":
        raise WeightsError(f"{path}: weights are saved as .safetensors")
    path.parent.mkdir(parents=True, exist_ok=True)
    return path


def read_tensors(path: Path | str, *, kind: str | None = None) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Read and verify a weight file: tensors and manifest. Raises as `load_weights` does, also for another kind
    (None: any).
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"{path}: no such weight file")
    if path.stat().st_size > MAX_BYTES:
        raise WeightsError(f"{path}: larger than {MAX_BYTES} bytes, no weights of ours")
    content = path.read_bytes()
    _refuse_pickle(path, content)
    manifest = read_manifest(path)
    if kind is not None and manifest["kind"] != kind:
        raise WeightsError(f"{path}: these are {manifest['kind']!r} weights, expected {kind!r}")
    digest = hashlib.sha256(content).hexdigest()
    if digest != manifest["sha256"]:
        raise WeightsError(
            f"{path}: truncated or altered: its sha256 is {digest[:12]}..., "
            f"the manifest says {manifest['sha256'][:12]}... Remedy: copy the file and its manifest again"
        )
    try:
        return parse_safetensors(content), manifest
    except (SafetensorError, KeyError, TypeError, ValueError, RuntimeError) as error:  # unknown types
        raise WeightsError(f"{path}: not a readable safetensors file: {error}") from error


def load_into(model: nn.Module, tensors: Mapping[str, Tensor], path: Path | str) -> None:
    """Strict `load_state_dict` of finite values; the WeightsError names the file and the first tensors that do not
    fit.
    """
    own = model.state_dict()
    missing, unknown = sorted(set(own) - set(tensors)), sorted(set(tensors) - set(own))
    wrong = [k for k in own if k in tensors and not _alike(own[k], tensors[k])]
    if missing or unknown or wrong:
        raise WeightsError(
            f"{path}: weights of another architecture than {type(model).__name__}: missing {missing[:3]}, "
            f"unknown {unknown[:3]}, of another shape or type {wrong[:3]}"
        )
    refuse_infinite(path, tensors)
    model.load_state_dict(dict(tensors))


def _alike(own: Tensor, other: Tensor) -> bool:
    """Of one shape, and of one type but for the precision."""
    floats = own.is_floating_point() and other.is_floating_point()
    return own.shape == other.shape and (floats or own.dtype == other.dtype)


def refuse_infinite(path: Path | str, tensors: Mapping[str, Tensor]) -> None:
    """Raise WeightsError, naming the tensors, for values that are not finite."""
    bad = sorted(name for name, value in tensors.items() if not torch.isfinite(value).all())
    if bad:
        raise WeightsError(
            f"{path}: values that are not finite (of this precision) in {len(bad)} tensors: {', '.join(bad[:3])}. "
            "Remedy: weights of an earlier step; if packed in half precision, without it"
        )


def read_manifest(path: Path) -> dict[str, Any]:
    """The manifest beside a weight file; WeightsError when it is missing, unreadable or of another format."""
    beside = manifest_path(path)
    if not beside.is_file():
        raise WeightsError(f"{path}: its manifest {beside.name} is missing. Remedy: copy it beside the file")
    try:
        manifest = read_json(beside)
    except ValueError as error:
        raise WeightsError(f"{beside}: not valid JSON: {error}") from error
    if not isinstance(manifest, dict) or manifest.get("format") != MANIFEST_FORMAT:
        raise WeightsError(f"{beside}: expected a manifest of format {MANIFEST_FORMAT!r}")
    wrong = [key for key, kind in _MANIFEST.items() if not isinstance(manifest.get(key), kind)]
    if wrong:
        raise WeightsError(f"{beside}: the manifest lacks {wrong}, or they are of another type")
    return manifest


def variants() -> dict[str, Path]:
    """Folders of the weights that come with the package, by the variant's name; "default" first."""
    named = sorted({path.parent for path in BUNDLED.glob("*/*.safetensors")})
    return {DEFAULT: BUNDLED} | {folder.name: folder for folder in named if folder.name != DEFAULT}


def variant_of(path: Path) -> str:
    """The variant that a file belongs to; "" for a file that does not come with the package."""
    folder = path.resolve().parent
    return next((name for name, each in variants().items() if each.resolve() == folder), "")


def bundled_files() -> list[Path]:
    """All weight files that come with the package, those of "default" first."""
    return [path for folder in variants().values() for path in sorted(folder.glob("*.safetensors"))]


def resolve_weights(name: str, bundled_name: str) -> Path:
    """Turn the name of a variant ("default", ...) into its file `bundled_name`; anything else is a path, returned
    whether it is there or not.

    Raises WeightsError for a variant without that file, and for a name that is neither a variant nor ends in
    .safetensors.
    """
    if name in variants():
        return _in_variant(name, bundled_name)
    path = Path(name).expanduser()
    if path.suffix != ".safetensors":
        raise WeightsError(
            f"{name}: no such weight file: it does not end in .safetensors, and no weights of that name come with the "
            f"package. Remedy: one of {', '.join(variants())}; `cldyn weights import` converts a reference checkpoint"
        )
    return path


def _in_variant(variant: str, name: str) -> Path:
    files = {folder: {path.stem: path for path in each.glob("*.safetensors")} for folder, each in variants().items()}
    if name not in files[variant]:
        others = [other for other, held in files.items() if name in held]
        raise WeightsError(
            f"the weights {variant!r} hold no {name}, they hold {', '.join(sorted(files[variant])) or 'nothing'}. "
            f"Remedy: {', '.join([*others, 'a path ending in .safetensors'])}"
        )
    return files[variant][name]


def _refuse_pickle(path: Path, content: bytes) -> None:
    is_pickle = content[:1] == b"\x80" and content[8:9] != b"{"  # a safetensors header begins after its 8-byte length
    if is_pickle or content[:4] == b"PK\x03\x04" or path.suffix in {".pt", ".pth", ".pkl", ".bin"}:
        raise WeightsError(
            f"{path}: a pickle (.pt/.pth) can run code and is not loaded; expected .safetensors with its manifest. "
            "Remedy: `cldyn weights import` converts a reference checkpoint"
        )


def write_whole(path: Path, content: bytes) -> None:
    """Write a file so that it is complete or, after an interruption, the old one."""
    partial = path.with_name(path.name + ".part")
    partial.write_bytes(content)
    partial.replace(path)
