"""Values that no network may hand on."""

from __future__ import annotations

import torch
from torch import Tensor


def check_finite(values: Tensor, what: str) -> Tensor:
    """The values as they are. Raises FloatingPointError if one of them is NaN or infinite; waits for a GPU."""
    if not torch.isfinite(values.sum(dtype=torch.float32)):  # a sum is cheaper than a look at each
        raise FloatingPointError(f"{what} has NaN or infinite values")
    return values
