"""Object detection with ultralytics' YOLO family (AGPL-3.0, an optional extra), behind the task protocol.

ultralytics is imported when a detector is built, never with the package, and is kept from the network.
"""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from cldyn_core.checkpoint import WeightsError, load_into, read_tensors, resolve_weights
from cldyn_core.tasks.base import TaskNetwork
from cldyn_core.types import M3FD_CLASSES, Detections, EngineSettings, Task

_STRIDE = 32
_MODELS = re.compile(r"yolo(v5|v8|11)[nsmlx]\.yaml")  # in ultralytics' own package
_LOSS_GAINS = SimpleNamespace(box=7.5, cls=0.5, dfl=1.5)  # ultralytics' own defaults
_MAX_DETECTIONS = 300


class Detector(TaskNetwork):
    """A YOLO of ultralytics' model zoo, `yolov5n.yaml` unless its weights say otherwise."""

    task = Task.DETECTION

    def __init__(self, model_yaml: str = "yolov5n.yaml", names: Sequence[str] = M3FD_CLASSES) -> None:
        if not _MODELS.fullmatch(model_yaml):  # ultralytics evaluates what a model file says, and downloads URLs
            raise ValueError(f"unknown detector {model_yaml!r}; known: yolov5n.yaml ... yolov5x.yaml, yolov8?, yolo11?")
        detection_model, self._non_max_suppression, loss_class = _import_ultralytics()
        self.model_yaml, self.names = model_yaml, tuple(names)
        self.model: torch.nn.Module = detection_model(model_yaml, nc=len(self.names), verbose=False)
        self.model.args = _LOSS_GAINS
        self._loss_class = loss_class
        self.confidence, self.iou = EngineSettings().detector_confidence, EngineSettings().detector_iou

    @classmethod
    def missing(cls) -> str:
        """See TaskNetwork.missing."""
        if find_spec("ultralytics") is None:
            return "the detector needs the package ultralytics (AGPL-3.0): pip install ultralytics==8.4.190"
        return ""

    @classmethod
    def from_settings(cls, settings: EngineSettings, device: torch.device) -> Detector:
        """Load `settings.detector_weights` ("default" or a .safetensors path); see TaskNetwork.from_settings."""
        path = resolve_weights(settings.detector_weights, "detector")
        tensors, manifest = read_tensors(path, kind="detector")
        architecture = manifest["architecture"]
        model_yaml, names = architecture.get("model"), architecture.get("names")
        if not isinstance(model_yaml, str) or not isinstance(names, list) or not all(isinstance(n, str) for n in names):
            raise WeightsError(f"{path}: expected the architecture of a detector (model, names), not {architecture}")
        try:
            detector = cls(model_yaml, names)
        except ValueError as error:
            raise WeightsError(f"{path}: {error}") from error
        load_into(detector.model, tensors, path)
        detector.model.to(device).eval()
        detector.configure(settings)
        return detector

    @property
    def architecture(self) -> dict[str, Any]:
        """For the manifest of the weights."""
        return {"model": self.model_yaml, "names": list(self.names)}

    def configure(self, settings: EngineSettings) -> None:
        """Take over the confidence and IoU thresholds."""
        self.confidence, self.iou = settings.detector_confidence, settings.detector_iou

    def feature(self, image: Tensor) -> Tensor:
        """Output of the last C3's output convolution, (B, C, ceil(H/32), ceil(W/32)); C = 256 for YOLOv5n, 512 for
        YOLOv5s.
        """
        captured: list[Tensor] = []
        hook = self._last_c3().register_forward_hook(lambda _module, _inputs, output: captured.append(output))
        try:
            self.model(_pad_to_stride(image))
        finally:
            hook.remove()
        return captured[-1]

    def loss(self, image: Tensor, targets: Sequence[Detections]) -> Tensor:
        """Box, class and DFL loss of ultralytics, mean over the batch."""
        padded = _pad_to_stride(image)
        self.model.train(False)
        predictions = self.model(padded)
        return self.criterion(predictions[1] if isinstance(predictions, tuple) else predictions, padded, targets)

    def criterion(self, predictions: Any, padded: Tensor, targets: Sequence[Detections]) -> Tensor:
        """The loss of raw predictions on an image whose sides are multiples of 32."""
        scale = np.array([padded.shape[3], padded.shape[2]] * 2, np.float32)
        boxes = np.concatenate([_corners_to_center(t.boxes) for t in targets]) / scale
        batch = {
            "batch_idx": torch.from_numpy(np.repeat(np.arange(len(targets)), [len(t.labels) for t in targets])),
            "cls": torch.from_numpy(np.concatenate([t.labels for t in targets])).float(),
            "bboxes": torch.from_numpy(boxes.astype(np.float32)),
        }
        total, _ = self._loss_class(self.model)(predictions, {k: v.to(padded.device) for k, v in batch.items()})
        return total.sum() / len(targets)

    def predict(self, image: Tensor) -> list[Detections]:  # type: ignore[override]
        """Boxes above the confidence, after per-class non-maximum suppression, clipped to the image."""
        height, width = image.shape[2:]
        raw = self.model(_pad_to_stride(image))
        kept = self._non_max_suppression(raw, self.confidence, self.iou, max_det=_MAX_DETECTIONS, nc=len(self.names))
        limits = torch.tensor([width, height, width, height], device=image.device)
        return [self._to_detections(rows, limits) for rows in kept]

    def _to_detections(self, rows: Tensor, limits: Tensor) -> Detections:
        boxes = torch.minimum(rows[:, :4].clamp(min=0), limits)
        inside = (boxes[:, 2:] - boxes[:, :2] > 1).all(1)  # a box in the padding is clipped to nothing
        boxes, rows = boxes[inside].cpu(), rows[inside].cpu()
        labels = rows[:, 5].numpy().astype(np.int64)
        return Detections(boxes.numpy().astype(np.float32), rows[:, 4].numpy().astype(np.float32), labels, self.names)

    def _last_c3(self) -> torch.nn.Module:
        layers: Any = self.model.model
        last = [layer for layer in layers if type(layer).__name__ in {"C3", "C2f", "C3k2"}][-1]
        return last.cv3 if hasattr(last, "cv3") else last.cv2


def _pad_to_stride(image: Tensor) -> Tensor:
    height, width = image.shape[2:]
    return F.pad(image, (0, -width % _STRIDE, 0, -height % _STRIDE), value=114 / 255)


def _corners_to_center(boxes: np.ndarray) -> np.ndarray:
    return np.concatenate(((boxes[:, :2] + boxes[:, 2:]) / 2, boxes[:, 2:] - boxes[:, :2]), axis=1)


def _import_ultralytics() -> tuple[Any, Any, Any]:
    """(DetectionModel, non_max_suppression, v8DetectionLoss), without telemetry, downloads or console output."""
    cache = Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache")) / "cldyn"
    cache.mkdir(parents=True, exist_ok=True)
    for key, value in {
        "YOLO_OFFLINE": "true",
        "YOLO_AUTOINSTALL": "false",
        "YOLO_VERBOSE": "false",
        "YOLO_CONFIG_DIR": str(cache),
    }.items():
        os.environ.setdefault(key, value)
    threads = os.environ.get("OMP_NUM_THREADS")
    try:
        from ultralytics.nn.tasks import DetectionModel
        from ultralytics.utils import SETTINGS
        from ultralytics.utils.loss import v8DetectionLoss
        from ultralytics.utils.nms import non_max_suppression
    except ImportError as error:
        raise ImportError(f"{Detector.missing() or 'ultralytics does not import'} ({error})") from error
    finally:
        if threads is None:  # it sets 1, which every process started from here would inherit
            os.environ.pop("OMP_NUM_THREADS", None)
    if SETTINGS.get("sync"):
        SETTINGS.update(sync=False)
    return DetectionModel, non_max_suppression, v8DetectionLoss
