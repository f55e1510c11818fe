"""Object detection with RT-DETR (transformers, Apache-2.0, an optional extra): the cross-detector of the paper.

transformers is imported when a network is built, never with the package; nothing is downloaded.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from cldyn_core.tasks.base import Observation, TaskNetwork
from cldyn_core.tasks.images import STRIDE
from cldyn_core.tasks.packages import import_transformers, missing_packages
from cldyn_core.types import Detections, EngineSettings, Task

_SMALLEST = 128  # sides of the smallest padded image: it has more anchors (336) than there are queries (300)
_MAX_DETECTIONS = 300
_BASIC = {"layer_type": "basic", "hidden_sizes": (64, 128, 256, 512)}
_BASIC_HEAD = {"encoder_in_channels": (128, 256, 512), "hidden_expansion": 0.5}
_MODELS: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {  # ResNet-D and RT-DETR (CVPR 2024), as their authors did
    "rtdetr-r18": ({**_BASIC, "depths": (2, 2, 2, 2)}, {**_BASIC_HEAD, "decoder_layers": 3}),
    "rtdetr-r34": ({**_BASIC, "depths": (3, 4, 6, 3)}, {**_BASIC_HEAD, "decoder_layers": 4}),
    "rtdetr-r50": ({"depths": (3, 4, 6, 3)}, {"decoder_layers": 6}),
}


class TransformerDetector(TaskNetwork):
    """RT-DETR on a ResNet-18, 34 or 50."""

    task = Task.DETECTION
    kind = "transformer-detector"

    def __init__(self, model: str, names: Sequence[str]) -> None:
        if model not in _MODELS:
            raise ValueError(f"unknown detector {model!r}; known: {', '.join(_MODELS)}")
        self.model, self.names = model, tuple(names)
        self.module: nn.Module = _build(model, len(self.names))
        self.confidence = EngineSettings().detector_confidence

    @classmethod
    def models(cls) -> tuple[str, ...]:
        """See TaskNetwork.models."""
        return tuple(_MODELS)

    @classmethod
    def missing(cls) -> str:
        """See TaskNetwork.missing."""
        packages = {"transformers": "transformers==5.23.0", "scipy": "scipy", "PIL": "pillow"}
        return missing_packages("the transformer detector", packages)

    def configure(self, settings: EngineSettings) -> None:
        """Take over the confidence threshold; there is no non-maximum suppression."""
        self.confidence = settings.detector_confidence

    def feature(self, image: Tensor) -> Tensor:
        """Stride-32 output of the hybrid encoder, (B, 256, h, w), h = max(4, ceil(H/32)), w likewise."""
        return _feature(self._forward(_pad(image)))

    def losses(self, image: Tensor, targets: Sequence[Detections]) -> Tensor:
        """RT-DETR's own loss of each image, (B,): varifocal, L1 and GIoU of all decoder layers, of the encoder's
        proposals and, in training mode, of (random) denoising queries.
        """
        return self.observe(image, targets).losses

    def observe(self, image: Tensor, targets: Sequence[Detections]) -> Observation:
        """Feature and losses from one pass."""
        padded = _pad(image)
        labels = [_to_label(target, padded) for target in targets]
        outputs = self._forward(padded, labels)
        losses = [self._loss_of(outputs, i, label) for i, label in enumerate(labels)]
        return Observation(_feature(outputs), torch.stack(losses))

    def predict(self, image: Tensor) -> list[Detections]:  # type: ignore[override]
        """Boxes above the confidence, at most 300, clipped to the image."""
        padded = _pad(image)
        outputs = self._forward(padded)
        scores = outputs.intermediate_logits[:, -1].sigmoid()
        boxes = _to_corners(outputs.intermediate_reference_points[:, -1]) * _size_of(padded)
        return [self._to_detections(s, b.minimum(_size_of(image))) for s, b in zip(scores, boxes, strict=True)]

    def _forward(self, padded: Tensor, labels: list[dict[str, Tensor]] | None = None) -> Any:
        network: Any = self.module
        return network.model(padded, labels=labels)

    def _loss_of(self, outputs: Any, index: int, label: dict[str, Tensor]) -> Tensor:
        """Image `index` alone: transformers' loss of a batch is normalized over all its boxes."""
        one = slice(index, index + 1)
        denoising = outputs.denoising_meta_values
        if denoising is not None:
            denoising = {**denoising, "dn_positive_idx": denoising["dn_positive_idx"][one]}
        classes, boxes = outputs.intermediate_logits[one], outputs.intermediate_reference_points[one]
        network: Any = self.module
        loss, _, _ = network.loss_function(
            classes[:, -1],
            [label],
            classes.device,
            boxes[:, -1],
            network.config,
            classes,
            boxes,
            enc_topk_logits=outputs.enc_topk_logits[one],
            enc_topk_bboxes=outputs.enc_topk_bboxes[one],
            denoising_meta_values=denoising,
        )
        return loss

    def _to_detections(self, scores: Tensor, boxes: Tensor) -> Detections:
        """Scores (queries, classes) and boxes (queries, 4) of one image; a query may answer with several classes."""
        boxes = boxes.clamp(min=0)
        inside = (boxes[:, 2:] - boxes[:, :2] > 1).all(1, keepdim=True)  # a box in the padding is clipped to nothing
        query, label = ((scores > self.confidence) & inside).nonzero(as_tuple=True)
        order = scores[query, label].argsort(descending=True)[:_MAX_DETECTIONS]
        query, label = query[order], label[order]
        found, kept = (t.detach().cpu().numpy().astype(np.float32) for t in (scores[query, label], boxes[query]))
        return Detections(kept, found, label.cpu().numpy().astype(np.int64), self.names)


def _build(model: str, classes: int) -> nn.Module:
    config_class, backbone_class, network_class = import_transformers(
        "RTDetrConfig", "RTDetrResNetConfig", "RTDetrForObjectDetection"
    )
    backbone, head = _MODELS[model]
    config = config_class(
        backbone_config=backbone_class(out_indices=[2, 3, 4], **backbone),
        num_labels=classes,
        freeze_backbone_batch_norms=False,
        **head,
    )
    network: nn.Module = network_class(config)
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):  # transformers' N(0, 0.01) is for loading over; nothing learns from it
            nn.init.ones_(module.weight)
    return network


def _feature(outputs: Any) -> Tensor:
    return outputs.encoder_last_hidden_state[-1]


def _pad(image: Tensor) -> Tensor:
    height, width = (max(_SMALLEST, side + -side % STRIDE) for side in image.shape[2:])
    return F.pad(image, (0, width - image.shape[3], 0, height - image.shape[2]), value=114 / 255)


def _size_of(image: Tensor) -> Tensor:
    height, width = image.shape[2:]
    return image.new_tensor([width, height, width, height])


def _to_label(target: Detections, padded: Tensor) -> dict[str, Tensor]:
    """Boxes as center and size in [0, 1] of the padded image."""
    corners = torch.from_numpy(target.boxes).to(padded) / _size_of(padded)
    first, last = corners[:, :2], corners[:, 2:]
    boxes = torch.cat(((first + last) / 2, last - first), 1)
    return {"class_labels": torch.from_numpy(target.labels).to(padded.device), "boxes": boxes}


def _to_corners(boxes: Tensor) -> Tensor:
    center, size = boxes[..., :2], boxes[..., 2:]
    return torch.cat((center - size / 2, center + size / 2), -1)
