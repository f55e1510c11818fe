"""Training of the task networks on (fused) images."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from cldyn_core.data.transforms import Labelled, random_light, random_view
from cldyn_core.tasks.detection import Detector
from cldyn_core.train.recipes import cosine
from cldyn_core.types import Detections, as_batch

SampleSource = Callable[[np.random.Generator], Labelled]
"""Draws one labelled image; mixing data sets, fused and single-modality images is its business."""


@dataclass(frozen=True)
class DetectorTraining:
    """Recipe of a detector: SGD with Nesterov momentum, warm-up, cosine decay, averaged weights."""

    steps: int = 3000
    batch: int = 8
    size: tuple[int, int] = (320, 416)
    """(H, W) of the training windows, multiples of 32."""
    learning_rate: float = 0.01
    weight_decay: float = 5e-4
    warmup: int = 100
    average: float = 0.998
    """Decay of the running average of the weights, which is the result."""
    seed: int = 0
    report_every: int = 50


@dataclass(frozen=True)
class DetectorProgress:
    """Mean loss over the last `report_every` steps."""

    step: int
    loss: float
    seconds: float


def train_detector(
    detector: Detector,
    draw: SampleSource,
    recipe: DetectorTraining,
    report: Callable[[DetectorProgress, torch.nn.Module], None] = lambda _p, _m: None,
) -> torch.nn.Module:
    """Train in place; the averaged model is returned (and handed to `report`), in evaluation mode."""
    torch.manual_seed(recipe.seed)
    rng = np.random.default_rng(recipe.seed)
    model = detector.module.train()
    for parameter in model.parameters():
        parameter.requires_grad_(True)
    optimizer = torch.optim.SGD(
        _parameter_groups(model, recipe.weight_decay), lr=recipe.learning_rate, momentum=0.937, nesterov=True
    )
    averaged = torch.optim.swa_utils.AveragedModel(
        model, multi_avg_fn=torch.optim.swa_utils.get_ema_multi_avg_fn(recipe.average), use_buffers=True
    )
    total, start = 0.0, time.monotonic()
    for step in range(1, recipe.steps + 1):
        for group in optimizer.param_groups:
            group["lr"] = recipe.learning_rate * _schedule(step, recipe)
        images, targets = _batch(draw, recipe, rng, detector.names)
        loss = detector.losses(images, targets).mean()
        if not torch.isfinite(loss):
            raise FloatingPointError(f"the loss is {loss.item()} at step {step}; lower the learning rate")
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 10.0)
        optimizer.step()
        averaged.update_parameters(model)
        total += loss.item()
        if step % recipe.report_every == 0 or step == recipe.steps:
            mean = total / ((step - 1) % recipe.report_every + 1)
            report(DetectorProgress(step, mean, time.monotonic() - start), averaged.module)
            total = 0.0
    detector.module = averaged.module.eval()
    return detector.module


def start_from(detector: Detector, path: Path) -> int:
    """Take over every tensor of a .safetensors file that fits by name and shape (a backbone trained on other classes);
    returns their number. Raises ValueError if fewer than half of the detector's do.
    """
    own = detector.module.state_dict()
    try:
        theirs = load_file(path)
    except SafetensorError as error:
        raise ValueError(f"{path}: not a readable safetensors file: {error}") from error
    fitting = {k: v.to(own[k].dtype) for k, v in theirs.items() if k in own and own[k].shape == v.shape}
    if len(fitting) < len(own) / 2:
        raise ValueError(f"{path}: only {len(fitting)} of the {len(own)} tensors of {detector.model} fit")
    detector.module.load_state_dict({**own, **fitting})
    return len(fitting)


@torch.inference_mode()
def judge_detector(detector: Detector, samples: Sequence[Labelled]) -> float:
    """Mean detection loss over whole images."""
    losses = []
    for sample in samples:
        losses.append(float(detector.losses(as_batch(sample.image), [_target(sample, detector.names)])))
    return float(np.mean(losses))


def _batch(
    draw: SampleSource, recipe: DetectorTraining, rng: np.random.Generator, names: tuple[str, ...]
) -> tuple[Tensor, list[Detections]]:
    images, targets = np.empty((recipe.batch, *recipe.size, 3), np.uint8), []
    for b in range(recipe.batch):
        view = random_view(draw(rng), recipe.size, rng)
        images[b] = random_light(view.image, rng)
        targets.append(_target(view, names))
    return torch.from_numpy(images).permute(0, 3, 1, 2).float().div_(255.0), targets


def _target(sample: Labelled, names: tuple[str, ...]) -> Detections:
    certain = np.ones(len(sample.labels), np.float32)
    return Detections(sample.boxes, certain, sample.labels, names, sample.annotated)


def _parameter_groups(model: torch.nn.Module, weight_decay: float) -> list[dict]:
    decayed = [p for p in model.parameters() if p.ndim > 1]
    plain = [p for p in model.parameters() if p.ndim <= 1]
    return [{"params": decayed, "weight_decay": weight_decay}, {"params": plain, "weight_decay": 0.0}]


def _schedule(step: int, recipe: DetectorTraining) -> float:
    if step <= recipe.warmup:
        return step / recipe.warmup
    progress = (step - recipe.warmup) / max(1, recipe.steps - recipe.warmup)
    return cosine(progress, 0.02)
