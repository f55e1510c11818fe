"""The node's parameters: declared once, in the fields of NodeParams. Everything else is derived from them.

`parse` turns received values into a NodeParams or refuses them with a reason; param_declare.py gives the parameters to
rclpy, param_page.py writes doc/parameters.md.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import Field, dataclass, fields, replace
from typing import Any

from cldyn_core.types import THERMAL_MIN_KELVIN, Backend, EngineSettings, LoopMode, Precision, Task
from cldyn_ros.convert import Compression
from cldyn_ros.param_spec import ParameterError, check, param

__all__ = ["FIELDS", "NodeParams", "ParameterError", "parse"]

_FLOAT_LIMIT = 1e9


@dataclass(frozen=True)
class NodeParams:
    """All parameters of the node, checked. Milliseconds are milliseconds here too; the properties convert."""

    autostart: bool = param(
        True, "autostart", "Configure and activate at start. false: wait for lifecycle transitions.", fixed=True
    )
    lazy: bool = param(
        True,
        "lazy",
        "Fuse only while somebody subscribes to anything that comes with a frame. false: always.",
    )
    task: str = param(
        "none",
        "task",
        "What the fused image is for. Switching is live: no frame is lost and the next status shows it.",
        choices=[t.value for t in Task],
    )
    loop_mode: str = param(
        "stream",
        "loop.mode",
        "How the task steers the fusion. stream: by a plan that is held over frames, at one pass a frame. exact: by "
        "each frame's own first pass, at two passes and a plan a frame. open: not at all, its network only looks on.",
        choices=[m.value for m in LoopMode],
    )
    loop_period: int = param(
        15,
        "loop.period",
        "In stream mode: frames until the plan is made anew. It is made at once after a scene cut and for a task whose "
        "plan is older.",
        low=1,
        high=1000,
    )
    weights: str = param(
        "default", "weights", "Fusion weights: default, paper (bundled) or path of a .safetensors file.", fixed=True
    )
    device: str = param(
        "auto", "device", "Where the networks run: auto (CUDA if there is one), cpu, cuda, cuda:1 ...", fixed=True
    )
    backend: str = param(
        "auto",
        "backend",
        "What executes the fusion network. auto: the fastest that runs here and keeps the quality. One that cannot run "
        "here gives way; log and /diagnostics say to what, and why.",
        choices=[b.value for b in Backend],
        fixed=True,
    )
    precision: str = param(
        "auto",
        "precision",
        "Arithmetic of the fusion network. auto: fp32 on a CPU, fp16 on a GPU.",
        choices=[p.value for p in Precision],
        fixed=True,
    )
    max_pixels: int = param(
        1 << 22,
        "max_pixels",
        "Larger images are refused and counted: protects memory and latency.",
        low=1,
        high=1 << 28,
    )
    max_batch: int = param(
        0,
        "max_batch",
        "Of several pairs in one process (--pairs): frames that are computed as one batch at most. 0: 8 on a GPU, 1 on "
        "a CPU.",
        low=0,
        high=64,
        fixed=True,
    )
    image_transport: str = param(
        "raw",
        "image_transport",
        "Transport of both input images. compressed: subscribes <topic>/compressed (JPEG or PNG).",
        choices=("raw", "compressed"),
        fixed=True,
    )
    compressed_format: str = param(
        "jpeg",
        "compressed.format",
        "What ~/fused/image_raw/compressed is. jpeg: small, with losses. png: the very pixels, several times the bytes "
        "and the time. Encoded for subscribers only.",
        choices=("jpeg", "png"),
    )
    compressed_quality: int = param(
        90,
        "compressed.quality",
        "The lower, the smaller ~/fused/image_raw/compressed. Of jpeg its quality. A png loses nothing: its level, 100 "
        "the fastest to make (level 1), 1 the smallest (level 9).",
        low=1,
        high=100,
    )
    qos_reliability: str = param(
        "auto",
        "qos.reliability",
        "Reliability of the image subscriptions. auto: reliable, and best effort as soon as a camera offers only that.",
        choices=("auto", "reliable", "best_effort"),
        fixed=True,
    )
    sync_policy: str = param(
        "nearest",
        "sync.policy",
        "How frames are paired. nearest: closest first. exact: only equal stamps, for hardware triggers. approximate: "
        "message_filters, if installed.",
        choices=("nearest", "exact", "approximate"),
        fixed=True,
    )
    sync_stamp: str = param(
        "message",
        "sync.stamp",
        "When an image was taken. message: as its header says. arrival: when it came, for drivers that do not stamp; "
        "less exact, and what is published carries that time.",
        choices=("message", "arrival"),
    )
    sync_tolerance_ms: float = param(
        50.0,
        "sync.tolerance_ms",
        "Largest time between the two images of a pair, in ms. Not for policy exact.",
        low=0.0,
        high=10_000.0,
    )
    sync_infrared_offset_ms: float = param(
        0.0,
        "sync.infrared_offset_ms",
        "Added to infrared stamps before pairing, in ms: minus the constant delay of the infrared stamps.",
        low=-10_000.0,
        high=10_000.0,
    )
    sync_queue: int = param(
        10,
        "sync.queue",
        "Most images of one camera that wait for the other. Raise it when one camera's images come later than that "
        "many images of the other.",
        low=2,
        high=1000,
        fixed=True,
    )
    sync_timeout_ms: float = param(
        1000.0,
        "sync.timeout_ms",
        "Without a pair for this long, in ms, log and diagnostics say why; on_missing applies to a camera that silent.",
        low=50.0,
        high=3_600_000.0,
    )
    sync_on_missing: str = param(
        "hold",
        "sync.on_missing",
        "While a camera is missing: hold publishes nothing; visible or infrared publishes that camera's image alone as "
        "the fused image (no task) until pairs return.",
        choices=("hold", "visible", "infrared"),
    )
    registration_homography: tuple[float, ...] = param(
        (),
        "registration.homography",
        "Row-major 3x3 matrix from infrared pixels to visible pixels, 9 numbers. Empty: the infrared image is "
        "stretched onto the visible one.",
        low=-_FLOAT_LIMIT,
        high=_FLOAT_LIMIT,
    )
    registration_calibration: str = param(
        "",
        "registration.calibration",
        "Path of a calibration of both cameras, see doc/calibration.md, instead of registration.homography. "
        "Read when it is set. Empty: none.",
    )
    registration_warn_px: float = param(
        8.0,
        "registration.warn_px",
        "How far the infrared images may lie beside the visible ones, in pixels of the visible image, before "
        "/diagnostics warns; measured once a second, see doc/calibration.md. 0: not measured.",
        low=0.0,
        high=1000.0,
    )
    thermal_range: str = param(
        "auto",
        "thermal.range",
        "What is black and white of 16-bit and float infrared. auto: percentiles smoothed over time. "
        "fixed: thermal.min and thermal.max (8-bit too). doc/thermal.md has values for cameras.",
        choices=("auto", "fixed"),
    )
    thermal_min: float = param(
        0.0,
        "thermal.min",
        "Shown black when thermal.range is fixed, in sensor values or as thermal.scale says.",
        low=-_FLOAT_LIMIT,
        high=_FLOAT_LIMIT,
    )
    thermal_max: float = param(
        65535.0,
        "thermal.max",
        "Shown white when thermal.range is fixed, in sensor values or as thermal.scale says.",
        low=-_FLOAT_LIMIT,
        high=_FLOAT_LIMIT,
    )
    thermal_min_span: float = param(
        0.0,
        "thermal.min_span",
        "What an auto range spans at least, in the unit of thermal.min, so that a flat scene is not stretched to "
        "noise. 0: 100 counts of 16-bit images, 2 K of float images and where thermal.scale is set.",
        low=0.0,
        high=_FLOAT_LIMIT,
    )
    thermal_scale: float = param(
        1.0,
        "thermal.scale",
        "Kelvin per count of a camera whose counts are temperatures: 0.01, 0.04, 0.1 ... Then thermal.min, max and "
        "min_span are in kelvin. 1: they are in sensor values.",
        low=1e-6,
        high=1e6,
    )
    thermal_offset: float = param(
        0.0,
        "thermal.offset",
        "Value of count 0 in the unit of thermal.min: value = scale * count + offset. -273.15 for counts in kelvin "
        "makes it degrees Celsius.",
        low=-_FLOAT_LIMIT,
        high=_FLOAT_LIMIT,
    )
    denoise: bool = param(
        True,
        "denoise",
        "Take sensor noise out of images that have much of it; others stay as they are. ~/status has `noise visible` "
        "and `noise infrared`.",
    )
    detector_weights: str = param(
        "default", "detector.weights", "Detector weights: default (bundled) or path of a weights file.", fixed=True
    )
    detector_confidence: float = param(
        0.25, "detector.confidence", "Boxes with a lower score are left out.", low=0.0, high=1.0
    )
    detector_iou: float = param(
        0.5, "detector.iou", "Of two boxes that overlap more than this (intersection over union), the better stays.",
        low=0.0, high=1.0,
    )  # fmt: skip
    segmentation_weights: str = param(
        "default",
        "segmentation.weights",
        "Segmentation weights: default (bundled) or path of a weights file.",
        fixed=True,
    )
    saliency_weights: str = param(
        "default",
        "saliency.weights",
        "Saliency weights: default (bundled) or path of a weights file.",
        fixed=True,
    )

    @property
    def tolerance_ns(self) -> int:
        """`sync.tolerance_ms` in nanoseconds; 0 with policy exact."""
        return 0 if self.sync_policy == "exact" else round(self.sync_tolerance_ms * 1e6)

    @property
    def infrared_offset_ns(self) -> int:
        """`sync.infrared_offset_ms` in nanoseconds."""
        return round(self.sync_infrared_offset_ms * 1e6)

    @property
    def compression(self) -> Compression:
        """Of ~/fused/image_raw/compressed."""
        return Compression(self.compressed_format, self.compressed_quality)

    @property
    def thermal_limits(self) -> tuple[float, float]:
        """`thermal.min` and `thermal.max` in sensor values."""
        low, high = ((v - self.thermal_offset) / self.thermal_scale for v in (self.thermal_min, self.thermal_max))
        return low, high

    @property
    def thermal_span(self) -> float:
        """`thermal.min_span` in sensor values; 0 leaves it to the engine, which does not know the scale."""
        default = 0.0 if self.thermal_scale == 1.0 else THERMAL_MIN_KELVIN
        return (self.thermal_min_span or default) / self.thermal_scale

    def to_engine_settings(self) -> EngineSettings:
        """The part that the engine answers for."""
        return EngineSettings(
            task=Task(self.task),
            loop_mode=LoopMode(self.loop_mode),
            loop_period=self.loop_period,
            backend=Backend(self.backend),
            precision=Precision(self.precision),
            weights=self.weights,
            device=self.device,
            thermal_range=self.thermal_range,
            thermal_limits=self.thermal_limits,
            thermal_min_span=self.thermal_span,
            denoise=self.denoise,
            homography=self.registration_homography,
            calibration=self.registration_calibration,
            detector_weights=self.detector_weights,
            segmentation_weights=self.segmentation_weights,
            saliency_weights=self.saliency_weights,
            detector_confidence=self.detector_confidence,
            detector_iou=self.detector_iou,
            max_pixels=self.max_pixels,
            max_batch=self.max_batch,
        )


FIELDS: dict[str, Field[Any]] = {f.metadata["spec"].name: f for f in fields(NodeParams)}
"""Parameter name -> field of NodeParams; its Spec is `metadata["spec"]`."""


def parse(values: Mapping[str, object], base: NodeParams | None = None) -> NodeParams:
    """`base` with `values` (by parameter name) put in. Raises ParameterError and changes nothing if one is refused.

    Names that are not the node's own (use_sim_time, qos_overrides ...) are passed over.
    """
    known = {name: value for name, value in values.items() if name in FIELDS}
    changes = {FIELDS[name].name: check(FIELDS[name], value) for name, value in known.items()}
    params = replace(base or NodeParams(), **changes)
    if params.thermal_range == "fixed" and params.thermal_min >= params.thermal_max:
        raise ParameterError(
            f"thermal.min ({params.thermal_min:g}) must be below thermal.max ({params.thermal_max:g}); "
            "to move both, set them in one call (set_parameters_atomically)"
        )
    return params
