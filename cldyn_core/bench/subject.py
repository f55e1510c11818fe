"""What is measured: the weights, the pair and the task feature that all sides get."""

from __future__ import annotations

import math
from pathlib import Path

import torch
from torch import Tensor

from cldyn_core.checkpoint import load_weights, resolve_weights, save_weights
from cldyn_core.data.synthetic import SceneConfig, render_frame
from cldyn_core.types import FramePair

_SEED = 20260408


def write_subject(path: Path) -> None:
    """Write the weights of the benchmark: the bundled fusion network with a random compensation.

    The bundled compensation may leave the image as it is, which an engine could profit from; a random one cannot.
    """
    model = load_weights(resolve_weights("default", "cldyn"))
    generator = torch.Generator().manual_seed(_SEED)
    for rsc in (model.rsc_ir, model.rsc_vi):
        state = {name: _random(name, value, generator) for name, value in rsc.state_dict().items()}
        rsc.load_state_dict(state)
    save_weights(model, path, {"made_for": "cldyn bench"})


def _random(name: str, value: Tensor, generator: torch.Generator) -> Tensor:
    """A plausible value for a weight or statistic of a trained network; the prototypes stay."""
    if not value.is_floating_point() or name.endswith("prototypes"):
        return value
    normal = torch.randn(value.shape, generator=generator)
    if name.endswith("running_var"):
        return 0.5 + normal.abs()
    if value.ndim == 1:
        return (1.0 if name.endswith("weight") else 0.0) + 0.2 * normal
    return normal * (1.5 / math.prod(value.shape[1:])) ** 0.5


def rendered_pair(width: int, height: int) -> FramePair:
    """A street at dusk, the same every time."""
    frame = render_frame(SceneConfig("dusk", width, height, 1, seed=1), 0)
    return FramePair(frame.visible, frame.infrared)


def fixed_feature(width: int, height: int) -> Tensor:
    """Random numbers in the shape of a nano detector's feature, (1, 256, ceil(H/32), ceil(W/32))."""
    shape = (1, 256, math.ceil(height / 32), math.ceil(width / 32))
    return torch.randn(shape, generator=torch.Generator().manual_seed(_SEED))
