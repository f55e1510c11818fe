"""BVB, the Basis Vector Bank: the shared dictionary from which A2SI builds its kernels."""

from __future__ import annotations

import torch
from torch import Tensor, nn

CONFIGURATIONS = 4
"""Kernel configurations of A2SI: 1x1; 3x3 with dilation 1, 2, 3."""
VECTORS = 32
"""Basis vectors of one configuration."""
VECTOR_LENGTH = 256
"""e2 in the paper."""


class BasisVectorBank(nn.Module):
    """128 trainable vectors, mutually orthonormal at first; ONE bank serves both modalities and all blocks."""

    def __init__(self) -> None:
        super().__init__()
        columns = torch.empty(VECTOR_LENGTH, CONFIGURATIONS * VECTORS)
        nn.init.orthogonal_(columns)
        self.vectors = nn.Parameter(columns.T.reshape(CONFIGURATIONS, VECTORS, VECTOR_LENGTH).contiguous())

    def forward(self) -> Tensor:
        """The bank, (4, 32, 256)."""
        return self.vectors
