"""The methods that an evaluation puts side by side: from a pair to a fused image."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from cldyn_core import tasks
from cldyn_core.checkpoint import load_weights, read_manifest, resolve_weights, variants
from cldyn_core.classical import CLASSICAL
from cldyn_core.data.images import PairError, read_visible
from cldyn_core.data.pairs import IMAGE_SUFFIXES
from cldyn_core.engine.colors import to_image
from cldyn_core.engine.noise import denoised
from cldyn_core.model import CLDyN
from cldyn_core.tasks.base import TaskNetwork
from cldyn_core.types import CompensationPlan, EngineSettings, LabelledPair, LoopMode, Task, as_pair_batch

NETWORKS = ("vfn", "cldyn", "stream")
"""Methods of this project: without compensation, with it, with plans that are held over the frames of a sequence."""


@dataclass(frozen=True)
class MethodSpec:
    """A method as plain data, to be built in any process."""

    name: str
    """In the tables."""
    kind: str
    """One of CLASSICAL, NETWORKS, or "folder": images that somebody else fused."""
    source: str = ""
    """Weights of the network, or the folder."""
    task: Task = Task.NONE
    """Whose network closes the loop."""
    task_weights: str = "default"
    denoise: bool = True
    """Sensor noise is taken out of what a network sees, as the engine does."""

    def identity(self) -> dict[str, str]:
        """All that decides the images, for the cache; a folder's images are looked at one by one."""
        known = {"kind": self.kind, "task": self.task.value if self.kind == "cldyn" else ""}
        if self.kind in NETWORKS:
            known["denoise"] = str(self.denoise)
            known["weights"] = read_manifest(resolve_weights(self.source, "cldyn"))["sha256"]
        if self.kind == "cldyn":
            known["network"] = read_manifest(tasks.weights_path(self.task, self.task_weights))["sha256"]
        return known


@dataclass(frozen=True)
class Fused:
    """What a method makes of a pair."""

    image: NDArray[np.uint8]
    """(H, W, 3) RGB."""
    plan: CompensationPlan | None = None


Method = Callable[[LabelledPair], Fused]


def parse_method(text: str, task: Task, weights: str, task_weights: Mapping[Task, str]) -> MethodSpec:
    """A method by name ("average", "vfn", "cldyn", "cldyn-detection", "cldyn-detection-stream"), or "name=folder",
    "name=weights.safetensors", "name=paper" (bundled weights, unless there is a folder of that name).

    task: the one for which "cldyn" and named weights close the loop. Raises ValueError that says what is wrong.
    """
    name, equals, source = text.partition("=")
    base, _, suffix = name.removesuffix("-stream").partition("-")
    if equals:
        return _given(name, Path(source), task, task_weights)
    if name in CLASSICAL:
        return MethodSpec(name, name)
    if name == "vfn":
        return MethodSpec(name, name, weights)
    if base == "cldyn" and suffix in {"", *(each.value for each in Task if each is not Task.NONE)}:
        closing = Task(suffix) if suffix else task
        closed = _closed(name, weights, closing, task_weights)
        return replace(closed, kind="stream") if name.endswith("-stream") else closed
    known = ", ".join([*CLASSICAL, "vfn", "cldyn", "cldyn-detection", "..."])
    raise ValueError(f"unknown method {text!r}. Remedy: one of {known}; or name=folder, name=weights.safetensors")


def _given(name: str, source: Path, task: Task, task_weights: Mapping[Task, str]) -> MethodSpec:
    if not name:
        raise ValueError(f"={source}: the method has no name. Remedy: name={source}")
    if source.is_dir():
        return MethodSpec(name, "folder", str(source))
    if source.suffix == ".safetensors" or str(source) in variants():
        read_manifest(resolve_weights(str(source), "cldyn"))  # complain now, not in a worker
        return _closed(name, str(source), task, task_weights)
    raise ValueError(
        f"method {name!r}: {source} is neither a folder of fused images nor a .safetensors file "
        f"nor one of the bundled weights ({', '.join(variants())})"
    )


def _closed(name: str, weights: str, task: Task, task_weights: Mapping[Task, str]) -> MethodSpec:
    if task is Task.NONE:
        raise ValueError(f"method {name!r} needs a task to close the loop. Remedy: cldyn-detection, or --task")
    return MethodSpec(name, "cldyn", weights, task, task_weights.get(task, "default"))


def stream_settings(spec: MethodSpec, device: str) -> EngineSettings:
    """Of an engine that runs a method of kind "stream", with its default period."""
    settings = tasks.with_weights(spec.task, spec.task_weights)
    settings = replace(settings, task=spec.task, loop_mode=LoopMode.STREAM, weights=spec.source, device=device)
    return replace(settings, denoise=spec.denoise)


class Methods:
    """Builds methods; networks are loaded once."""

    def __init__(self, device: torch.device) -> None:
        self.device = device
        self._models: dict[str, CLDyN] = {}
        self._networks: dict[tuple[Task, str], TaskNetwork] = {}

    def model(self, weights: str) -> CLDyN:
        """A CLDyN on the device, in evaluation mode."""
        if weights not in self._models:
            self._models[weights] = load_weights(resolve_weights(weights, "cldyn")).to(self.device)
        return self._models[weights]

    def network(self, task: Task, weights: str) -> TaskNetwork:
        """A task network on the device, in evaluation mode."""
        key = (task, weights)
        if key not in self._networks:
            self._networks[key] = tasks.create(task, tasks.with_weights(task, weights), self.device)
        return self._networks[key]

    def build(self, spec: MethodSpec) -> Method:
        """The method of a description; not of a stream, which single pairs do not make."""
        if spec.kind in CLASSICAL:
            fusion = CLASSICAL[spec.kind]
            return lambda pair: Fused(fusion(pair.visible, pair.infrared))
        if spec.kind == "folder":
            return FusedFolder(Path(spec.source))
        model = self.model(spec.source)

        def seen(pair: LabelledPair) -> tuple[Tensor, Tensor]:
            return as_pair_batch([without_noise(pair) if spec.denoise else pair], self.device)

        if spec.kind == "vfn":
            return lambda pair: Fused(to_image(model.first_pass(*seen(pair)).rgb))
        network = self.network(spec.task, spec.task_weights)

        def closed_loop(pair: LabelledPair) -> Fused:
            result = model(*seen(pair), network.feature, spec.task)
            return Fused(to_image(result.rgb), result.plan)

        return closed_loop


def without_noise(pair: LabelledPair) -> LabelledPair:
    """As an engine with `denoise` sees it."""
    (visible, _), (infrared, _) = denoised(pair.visible, 255.0), denoised(pair.infrared, 255.0)
    return replace(pair, visible=visible, infrared=infrared)


class FusedFolder:
    """Images that somebody else fused, found by the pair's name."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._files = {
            path.relative_to(folder).with_suffix("").as_posix(): path
            for path in sorted(folder.rglob("*"))
            if path.suffix.lower() in IMAGE_SUFFIXES
        }

    def path(self, name: str) -> Path:
        """The file of a pair `data set/name`. Raises PairError when there is none."""
        entry = name.partition("/")[2]
        found = self._files.get(name) or self._files.get(entry) or self._files.get(entry.rpartition("/")[2])
        if found is None:
            raise PairError(f"{self.folder}: no fused image for {name}. Remedy: name it {entry}.png")
        return found

    def __call__(self, pair: LabelledPair) -> Fused:
        """Read. Raises PairError for an image of another size than the visible one."""
        path = self.path(pair.name)
        image = read_visible(path)
        if image.shape != pair.visible.shape:
            sizes = [f"{shape[1]}x{shape[0]}" for shape in (image.shape, pair.visible.shape)]
            raise PairError(f"{path}: is {sizes[0]}, its visible image {sizes[1]}. Remedy: resize it, or leave it out")
        return Fused(image)


def plan_choices(plan: CompensationPlan | None) -> list[list[int]]:
    """(configuration, vector) of every branch, both modalities, for a record; empty without a plan."""
    if plan is None:
        return []
    blocks = (*plan.infrared, *plan.visible)
    pairs: Sequence[tuple[int, int]] = [
        (int(c), int(v))
        for block in blocks
        for c, v in zip(block.configurations[0].tolist(), block.vectors[0].tolist(), strict=True)
    ]
    return [list(pair) for pair in pairs]
