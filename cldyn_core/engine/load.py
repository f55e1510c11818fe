"""What an engine begins with: its device, and the fusion network from a weight file."""

from __future__ import annotations

import torch

from cldyn_core.checkpoint import load_weights, resolve_weights
from cldyn_core.model import CLDyN
from cldyn_core.registry import describe_weights


def load_model(weights: str, device: torch.device) -> tuple[CLDyN, str]:
    """Load a variant ("default", "paper") or a .safetensors path: the network in evaluation mode, and a line that says
    what it is.
    """
    path = resolve_weights(weights, "cldyn")
    model = load_weights(path).to(device)
    return model, describe_weights(path)


def resolve_device(name: str) -> torch.device:
    """Turn a name into a device; "auto" is CUDA when there is one. Raises ValueError for one that is not there."""
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    try:
        device = torch.device(name)
    except RuntimeError as error:
        raise ValueError(f"unknown device {name!r}; use auto, cpu, cuda or cuda:<number>") from error
    if device.type == "cuda" and (device.index or 0) >= torch.cuda.device_count():
        raise ValueError(
            f"device {name!r} is not there: torch sees {torch.cuda.device_count()} CUDA devices; use auto or cpu"
        )
    return device
