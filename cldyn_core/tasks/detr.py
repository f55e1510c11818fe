"""Object detection with DETR behind the task protocol: the cross-detector of the paper."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from cldyn_core.packages import import_transformers
from cldyn_core.tasks.boxes import SILENT
from cldyn_core.tasks.images import IMAGENET, STRIDE, normalize
from cldyn_core.tasks.query_detection import Pass, QueryDetector

_SMALL = {"encoder_layers": 3, "decoder_layers": 3, "encoder_ffn_dim": 1024, "decoder_ffn_dim": 1024}
_MODELS: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {  # backbone, transformer
    "detr-r18": ({"layer_type": "basic", "hidden_sizes": [64, 128, 256, 512], "depths": [2, 2, 2, 2]}, _SMALL),
    "detr-r50": ({}, {}),  # transformers' defaults are those of DETR's authors (ECCV 2020)
}


class Detr(QueryDetector):
    """DETR with 100 queries on a ResNet-50, or half a transformer on a ResNet-18.

    Its loss: cross entropy, L1 and GIoU of all decoder layers. In training mode an image alone has a side above 32:
    BatchNorm needs more than one value a channel.
    """

    kind = "detr"

    @classmethod
    def models(cls) -> tuple[str, ...]:
        """See TaskNetwork.models."""
        return tuple(_MODELS)

    def _build(self) -> nn.Module:
        config_class, backbone_config_class, backbone_class, network_class = import_transformers(
            "DetrConfig", "ResNetConfig", "ResNetBackbone", "DetrForObjectDetection"
        )
        backbone, transformer = _MODELS[self.model]
        config = config_class(
            use_timm_backbone=False,
            backbone_config=backbone_config_class(out_features=["stage4"], **backbone),
            num_labels=len(self.names),
            **transformer,
        )
        network: Any = network_class(config)
        # DETR freezes the BatchNorms and the first layers of its backbone: nothing learns from random weights then.
        network.model.backbone.model = backbone_class(config.backbone_config)
        _initialize(network)
        return network

    def _run(self, image: Tensor, labels: list[dict[str, Tensor]] | None = None) -> Pass:
        network: Any = self.module
        outputs = network.model(normalize(image, *IMAGENET), output_hidden_states=True)
        _, *inner, last = outputs.decoder_hidden_states  # the last one alone is normalized; the first is the input
        # transformers' own auxiliary loss feeds the normalized states back into the decoder; the authors do not.
        states = torch.stack([*map(network.model.decoder.layernorm, inner), last], 1)
        height, width = (-(-side // STRIDE) for side in image.shape[2:])
        return Pass(
            outputs.encoder_last_hidden_state.transpose(1, 2).unflatten(2, (height, width)),
            network.class_labels_classifier(states),
            network.bbox_predictor(states).sigmoid(),
        )

    def _loss(self, seen: Pass, index: int, label: dict[str, Tensor], hidden: Tensor) -> Tensor:
        network: Any = self.module
        layers = zip(_excuse(seen.logits[index], hidden), seen.boxes[index], strict=True)
        terms = [
            network.loss_function(logits[None], [label], logits.device, boxes[None], network.config)[0]
            for logits, boxes in layers
        ]
        return torch.stack(terms).sum()

    def _scores(self, logits: Tensor) -> Tensor:
        classes = logits.softmax(-1)[..., :-1]
        return classes.where(classes == classes.amax(-1, keepdim=True), 0.0)  # a query is one object


def _excuse(logits: Tensor, hidden: Tensor) -> Tensor:
    """Logits (..., classes + 1) by which `no object` stands for the hidden classes (classes,) as well.

    Silence alone would teach that their objects are background: the classes of a query compete.
    """
    nothing = torch.cat((hidden, hidden.new_ones(1)))
    merged = logits.masked_fill(~nothing, -torch.inf).logsumexp(-1, keepdim=True)
    return torch.cat((logits[..., :-1].masked_fill(hidden, SILENT), merged), -1)


def _initialize(network: Any) -> None:
    """Random weights as DETR's authors draw them: with transformers' N(0, 0.02), all queries answer the same."""
    for weight in (*network.model.encoder.parameters(), *network.model.decoder.parameters()):
        if weight.ndim > 1:
            nn.init.xavier_uniform_(weight)
    heads = (network.class_labels_classifier, *network.bbox_predictor.layers)
    for module in (network.model.query_position_embeddings, network.model.input_projection, *heads):
        module.reset_parameters()
