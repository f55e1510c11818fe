"""VFN, the Visual Fusion Network (CLDyN paper, section "Visual fusion network"): encode, fuse, decode.

Full resolution throughout; any H, W >= 3. Channels 1 -> 4 -> 8. LReLU is LeakyReLU(0.2) everywhere.
"""

from __future__ import annotations

from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

CHANNELS = 8
"""Channels of every encoder feature."""
SLOPE = 0.2


def conv_bn_lrelu(
    in_channels: int, out_channels: int, dilation: int = 1, padding_mode: Literal["zeros", "reflect"] = "zeros"
) -> nn.Sequential:
    """3x3 convolution with bias that keeps the size, BatchNorm, LReLU."""
    conv = nn.Conv2d(in_channels, out_channels, 3, padding=dilation, dilation=dilation, padding_mode=padding_mode)
    return nn.Sequential(conv, nn.BatchNorm2d(out_channels), nn.LeakyReLU(SLOPE))


class ConvBlock(nn.Module):
    """CB: two densely connected dilated convolutions, then a 1x1, added to the input."""

    def __init__(self, channels: int = CHANNELS) -> None:
        super().__init__()
        self.first = conv_bn_lrelu(channels, channels, dilation=2)
        self.second = conv_bn_lrelu(2 * channels, channels, dilation=2)
        self.merge = nn.Conv2d(3 * channels, channels, 1)

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, H, W) -> (B, C, H, W)."""
        a = torch.cat((x, self.first(x)), dim=1)
        b = torch.cat((a, self.second(a)), dim=1)
        return x + F.leaky_relu(self.merge(b), SLOPE)


class Encoder(nn.Module):
    """FEB, the feature extraction of one modality. Encoder block 0 is the stem and CB 0; block i is CB i."""

    def __init__(self, blocks: int) -> None:
        super().__init__()
        self.stem = nn.Sequential(
            *conv_bn_lrelu(1, 4, padding_mode="reflect"), *conv_bn_lrelu(4, CHANNELS, padding_mode="reflect")
        )
        self.blocks = nn.ModuleList(ConvBlock() for _ in range(blocks))

    def block(self, index: int, x: Tensor) -> Tensor:
        """Run encoder block `index`: (B, 1, H, W) for block 0, else (B, 8, H, W) -> (B, 8, H, W)."""
        return self.blocks[index](self.stem(x) if index == 0 else x)


class GradientAttention(nn.Module):
    """FRB1: both features, weighted by channel and spatial attention that their gradients drive."""

    sobel: Tensor

    def __init__(self) -> None:
        super().__init__()
        width = 2 * CHANNELS
        self.channel_mean = _mlp(width)
        self.channel_max = _mlp(width)
        self.spatial_mean = _conv_pair(width)
        self.spatial_max = _conv_pair(width)
        sobel_x = torch.tensor([[-1.0, 0.0, 1.0], [-2.0, 0.0, 2.0], [-1.0, 0.0, 1.0]]) / 8.0
        # Dense, almost all zeros: a grouped convolution is slower, its backward pass three times.
        sobel = torch.einsum("oi,dyx->doiyx", torch.eye(width), torch.stack((sobel_x, sobel_x.T))).flatten(0, 1)
        self.register_buffer("sobel", sobel, persistent=False)

    def forward(self, infrared: Tensor, visible: Tensor) -> Tensor:
        """Two (B, 8, H, W) features -> (B, 16, H, W), infrared first."""
        both = torch.cat((infrared, visible), dim=1)
        gradient = self._gradient(both)
        channel = self.channel_mean(gradient.mean((2, 3))) + self.channel_max(gradient.amax((2, 3)))
        spatial = self.spatial_mean(F.avg_pool2d(gradient, 3, 1, 1)) + self.spatial_max(F.max_pool2d(gradient, 3, 1, 1))
        return both * torch.sigmoid(channel[:, :, None, None] * spatial)

    def _gradient(self, x: Tensor) -> Tensor:
        padded = F.pad(x, (1, 1, 1, 1), mode="replicate")
        along_x, along_y = F.conv2d(padded, self.sobel).abs().chunk(2, dim=1)
        return along_x + along_y


class Decoder(nn.Module):
    """FRB2, the reconstruction: 16 fused channels -> luma in [0, 1]."""

    def __init__(self, blocks: int) -> None:
        super().__init__()
        self.reduce = conv_bn_lrelu(2 * CHANNELS, CHANNELS, padding_mode="reflect")
        self.blocks = nn.Sequential(*(ConvBlock() for _ in range(blocks)))
        self.narrow = conv_bn_lrelu(CHANNELS, 4, padding_mode="reflect")
        self.out = nn.Conv2d(4, 1, 3, padding=1, padding_mode="reflect")

    def forward(self, fused: Tensor) -> Tensor:
        """(B, 16, H, W) -> (B, 1, H, W)."""
        x = self.narrow(self.blocks(self.reduce(fused)))
        # (tanh(t) + 1) / 2 = sigmoid(2 t). MKL's tanh is off by 5e-5 in some processes' first call; sigmoid never is.
        return torch.sigmoid(2.0 * self.out(x))


class VFN(nn.Module):
    """The fusion network. `forward` is the uncompensated pass; CLDyN drives the parts for the compensated one."""

    def __init__(self, blocks: int = 2) -> None:
        super().__init__()
        if blocks < 1:
            raise ValueError(f"the VFN needs at least one encoder block, not {blocks}")
        self.encoder_ir = Encoder(blocks)
        self.encoder_vi = Encoder(blocks)
        self.attention = GradientAttention()
        self.decoder = Decoder(blocks)

    @property
    def depth(self) -> int:
        """L, the number of encoder blocks."""
        return len(self.encoder_ir.blocks)

    def forward(self, infrared: Tensor, luma: Tensor) -> Tensor:
        """Fuse infrared and visible luma, both (B, 1, H, W) in [0, 1] -> (B, 1, H, W) in [0, 1]."""
        return self.finish(self.encoder_ir.block(0, infrared), self.encoder_vi.block(0, luma))

    def finish(self, infrared: Tensor, visible: Tensor) -> Tensor:
        """Two outputs (B, 8, H, W) of encoder block 0 -> fused luma (B, 1, H, W) in [0, 1]."""
        for i in range(1, self.depth):
            infrared, visible = self.encoder_ir.block(i, infrared), self.encoder_vi.block(i, visible)
        return self.reconstruct(infrared, visible)

    def reconstruct(self, infrared: Tensor, visible: Tensor) -> Tensor:
        """Two encoded (B, 8, H, W) features -> fused luma (B, 1, H, W) in [0, 1]."""
        return self.decoder(self.attention(infrared, visible))


def _mlp(width: int) -> nn.Sequential:
    return nn.Sequential(nn.Linear(width, 2 * width), nn.ReLU(), nn.Linear(2 * width, width))


def _conv_pair(width: int) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(width, 2 * width, 3, padding=1, padding_mode="reflect"),
        nn.ReLU(),
        nn.Conv2d(2 * width, width, 3, padding=1, padding_mode="reflect"),
    )
