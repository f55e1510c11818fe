"""The plain data that travels through the project: shapes, ranges and units are said here, once.

Arrays on the host are NumPy, images HWC; tensors inside the network are (B, C, H, W) float32 in [0, 1].
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import Enum
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

M3FD_CLASSES: tuple[str, ...] = ("People", "Car", "Bus", "Lamp", "Motorcycle", "Truck")
"""Class names of the M3FD detection set, in the order of their indices."""


THERMAL_MIN_COUNTS = 100.0
"""Smallest automatic range of 16-bit infrared: about 3 K of raw 14-bit counts, 1 K where a count is 0.01 K."""
THERMAL_MIN_KELVIN = 2.0
"""Smallest automatic range of temperatures, as float infrared has them: 40 times the noise of a 50 mK camera."""

IGNORED = 255
"""Class index of pixels without a ground truth, in a LabelMap."""


class Task(str, Enum):
    """What the fused image is for. The value is what `ros2 param set /cldyn task` takes."""

    NONE = "none"
    DETECTION = "detection"
    SEGMENTATION = "segmentation"
    SALIENCY = "saliency"


class LoopMode(str, Enum):
    """How the task's requirement reaches the fusion.

    EXACT: planned from this frame's own first pass, as the paper does. STREAM: the plan is held over frames and made
    anew from what the task network saw in the previous compensated frame. OPEN: no compensation, VFN only.
    """

    EXACT = "exact"
    STREAM = "stream"
    OPEN = "open"


class Backend(str, Enum):
    """What executes the fusion network. AUTO: the fastest one that runs here and keeps the quality."""

    AUTO = "auto"
    TORCH = "torch"
    COMPILED = "compiled"
    NATIVE = "native"
    OPENVINO = "openvino"
    ONNXRUNTIME = "onnxruntime"


class Precision(str, Enum):
    """Arithmetic of the fusion network. AUTO: fp32 on a CPU, fp16 on a GPU."""

    AUTO = "auto"
    FP32 = "fp32"
    BF16 = "bf16"
    FP16 = "fp16"
    INT8 = "int8"


@dataclass(frozen=True)
class FramePair:
    """One infrared and one visible image taken at (nearly) the same time."""

    visible: NDArray[np.uint8]
    """(H, W, 3) RGB, 0..255."""
    infrared: NDArray[Any]
    """(h, w) uint8, uint16 or float32, raw values as the sensor gave them; (h, w) may differ from (H, W)."""
    stamp_ns: int = 0
    """Time of the visible image in nanoseconds."""


@dataclass(frozen=True)
class BlockPlan:
    """What one A2SI block chose: M (configuration, basis vector) pairs for each image of the batch."""

    configurations: Tensor
    """(B, M) int64 in 0..3: 1x1; 3x3 with dilation 1, 2, 3."""
    vectors: Tensor
    """(B, M) int64 in 0..31: index into the 32 basis vectors of that configuration."""


@dataclass(frozen=True)
class CompensationPlan:
    """All that the closed loop hands to the executor: a few integers per modality and encoder block (L - 1 each)."""

    infrared: tuple[BlockPlan, ...]
    visible: tuple[BlockPlan, ...]

    def describe(self, sample: int = 0) -> str:
        """One image's plan as text, `configuration:vector` per branch, for logs and status: `ir0 1:4 2:0 ... | vi0
        ...`.
        """
        parts = []
        for name, blocks in (("ir", self.infrared), ("vi", self.visible)):
            for i, block in enumerate(blocks):
                pairs = zip(block.configurations[sample].tolist(), block.vectors[sample].tolist(), strict=True)
                parts.append(f"{name}{i} " + " ".join(f"{c}:{v}" for c, v in pairs))
        return " | ".join(parts)


@dataclass(frozen=True)
class FusionResult:
    """Output of one pass of the network. Not clamped: clamp to [0, 1] where the image leaves the network."""

    luma: Tensor
    """(B, 1, H, W) fused luma."""
    rgb: Tensor
    """(B, 3, H, W) fused luma with the visible image's chroma."""
    plan: CompensationPlan | None = None
    """None for the first (uncompensated) pass."""


@dataclass(frozen=True)
class Detections:
    """Boxes found in one image."""

    boxes: NDArray[np.float32]
    """(N, 4) x1 y1 x2 y2 in pixels of the fused image."""
    scores: NDArray[np.float32]
    """(N,) in [0, 1], best first."""
    labels: NDArray[np.int64]
    """(N,) indices into `names`."""
    names: tuple[str, ...]
    annotated: tuple[int, ...] | None = None
    """Of a ground truth: the classes that were looked for; None: all. The others may be there without a box."""


@dataclass(frozen=True)
class LabelMap:
    """Semantic segmentation of one image."""

    classes: NDArray[np.uint8]
    """(H, W) class index; IGNORED where a ground truth says nothing."""
    names: tuple[str, ...]


@dataclass(frozen=True)
class SaliencyMap:
    """Salient object map of one image."""

    values: NDArray[np.uint8]
    """(H, W), 0 = background, 255 = salient."""


TaskTarget = Detections | LabelMap | SaliencyMap
"""A ground truth: what a perfect network would answer."""
TaskOutput = TaskTarget | None


@dataclass(frozen=True)
class LabelledPair:
    """One registered pair and its ground truth, as the trainings use it."""

    visible: NDArray[np.uint8]
    """(H, W, 3) RGB."""
    infrared: NDArray[np.uint8]
    """(H, W), on the visible image's pixels."""
    target: TaskOutput = None
    """None without labels."""
    name: str = ""
    """File and data set, for error messages."""


@dataclass(frozen=True)
class EngineSettings:
    """All that can be asked of a FusionEngine. Immutable: change it with `dataclasses.replace` and
    `FusionEngine.apply`.
    """

    task: Task = Task.NONE
    loop_mode: LoopMode = LoopMode.EXACT
    loop_period: int = 15
    """In stream mode a plan is made anew after so many frames; at once on a switch of the task and another scene."""
    backend: Backend = Backend.AUTO
    """Fixed once the engine is built, as is the precision. One that cannot run here gives way, with a warning."""
    precision: Precision = Precision.AUTO
    weights: str = "default"
    """"default", "paper" (bundled ones) or path of a .safetensors file. Fixed once the engine is built."""
    device: str = "auto"
    """One of "auto" (CUDA if there is one), "cpu", "cuda", "cuda:1". Fixed once the engine is built."""
    thermal_range: str = "auto"
    """With "auto": percentiles smoothed over time for 16-bit and float infrared (8-bit is taken as it is); "fixed":
    `thermal_limits`.
    """
    thermal_limits: tuple[float, float] = (0.0, 65535.0)
    """Sensor values shown black and white when thermal_range is "fixed"."""
    thermal_min_span: float = 0.0
    """Sensor values that an "auto" range spans at least; 0: THERMAL_MIN_COUNTS of 16-bit images, THERMAL_MIN_KELVIN of
    float images.
    """
    denoise: bool = True
    """Take sensor noise out of images that have much of it: thermal cameras without contrast, color cameras at night.
    Others stay as they are.
    """
    homography: tuple[float, ...] = ()
    """Row-major 3x3 from infrared pixels to visible pixels; empty: stretch the infrared image onto the visible one."""
    calibration: str = ""
    """Path of a calibration of both cameras (doc/calibration.md), instead of a homography; empty: none."""
    detector_weights: str = "default"
    """"default" (the bundled ones) or path of a .safetensors file; likewise the two below."""
    segmentation_weights: str = "default"
    saliency_weights: str = "default"
    detector_confidence: float = 0.25
    detector_iou: float = 0.5
    max_pixels: int = 1 << 22
    """Larger pairs are refused with an error that names this limit."""
    max_batch: int = 0
    """Streams that step as one batch where several share networks; 0: 8 on a GPU, 1 on a CPU. Fixed, as the backend;
    the backend native takes one.
    """


@dataclass(frozen=True)
class StepResult:
    """What FusionEngine.step makes of one FramePair."""

    fused: NDArray[np.uint8]
    """(H, W, 3) RGB, size of the visible image."""
    task: Task
    mode: LoopMode
    """Open where the loop was opened by an error, else as set."""
    output: TaskOutput = None
    """The task network's answer on the fused image; None when the task is none."""
    plan: CompensationPlan | None = None
    """None in open mode and without a task."""
    plan_age: int = 0
    """Frames since the plan was made; 0 in exact mode."""
    timings_ms: Mapping[str, float] = field(default_factory=dict)
    """Milliseconds by stage, in order: prepare, encode, first_pass, requirement, plan, execute, task, finish; of those
    that ran.
    """
    noise: tuple[float, float] = (0.0, 0.0)
    """Of the visible and the infrared image as they came, in gray levels of 255; 0 where it was not looked for."""
    error: str = ""
    """Why the loop is open for this frame (the task network failed), and when it is tried again; else empty."""


def as_pair_batch(pairs: Sequence[LabelledPair], device: torch.device | str = "cpu") -> tuple[Tensor, Tensor]:
    """Pairs of one size -> visible (B, 3, H, W) and infrared (B, 1, H, W), float32 in [0, 1]."""
    visible = torch.cat([as_batch(pair.visible, device) for pair in pairs])
    return visible, torch.cat([as_batch(pair.infrared, device) for pair in pairs])


def as_batch(image: NDArray[np.uint8], device: torch.device | str = "cpu") -> Tensor:
    """(H, W) or (H, W, C) uint8 -> (1, C, H, W) float32 in [0, 1]."""
    tensor = torch.from_numpy(np.ascontiguousarray(image)).to(device)
    tensor = tensor[None, None] if tensor.ndim == 2 else tensor.permute(2, 0, 1)[None]
    return tensor.float().div_(255.0)
