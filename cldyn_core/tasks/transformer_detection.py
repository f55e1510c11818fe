"""Object detection with RT-DETR behind the task protocol."""

from __future__ import annotations

from typing import Any

import torch.nn.functional as F
from torch import Tensor, nn

from cldyn_core.packages import import_transformers
from cldyn_core.tasks.boxes import SILENT
from cldyn_core.tasks.images import STRIDE
from cldyn_core.tasks.query_detection import Pass, QueryDetector

_SMALLEST = 128  # sides of the smallest padded image: it has more anchors (336) than there are queries (300)
_BASIC = {"layer_type": "basic", "hidden_sizes": (64, 128, 256, 512)}
_BASIC_HEAD = {"encoder_in_channels": (128, 256, 512), "hidden_expansion": 0.5}
_MODELS: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {  # ResNet-D and RT-DETR (CVPR 2024), as their authors did
    "rtdetr-r18": ({**_BASIC, "depths": (2, 2, 2, 2)}, {**_BASIC_HEAD, "decoder_layers": 3}),
    "rtdetr-r34": ({**_BASIC, "depths": (3, 4, 6, 3)}, {**_BASIC_HEAD, "decoder_layers": 4}),
    "rtdetr-r50": ({"depths": (3, 4, 6, 3)}, {"decoder_layers": 6}),
}


class TransformerDetector(QueryDetector):
    """RT-DETR on a ResNet-18, 34 or 50. Images are padded to multiples of 32, at least 128.

    Its loss: varifocal, L1 and GIoU of all decoder layers, of the encoder's proposals and, in training mode, of
    (random) denoising queries.
    """

    kind = "transformer-detector"

    @classmethod
    def models(cls) -> tuple[str, ...]:
        """See TaskNetwork.models."""
        return tuple(_MODELS)

    def _build(self) -> nn.Module:
        config_class, backbone_class, network_class = import_transformers(
            "RTDetrConfig", "RTDetrResNetConfig", "RTDetrForObjectDetection"
        )
        backbone, head = _MODELS[self.model]
        config = config_class(
            backbone_config=backbone_class(out_indices=[2, 3, 4], **backbone),
            num_labels=len(self.names),
            freeze_backbone_batch_norms=False,
            **head,
        )
        network: nn.Module = network_class(config)
        for module in network.modules():
            if isinstance(module, nn.BatchNorm2d):  # transformers' N(0, 0.01) is for loading over; nothing learns of it
                nn.init.ones_(module.weight)
        return network

    def _extend(self, image: Tensor) -> Tensor:
        height, width = (max(_SMALLEST, side + -side % STRIDE) for side in image.shape[2:])
        return F.pad(image, (0, width - image.shape[3], 0, height - image.shape[2]), value=114 / 255)

    def _run(self, image: Tensor, labels: list[dict[str, Tensor]] | None = None) -> Pass:
        network: Any = self.module
        outputs = network.model(image, labels=labels)
        return Pass(
            outputs.encoder_last_hidden_state[-1],
            outputs.intermediate_logits,
            outputs.intermediate_reference_points,
            outputs,
        )

    def _loss(self, seen: Pass, index: int, label: dict[str, Tensor], hidden: Tensor) -> Tensor:
        one = slice(index, index + 1)
        denoising = seen.rest.denoising_meta_values
        if denoising is not None:
            denoising = {**denoising, "dn_positive_idx": denoising["dn_positive_idx"][one]}
        logits, boxes = seen.logits[one].masked_fill(hidden, SILENT), seen.boxes[one]
        network: Any = self.module
        loss, _, _ = network.loss_function(
            logits[:, -1],
            [label],
            logits.device,
            boxes[:, -1],
            network.config,
            logits,
            boxes,
            enc_topk_logits=seen.rest.enc_topk_logits[one].masked_fill(hidden, SILENT),
            enc_topk_bboxes=seen.rest.enc_topk_bboxes[one],
            denoising_meta_values=denoising,
        )
        return loss

    def _scores(self, logits: Tensor) -> Tensor:
        return logits.sigmoid()  # a query may answer with several classes
