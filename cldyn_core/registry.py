"""What a manifest says of its weights, in one typed place; checking and packing weight files."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from sys import float_info
from typing import Any

import torch

from cldyn_core import tasks
from cldyn_core.checkpoint import (
    CLDYN_KIND,
    WeightsError,
    load_weights,
    read_manifest,
    read_tensors,
    refuse_infinite,
    to_half,
    variant_of,
    write_tensors,
)


@dataclass(frozen=True)
class DataSet:
    """One of the data sets that weights were trained on."""

    name: str
    pairs: int | None
    """None where the manifest does not say."""
    license: str
    """"" where the manifest does not say."""


@dataclass(frozen=True)
class TrainingRecord:
    """The part of a manifest's record that the registry reads. What is absent, or of another type, is empty."""

    data: tuple[DataSet, ...]
    license: str
    """Of the weights."""
    metrics: Mapping[str, float]
    """Held-out figures; the first is the main one."""
    recipe: Mapping[str, Any]
    about: str
    """What they are, in a sentence or two."""
    limits: str
    """What they cannot do, as far as it is known."""

    @classmethod
    def of(cls, record: Mapping[str, Any]) -> TrainingRecord:
        """Read it from the free JSON; never fails, since older manifests say less."""
        metrics = _mapping(record.get("metrics"))
        sound = all(_is_number(value) for value in metrics.values())
        return cls(
            _data_sets(record.get("data"), _mapping(record.get("licenses"))),
            _text(record.get("license")),
            {name: float(value) for name, value in metrics.items()} if sound else {},
            _mapping(record.get("recipe")),
            _text(record.get("about")),
            _text(record.get("limits")),
        )

    @property
    def main_metric(self) -> str:
        """Name and value of the first figure; "" without any."""
        return next((f"{name} {value:.4g}" for name, value in self.metrics.items()), "")

    def lacks(self) -> list[str]:
        """What weights that come with the package must say, and these do not."""
        unlicensed = [each.name for each in self.data if not each.license]
        said = {
            "data (names of the data sets)": self.data,
            f"licenses of {', '.join(unlicensed)}": not unlicensed,
            "license (of the weights)": self.license,
            "metrics (figure: finite number)": self.metrics,
            "recipe": self.recipe,
            "limits": self.limits,
        }
        return [what for what, there in said.items() if not there]


@dataclass(frozen=True)
class WeightFile:
    """A weight file as its manifest describes it."""

    path: Path
    manifest: Mapping[str, Any]

    @classmethod
    def read(cls, path: Path) -> WeightFile:
        """Read the manifest alone. Raises WeightsError when it cannot be used."""
        return cls(path, read_manifest(path))

    @property
    def variant(self) -> str:
        """Under which name it comes with the package; "" for any other file."""
        return variant_of(self.path)

    @property
    def model(self) -> str:
        """Which network of its kind: the name of its model, or else its architecture."""
        architecture = self.manifest["architecture"]
        return str(architecture.get("model") or " ".join(f"{name}={value}" for name, value in architecture.items()))

    @property
    def short_sha256(self) -> str:
        """The first twelve digits."""
        return str(self.manifest["sha256"])[:12]

    @property
    def record(self) -> TrainingRecord:
        """How it was trained, and on what."""
        return TrainingRecord.of(self.manifest["record"])

    @property
    def summary(self) -> str:
        """Kind, model, sha256 and main metric."""
        what = f"{self.manifest['kind']} {self.model}"
        return ", ".join(filter(None, (what, f"sha256 {self.short_sha256}", self.record.main_metric)))


def describe_weights(path: Path) -> str:
    """What is loaded from a file, for a log: its variant or else its name, kind, model, sha256 and main metric.

    Raises WeightsError when its manifest cannot be used.
    """
    file = WeightFile.read(path)
    return f"{file.variant or path.name}: {file.summary}"


def verify(path: Path) -> str:
    """Check a weight file: sha256, manifest, finite values, a network that it fits; of a bundled one also its record.

    Returns what it is; the network is not built where its packages are not installed, which the text says. Raises
    FileNotFoundError or WeightsError for the first fault.
    """
    tensors, _ = read_tensors(path)
    refuse_infinite(path, tensors)
    file = WeightFile.read(path)
    note = _build(file)
    if file.variant and (lacking := file.record.lacks()):
        raise WeightsError(
            f"{path}: the record in its manifest lacks {'; '.join(lacking)}. Remedy: cldyn weights pack --record"
        )
    return f"{file.summary}, {len(tensors)} tensors{note}"


def pack(path: Path, out: Path, *, half: bool = False, record: Mapping[str, Any] | None = None) -> WeightFile:
    """Copy a trained weight file, with the entries of `record` replacing those of its own.

    half: in half precision, but for a CLDyN, which stays as it is. Raises as `read_tensors` does, and WeightsError
    for values that are not finite (any more).
    """
    tensors, manifest = read_tensors(path)
    if half and manifest["kind"] != CLDYN_KIND:
        tensors = to_half(tensors)
    refuse_infinite(path, tensors)
    merged = {**manifest["record"], **(record or {})}
    write_tensors(out, tensors, kind=manifest["kind"], architecture=manifest["architecture"], record=merged)
    return WeightFile.read(out)


def _build(file: WeightFile) -> str:
    """Load it strictly; returns why it was not, if that is no fault of the file."""
    if file.manifest["kind"] == CLDYN_KIND:
        load_weights(file.path)
    elif reason := tasks.missing(file.path):
        return f"; not built: {reason}"
    else:
        tasks.load_network(file.path, torch.device("cpu"))
    return ""


def _data_sets(data: Any, licenses: Mapping[str, Any]) -> tuple[DataSet, ...]:
    """From {name: pairs}, [name, ...] or [{"name", "pairs", "license"}, ...]."""
    if isinstance(data, Mapping):
        data = [{"name": name, "pairs": pairs} for name, pairs in data.items() if _is_number(pairs)]
    found = []
    for item in data if isinstance(data, list) else []:
        said = item if isinstance(item, Mapping) else {"name": item}
        name, pairs = said.get("name"), said.get("pairs")
        if isinstance(name, str):
            count = pairs if isinstance(pairs, int) else None
            found.append(DataSet(name, count, _text(said.get("license") or licenses.get(name))))
    return tuple(found)


def _mapping(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, Mapping) else {}


def _text(value: Any) -> str:
    return value if isinstance(value, str) else ""


def _is_number(value: Any) -> bool:
    return type(value) in (int, float) and abs(value) <= float_info.max  # an integer of JSON may exceed it
