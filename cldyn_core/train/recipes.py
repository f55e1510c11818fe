"""What the recipes of the trainings share."""

from __future__ import annotations

import math

from cldyn_core.tasks.images import STRIDE


def check_recipe(recipe: object, *counts: str) -> None:
    """Raise ValueError, naming the field, unless each of `counts` is at least 1 and `size` a multiple of 32."""
    values = vars(recipe)
    for name in counts:
        if values[name] < 1:
            raise ValueError(f"{name} must be at least 1, not {values[name]}")
    if values["size"] % STRIDE:
        raise ValueError(f"size must be a multiple of {STRIDE}, not {values['size']}")


def cosine(progress: float, last: float) -> float:
    """Factor of the learning rate: from 1 at progress 0 along half a cosine to `last` at progress 1."""
    return last + (1 - last) * 0.5 * (1 + math.cos(math.pi * progress))
