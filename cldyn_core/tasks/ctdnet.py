"""CTDNet, a salient object network of three paths (Zhao et al., ACM MM 2021), by the names of its reference weights."""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn


@dataclass(frozen=True)
class Saliency:
    """Outputs of one pass: logits (B, 1, H, W) at the input's size."""

    feature: Tensor
    """(B, width, ceil(H/4), ceil(W/4)), last BatchNorm of the boundary refinement, before its ReLU."""
    mask: Tensor
    edge: Tensor
    side: tuple[Tensor, Tensor, Tensor, Tensor]
    """Of p12x, p1, p12, p11: supervised in training, least important last."""


class CTDNet(nn.Module):
    """Semantic, spatial and boundary path over a ResNet-18. Input: normalized RGB (B, 3, H, W), H, W >= 32.

    width: channels of the first stage and of the decoder; 64 is the paper's.
    """

    def __init__(self, width: int = 64) -> None:
        super().__init__()
        self.bkbone = _ResNet18(width)
        self.path1_1 = _pointwise(8 * width, width, relu=False)
        self.path1_2 = _pointwise(8 * width, width)
        self.path1_3 = _pointwise(4 * width, width)
        self.path2 = _SpatialAttention(2 * width, width)
        self.path3 = _pointwise(width, width)
        self.fuse1_1, self.fuse1_2 = _Fusion(width), _Fusion(width)
        self.fuse12 = _CrossAggregation(width)
        self.fuse3, self.fuse23 = _Fusion(width), _BoundaryRefinement(width)
        self.head_1, self.head_2, self.head_3 = (nn.Conv2d(width, 1, 3, padding=1) for _ in range(3))
        self.head_4, self.head_5, self.head_edge = (nn.Conv2d(width, 1, 3, padding=1) for _ in range(3))

    def forward(self, image: Tensor) -> Saliency:
        """Normalized RGB -> feature and logits."""
        l2, l3, l4, l5 = self.bkbone(image)
        p11 = _resize(self.path1_1(l5.mean((2, 3), keepdim=True)), l5)
        p12 = _resize(self.fuse1_1(p11, self.path1_2(l5)), l4)
        p1 = self.fuse1_2(p12, self.path1_3(l4))
        p12x = _resize(self.fuse12(p1, self.path2(l3)), l2)
        p3 = self.fuse3(self.path3(l2), _resize(p12, l2))
        feature = self.fuse23(p12x, p3)
        heads = (self.head_1(F.relu(feature)), self.head_edge(p3), self.head_2(p12x), self.head_3(p1), self.head_4(p12))
        mask, edge, *side = (_resize(logits, image) for logits in (*heads, self.head_5(p11)))
        return Saliency(feature, mask, edge, (side[0], side[1], side[2], side[3]))


class _ResNet18(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(3, width, 7, stride=2, padding=3, bias=False)
        self.bn1 = nn.BatchNorm2d(width)
        self.layer1 = nn.Sequential(_Basic(width, width, 1), _Basic(width, width, 1))
        self.layer2 = nn.Sequential(_Basic(width, 2 * width, 2), _Basic(2 * width, 2 * width, 1))
        self.layer3 = nn.Sequential(_Basic(2 * width, 4 * width, 2), _Basic(4 * width, 4 * width, 1))
        self.layer4 = nn.Sequential(_Basic(4 * width, 8 * width, 2), _Basic(8 * width, 8 * width, 1))

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        l1 = F.max_pool2d(F.relu(self.bn1(self.conv1(x))), 3, 2, 1)
        l2 = self.layer1(l1)
        l3 = self.layer2(l2)
        l4 = self.layer3(l3)
        return l2, l3, l4, self.layer4(l4)


class _Basic(nn.Module):
    def __init__(self, inputs: int, outputs: int, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(inputs, outputs, 3, stride=stride, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(outputs)
        self.conv2 = nn.Conv2d(outputs, outputs, 3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(outputs)
        self.downsample = nn.Sequential()
        if stride != 1 or inputs != outputs:
            self.downsample = nn.Sequential(
                nn.Conv2d(inputs, outputs, 1, stride=stride, bias=False), nn.BatchNorm2d(outputs)
            )

    def forward(self, x: Tensor) -> Tensor:
        return F.relu(self.downsample(x) + self.bn2(self.conv2(F.relu(self.bn1(self.conv1(x))))))


class _TwoConvolutions(nn.Module):
    """Conv, BatchNorm, ReLU, Conv, BatchNorm."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.conv_1, self.bn_1 = _conv3x3(width, width), nn.BatchNorm2d(width)
        self.conv_2, self.bn_2 = _conv3x3(width, width), nn.BatchNorm2d(width)

    def both(self, x: Tensor) -> Tensor:
        return self.bn_2(self.conv_2(F.relu(self.bn_1(self.conv_1(x)))))


class _Fusion(_TwoConvolutions):
    """FFM: two paths by their product."""

    def forward(self, a: Tensor, b: Tensor) -> Tensor:
        return F.relu(self.both(a * b))


class _SpatialAttention(nn.Module):
    """SAM."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.conv_atten = _conv3x3(2, 1)
        self.conv, self.bn = _conv3x3(inputs, outputs), nn.BatchNorm2d(outputs)

    def forward(self, x: Tensor) -> Tensor:
        statistics = torch.cat((x.mean(1, keepdim=True), x.amax(1, keepdim=True)), dim=1)
        return F.relu(self.bn(self.conv(x * torch.sigmoid(self.conv_atten(statistics)))))


class _CrossAggregation(nn.Module):
    """CAM: the semantic path (1/16) and the spatial one (1/8) through each other."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.down = nn.Sequential(nn.Conv2d(width, width, 3, stride=2, padding=1, bias=False), nn.BatchNorm2d(width))
        self.conv_1, self.bn_1 = _conv3x3(width, width), nn.BatchNorm2d(width)
        self.conv_2, self.bn_2 = _conv3x3(width, width), nn.BatchNorm2d(width)
        self.mul = _Fusion(width)

    def forward(self, high: Tensor, low: Tensor) -> Tensor:
        left = F.relu(self.bn_1(self.conv_1(low * _resize(high, low))))
        right = F.relu(self.bn_2(self.conv_2(F.relu(self.down(low)) * high)))
        return self.mul(left, _resize(right, low))


class _BoundaryRefinement(_TwoConvolutions):
    """BRM; its output is still without the last ReLU."""

    def __init__(self, width: int) -> None:
        super().__init__(width)
        self.conv_atten = nn.Conv2d(width, width, 1, bias=False)

    def forward(self, region: Tensor, boundary: Tensor) -> Tensor:
        x = region + boundary
        return self.both(x * torch.sigmoid(self.conv_atten(x.mean((2, 3), keepdim=True))) + x)


def _pointwise(inputs: int, outputs: int, relu: bool = True) -> nn.Sequential:
    layers = [nn.Conv2d(inputs, outputs, 1, bias=False), nn.BatchNorm2d(outputs)]
    return nn.Sequential(*layers, *([nn.ReLU()] if relu else []))


def _conv3x3(inputs: int, outputs: int) -> nn.Conv2d:
    return nn.Conv2d(inputs, outputs, 3, padding=1, bias=False)


def _resize(x: Tensor, like: Tensor) -> Tensor:
    return F.interpolate(x, size=like.shape[2:], mode="bilinear", align_corners=True)
