"""Object detection with ultralytics' YOLO family (AGPL-3.0, an optional extra), behind the task protocol.

ultralytics is imported when a detector is built, never with the package, and is kept from the network.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import torch
from torch import Tensor

from cldyn_core.tasks.base import Answer, Observation, TaskNetwork
from cldyn_core.tasks.boxes import MAX_DETECTIONS, SILENT, size_of, to_center, to_detections, unannotated
from cldyn_core.tasks.images import pad_to_stride
from cldyn_core.types import M3FD_CLASSES, Detections, EngineSettings, Task

_FAMILIES = ("yolov5", "yolov8", "yolo11", "yolo12")  # in ultralytics' own package
_LOSS_GAINS = SimpleNamespace(box=7.5, cls=0.5, dfl=1.5)  # ultralytics' own defaults


class Detector(TaskNetwork):
    """A YOLO of ultralytics' model zoo."""

    task = Task.DETECTION
    kind = "detector"

    def __init__(self, model: str = "yolov5n", names: Sequence[str] = M3FD_CLASSES) -> None:
        self.model, self.names = model.removesuffix(".yaml"), tuple(names)  # older weights name the file
        if self.model not in self.models():  # ultralytics evaluates what a model file says, and downloads URLs
            raise ValueError(f"unknown detector {model!r}; known: {', '.join(self.models())}")
        detection_model, self._non_max_suppression, self._loss_class = _import_ultralytics()
        self.module: torch.nn.Module = detection_model(f"{self.model}.yaml", nc=len(self.names), verbose=False)
        self.module.args = _LOSS_GAINS
        self.confidence, self.iou = EngineSettings().detector_confidence, EngineSettings().detector_iou

    @classmethod
    def models(cls) -> tuple[str, ...]:
        """See TaskNetwork.models."""
        return tuple(f"{family}{size}" for size in "nsmlx" for family in _FAMILIES)

    @classmethod
    def missing(cls) -> str:
        """See TaskNetwork.missing."""
        if find_spec("ultralytics") is None:
            return "the detector needs the package ultralytics (AGPL-3.0): pip install ultralytics==8.4.190"
        return ""

    def configure(self, settings: EngineSettings) -> None:
        """Take over the confidence and IoU thresholds."""
        self.confidence, self.iou = settings.detector_confidence, settings.detector_iou

    def feature(self, image: Tensor) -> Tensor:
        """Output of the last C3's output convolution, (B, C, ceil(H/32), ceil(W/32)); C = 256 for YOLOv5n, 512 for
        YOLOv5s.
        """
        return self._watched_pass(_pad(image), decode=False)[0]

    def losses(self, image: Tensor, targets: Sequence[Detections]) -> Tensor:
        """Box, class and DFL loss of ultralytics; classes that an image was not annotated for are not punished."""
        return self.observe(image, targets).losses

    def observe(self, image: Tensor, targets: Sequence[Detections]) -> Observation:
        """Feature and losses from one pass."""
        padded = _pad(image)
        feature, predictions = self._watched_pass(padded, decode=False)
        criterion, size = self._loss_class(self.module), size_of(padded)
        losses = [_loss(criterion, _excused(_one(predictions, i), t), t, size) for i, t in enumerate(targets)]
        return Observation(feature, torch.stack(losses))

    @torch.no_grad()
    def predict(self, image: Tensor) -> list[Detections]:  # type: ignore[override]
        """Boxes above the confidence, after per-class non-maximum suppression, clipped to the image."""
        return self._suppress(self._pass(_pad(image), decode=True), image)

    @torch.no_grad()
    def answer(self, image: Tensor) -> Answer:
        """Feature and boxes from one pass."""
        feature, raw = self._watched_pass(_pad(image), decode=True)
        return Answer(feature, [*self._suppress(raw, image)])

    def _suppress(self, raw: Any, image: Tensor) -> list[Detections]:
        kept = self._non_max_suppression(raw, self.confidence, self.iou, max_det=MAX_DETECTIONS, nc=len(self.names))
        return [to_detections(rows[:, :4], rows[:, 4], rows[:, 5], size_of(image), self.names) for rows in kept]

    def _watched_pass(self, padded: Tensor, decode: bool) -> tuple[Tensor, Any]:
        """Feature and what `_pass` gives."""
        captured: list[Tensor] = []
        hook = self._last_block().register_forward_hook(lambda _module, _inputs, output: captured.append(output))
        try:
            predictions = self._pass(padded, decode)
        finally:
            hook.remove()
        return captured[-1], predictions

    def _pass(self, padded: Tensor, decode: bool) -> Any:
        """Boxes and scores, decoded for the suppression or as the loss wants them."""
        head = self._layers()[-1]
        mode = head.training
        head.training = not decode  # of the head alone: its layers keep their mode
        try:
            return self.module(padded)
        finally:
            head.training = mode

    def _last_block(self) -> torch.nn.Module:
        last = [layer for layer in self._layers() if type(layer).__name__ in {"C3", "C2f", "C3k2"}][-1]
        return last.cv3 if hasattr(last, "cv3") else last.cv2

    def _layers(self) -> Any:
        return self.module.model


def _one(predictions: dict[str, Any], index: int) -> dict[str, Any]:
    """The predictions of one image of the batch."""
    keep = slice(index, index + 1)
    return {
        "boxes": predictions["boxes"][keep],
        "scores": predictions["scores"][keep],
        "feats": [feature[keep] for feature in predictions["feats"]],
    }


def _excused(predictions: dict[str, Any], target: Detections) -> dict[str, Any]:
    """The same predictions of one image, silent on the classes that it was not annotated for."""
    scores = predictions["scores"]  # (1, classes, anchors) logits
    hidden = unannotated(target, scores.shape[1], scores.device)
    return {**predictions, "scores": scores.masked_fill(hidden[:, None], SILENT)}


def _loss(criterion: Any, predictions: dict[str, Any], target: Detections, size: Tensor) -> Tensor:
    """Loss of one image; size: `size_of` the padded image."""
    device = predictions["scores"].device
    batch = {
        "batch_idx": torch.zeros(len(target.labels), device=device),
        "cls": torch.from_numpy(target.labels).float().to(device),
        "bboxes": to_center(torch.from_numpy(target.boxes).to(device)) / size,
    }
    return criterion(predictions, batch)[0].sum()


def _pad(image: Tensor) -> Tensor:
    return pad_to_stride(image, value=114 / 255)


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
