"""What an evaluation can be told: `cldyn eval TABLE --config FILE`, or each option on the command line."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from cldyn_core.metrics.fusion import PAPER_FIVE
from cldyn_core.types import Task

Split = Literal["all", "held_out", "train", "val", "test"]
Closing = Literal["none", "detection", "segmentation", "saliency"]


@dataclass(frozen=True, kw_only=True)
class EvalRun:
    """Options of every table."""

    folders: list[str] = field(default_factory=list)
    """Folders of pairs; `cldyn data check` tells if one is fit."""
    out: str = "out/eval"
    """Folder of the report; cache/ in it holds what was measured, so that an interrupted evaluation goes on."""
    split: Split = "all"
    """Which part of each folder: all; held_out, what a training with split share held out; its train, val or test
    part."""
    hold_out: float = 0.2
    """Share of every folder, with split held_out; as the training had it."""
    scene_gap: int = 0
    """With split held_out: as the training had it; 0: the last pairs of the folder."""
    limit: int = 0
    """At most so many pairs, evenly spread; 0: all."""
    longest: int = 0
    """Larger pairs are made smaller until their longer side has so many pixels; 0: as they are."""
    methods: list[str] = field(default_factory=list)
    """Instead of the table's own: visible, infrared, average, maximum, laplacian, vfn, cldyn, cldyn-TASK,
    name=folder of fused images, name=weights.safetensors, name=paper (bundled); with flicker cldyn-TASK-stream."""
    method: list[str] = field(default_factory=list)
    """Beside the others, one each time: --method theirs=folder."""
    reference: str = ""
    """Method that the others are tested against; default: vfn if it is there, else the first."""
    fusion: str = "default"
    """Weights of vfn and cldyn: default, paper (bundled ones) or path of a .safetensors file."""
    detection: str = "default"
    """Weights of the detection network: default or path of a .safetensors file."""
    segmentation: str = "default"
    """Weights of the segmentation network."""
    saliency: str = "default"
    """Weights of the saliency network."""
    denoise: bool = True
    """Sensor noise is taken out of what vfn, cldyn and named weights see, as the node does."""
    rounds: int = 1000
    """Resamplings of the bootstrap intervals."""
    pictures: int = 4
    """Pairs shown in the report, evenly spread."""
    workers: int = 0
    """Processes; 0: one a CPU core, one on a GPU."""
    device: str = "auto"
    """One of auto, cpu, cuda, cuda:1."""

    def __post_init__(self) -> None:
        """Raises ValueError for a number that is out of its range."""
        for name in ("scene_gap", "limit", "longest", "pictures", "workers"):
            if getattr(self, name) < 0:
                raise ValueError(f"{name} must not be negative, not {getattr(self, name)}")
        if not 0 < self.hold_out < 1:
            raise ValueError(f"hold_out must be above 0 and below 1, not {self.hold_out}")
        if self.rounds < 1:
            raise ValueError(f"rounds must be at least 1, not {self.rounds}")

    @property
    def task_weights(self) -> Mapping[Task, str]:
        """Weights of the task networks."""
        return {
            Task.DETECTION: self.detection,
            Task.SEGMENTATION: self.segmentation,
            Task.SALIENCY: self.saliency,
        }


@dataclass(frozen=True, kw_only=True)
class FusionRun(EvalRun):
    """`cldyn eval fusion`: how much of both images the fused one keeps, without labels."""

    metrics: list[str] = field(default_factory=lambda: list(PAPER_FIVE))
    """Fusion metrics; doc/metrics.md explains them. all: every one but fmi, which is slow."""
    task: Closing = "none"
    """Closes the loop of `cldyn` and of named weights; without one cldyn stands there once for every task."""
    flicker: bool = False
    """The pairs are frames of a sequence: measure how it flickers as well."""


@dataclass(frozen=True, kw_only=True)
class TaskRun(EvalRun):
    """`cldyn eval detection | segmentation | saliency`: what one task network makes of each method's images."""

    metrics: list[str] = field(default_factory=list)
    """Fusion metrics beside the task's."""
    left_out: list[str] = field(default_factory=list)
    """Classes that the means do not count; published mIoU of FMB often leaves out background (doc/evaluation.md)."""
    loss: bool = False
    """Show the network's own loss on the images, too: a figure of few pairs moves in jumps."""


@dataclass(frozen=True, kw_only=True)
class CrossDetectorRun(TaskRun):
    """`cldyn eval cross-detector`: the compensation with other detectors than it was trained with."""

    detectors: list[str]
    """Weights of the detectors, .safetensors files or default; each closes its own loop."""


@dataclass(frozen=True, kw_only=True)
class AblationRun(TaskRun):
    """`cldyn eval ablation`: several weights of CLDyN (--method name=FILE) on all tasks with labels and a network."""


@dataclass(frozen=True, kw_only=True)
class SwitchRun(EvalRun):
    """`cldyn eval switch`: whether the task's own plan suits the task best; all tasks with labels and a network."""

    left_out: list[str] = field(default_factory=list)
    """Classes that the means do not count."""


@dataclass(frozen=True, kw_only=True)
class RobustnessRun(EvalRun):
    """`cldyn eval robustness`: what weights lose in worse conditions, compared with the first ones named.

    The sets are the methods, and all weights are theirs: options of either do not matter here, nor pictures.
    """

    set: list[str]
    """Weights, one set each time, the baseline first: --set NAME=FOLDER, with cldyn.safetensors and any of
    detector.safetensors, segmenter.safetensors, saliency.safetensors; --set NAME=default: the bundled ones."""
    degradations: list[str] = field(
        default_factory=lambda: ["rain-heavy", "low-light", "thermal-noise", "fog-100m", "alpha0.4"]
    )
    """Conditions beside the pairs as they are; doc/evaluation.md lists them. With parameters: rain:rate=30."""


@dataclass(frozen=True, kw_only=True)
class ComplexRun(EvalRun):
    """`cldyn eval complex`: the same pairs in worse conditions."""

    degradations: list[str] = field(default_factory=list)
    """Default: every preset, doc/evaluation.md lists them. With parameters: rain:rate=30."""
    task: Closing = "detection"
    """Judges the images and closes the loop; none: Q_AB/F judges."""


@dataclass(frozen=True, kw_only=True)
class EfficiencyRun(EvalRun):
    """`cldyn eval efficiency`: parameters, arithmetic, latency, memory."""

    task: Closing = "detection"
    """Closes the loop of `cldyn`."""
    repeats: int = 5
    """Frames that each method is timed on, in turn with the others."""
