"""Adam on a flat gradient: clipping, learning rate, loss scale of half precision, running average of the weights."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor

from cldyn_core.train.training import Training

_FIRST_SCALE, _GROW_AFTER = 2.0**12, 200


class Optimization:
    """Moves the parameters of a training. Everything that a resumed run needs is in `tensors` and `values`."""

    def __init__(self, training: Training) -> None:
        self.training, recipe = training, training.recipe
        groups = [
            {"params": [p for p in training.parameters if p.ndim > 1], "weight_decay": recipe.weight_decay},
            {"params": [p for p in training.parameters if p.ndim <= 1], "weight_decay": 0.0},
        ]
        self._adam = torch.optim.AdamW(groups)
        self._half = recipe.precision == "float16"
        training.loss_scale = _FIRST_SCALE if self._half else 1.0
        self._good = 0
        self._averaged = [p.detach().clone() for p in training.parameters] if recipe.average else []

    def step(self, step: int) -> dict[str, float]:
        """One step; returns its figures. Raises FloatingPointError for a loss or a gradient that is not finite.

        In float16 a gradient that overflows skips the step and halves the loss scale, as usual.
        """
        training, recipe = self.training, self.training.recipe
        rows, figures = training.gradients(step)
        rows = training.processes.sum(rows) / training.loss_scale
        finite = bool(torch.isfinite(rows).all())
        if self._half:
            figures["loss_scale"] = training.loss_scale
            self._rescale(finite)
        if not finite:
            if self._half and training.loss_scale >= 1.0:
                return figures
            raise FloatingPointError(f"the gradient is not finite at step {step}; lower the learning rate")
        combined = training.combine(rows, step)
        norm = float(combined.norm())
        combined *= min(1.0, recipe.clip / (norm + 1e-12))
        self._apply(combined, recipe.rate(step))
        return {**figures, "gradient_norm": norm, "learning_rate": recipe.rate(step)}

    @contextmanager
    def averaged(self) -> Iterator[None]:
        """Inside, the parameters are their running average, if the recipe asks for one."""
        parameters = self.training.parameters
        own = [p.detach().clone() for p in parameters] if self._averaged else []
        _copy(self._averaged, parameters)
        try:
            yield
        finally:
            _copy(own, parameters)

    def tensors(self) -> dict[str, Tensor]:
        """All tensors of the state, by name."""
        found = {f"average/{i}": tensor for i, tensor in enumerate(self._averaged)}
        for name, module in self.training.modules.items():
            found |= {f"module/{name}/{key}": value for key, value in module.state_dict().items()}
        for index, state in self._adam.state_dict()["state"].items():
            found |= {f"adam/{index}/{name}": torch.as_tensor(value) for name, value in state.items()}
        return found

    def values(self) -> dict[str, float]:
        """The numbers of the state, by name."""
        return {"loss_scale": self.training.loss_scale, "good": self._good}

    def load(self, tensors: dict[str, Tensor], values: dict[str, float]) -> None:
        """Take over what `tensors` and `values` gave."""
        for name, module in self.training.modules.items():
            prefix = f"module/{name}/"
            module.load_state_dict({k.removeprefix(prefix): v for k, v in tensors.items() if k.startswith(prefix)})
        state: dict[int, dict[str, Tensor]] = {}
        for key, value in tensors.items():
            if key.startswith("adam/"):
                _, index, name = key.split("/")
                state.setdefault(int(index), {})[name] = value
        self._adam.load_state_dict({**self._adam.state_dict(), "state": state})
        _copy([tensors[f"average/{i}"] for i in range(len(self._averaged))], self._averaged)
        self.training.loss_scale, self._good = values["loss_scale"], int(values["good"])

    def _apply(self, gradient: Tensor, rate: float) -> None:
        parameters = self.training.parameters
        for parameter, part in zip(parameters, gradient.split([p.numel() for p in parameters]), strict=True):
            parameter.grad = part.view_as(parameter)
        for group in self._adam.param_groups:
            group["lr"] = rate
        self._adam.step()
        share = 1 - self.training.recipe.average
        with torch.no_grad():
            for average, parameter in zip(self._averaged, parameters, strict=False):
                average.lerp_(parameter, share)

    def _rescale(self, finite: bool) -> None:
        self._good = self._good + 1 if finite else 0
        if not finite:
            self.training.loss_scale /= 2
        elif self._good % _GROW_AFTER == 0:
            self.training.loss_scale *= 2


@torch.no_grad()
def _copy(source: list[Tensor], target: list) -> None:
    for theirs, own in zip(source, target, strict=False):
        own.copy_(theirs)
