"""A run of stage 2 from its first or its last saved step to its end: optimizer, validation, best weights, resume."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from cldyn_core.checkpoint import save_weights
from cldyn_core.train.closed_loop import ClosedLoop
from cldyn_core.train.recipes import cosine
from cldyn_core.train.run_folder import RunFolder
from cldyn_core.types import Task

BEST = "cldyn.safetensors"


@dataclass(frozen=True)
class Progress:
    """The state of a run after a step; `validation` after those that judged."""

    step: int
    seconds_left: float
    figures: dict[str, float]
    validation: dict[str, float] | None


def run_closed_loop(
    loop: ClosedLoop, folder: RunFolder, resume: bool, report: Callable[[Progress], None], stop_after: int | None = None
) -> dict[str, float]:
    """Train to the end, or up to step `stop_after`; the best weights are in the folder. Returns their validation.

    A loss or gradient that is not finite raises FloatingPointError; the state of the last validation stays.
    """
    loop.measure()
    recipe = loop.recipe
    optimizer = torch.optim.AdamW(loop.parameters, lr=recipe.learning_rate, weight_decay=recipe.weight_decay)
    if resume:
        tensors, first, values = folder.load_state()
        _restore(loop, optimizer, tensors)
        best, stale = {k.removeprefix("best/"): v for k, v in values.items() if k.startswith("best/")}, values["stale"]
    else:
        first, stale, best = 0, 0.0, loop.validate()
        _keep_best(loop, folder, 0, best)
        _save(loop, optimizer, folder, 0, best, stale)
    started, last = time.monotonic(), min(recipe.steps, stop_after or recipe.steps)
    for step in range(first + 1, last + 1):
        if recipe.patience and stale >= recipe.patience:
            break
        figures = _step(loop, optimizer, step)
        folder.log(step, figures)
        validation = None
        if step % recipe.validate_every == 0 or step == last:
            validation = loop.validate()
            folder.log(step, {f"validation/{name}": value for name, value in validation.items()})
            _show(loop, folder, step)
            stale = 0.0 if validation["mean"] < best["mean"] else stale + 1
            if not stale:
                best = validation
                _keep_best(loop, folder, step, best)
            _save(loop, optimizer, folder, step, best, stale)
        left = (time.monotonic() - started) / (step - first) * (last - step)
        report(Progress(step, left, figures, validation))
    return best


def _step(loop: ClosedLoop, optimizer: torch.optim.Optimizer, step: int) -> dict[str, float]:
    recipe = loop.recipe
    rate = recipe.learning_rate * cosine((step - 1) / recipe.steps, 0.01)
    combined, figures = loop.gradient(step)
    norm = float(combined.norm())
    if not math.isfinite(norm):
        raise FloatingPointError(f"the gradient is not finite at step {step}; lower the learning rate")
    combined *= min(1.0, recipe.clip / (norm + 1e-12))
    for parameter, part in zip(loop.parameters, combined.split([p.numel() for p in loop.parameters]), strict=True):
        parameter.grad = part.view_as(parameter)
    for group in optimizer.param_groups:
        group["lr"] = rate
    optimizer.step()
    return {**figures, "gradient_norm": norm, "learning_rate": rate}


def _save(
    loop: ClosedLoop,
    optimizer: torch.optim.Optimizer,
    folder: RunFolder,
    step: int,
    best: dict[str, float],
    stale: float,
) -> None:
    tensors = {f"model/{name}": value for name, value in loop.model.state_dict().items()}
    for index, state in optimizer.state_dict()["state"].items():
        tensors |= {f"optimizer/{index}/{name}": torch.as_tensor(value) for name, value in state.items()}
    folder.save_state(tensors, step, {**{f"best/{k}": v for k, v in best.items()}, "stale": stale})


def _restore(loop: ClosedLoop, optimizer: torch.optim.Optimizer, tensors: dict[str, Tensor]) -> None:
    loop.model.load_state_dict({k.removeprefix("model/"): v for k, v in tensors.items() if k.startswith("model/")})
    state: dict[int, dict[str, Tensor]] = {}
    for key, value in tensors.items():
        if key.startswith("optimizer/"):
            _, index, name = key.split("/")
            state.setdefault(int(index), {})[name] = value
    optimizer.load_state_dict({**optimizer.state_dict(), "state": state})


def _keep_best(loop: ClosedLoop, folder: RunFolder, step: int, validation: dict[str, float]) -> None:
    record = {
        "stage": "closed-loop",
        "step": step,
        "relative_loss_of_held_out_pairs": {name: round(value, 5) for name, value in validation.items()},
    }
    save_weights(loop.model, folder.folder / BEST, record)


def _show(loop: ClosedLoop, folder: RunFolder, step: int) -> None:
    """First held-out pair of each task: before, after, eight times their difference; and the plan."""
    for task in loop.networks:
        picture, plan = before_and_after(loop, task)
        folder.picture(step, f"{task.value}/before_after_difference", picture)
        folder.text(step, f"{task.value}/plan", plan)


@torch.no_grad()
def before_and_after(loop: ClosedLoop, task: Task) -> tuple[np.ndarray, str]:
    """(H, 3 W, 3) uint8 picture of a task's first held-out pair, and its plan as text."""
    before, after = loop.example(task)
    difference = (0.5 + 8 * (after.rgb - before.rgb)).clamp(0, 1)
    row = torch.cat((before.rgb.clamp(0, 1), after.rgb.clamp(0, 1), difference), dim=3)[0]
    picture = row.permute(1, 2, 0).mul(255).round().to(torch.uint8).cpu().numpy()
    return picture, after.plan.describe() if after.plan else ""
