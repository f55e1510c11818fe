"""Fusion metrics in torchmetrics' style: averages over batches of tensors, on their device, in float64."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from cldyn_core.metrics.batched_measures import MEASURES
from cldyn_core.metrics.batched_triple import TripleBatch
from cldyn_core.metrics.fusion import FusionMetricWarning, find_metric, score
from cldyn_core.packages import import_torchmetrics

if TYPE_CHECKING:
    from torchmetrics import Metric
else:
    Metric = import_torchmetrics().Metric

_NAMES = ("infrared", "visible", "fused")


class _Averages(Metric):
    """Sums over the images of several metrics, and how many images have none."""

    full_state_update = False
    is_differentiable = False
    total: Tensor
    count: Tensor
    missing: Tensor

    def __init__(self, names: Sequence[str]) -> None:
        super().__init__()
        self.names = tuple(names)
        self._metrics = [find_metric(name).name for name in names]
        for state, dtype in (("total", torch.float64), ("count", torch.int64), ("missing", torch.int64)):
            self.add_state(state, torch.zeros(len(names), dtype=dtype), dist_reduce_fx="sum")

    def update(self, infrared: Tensor, visible: Tensor, fused: Tensor) -> None:
        """Add B triples, each (B, 1, H, W) or (B, H, W) uint8 luma. Raises ValueError for other tensors."""
        values = self._values(_stacked(infrared, visible, fused)).to(self.total.device)
        missing = values.isnan() | values.isneginf()
        self.total += values.masked_fill(missing, 0).sum(1)
        self.count += (~missing).sum(1)
        self.missing += missing.sum(1)

    def _values(self, luma: Tensor) -> Tensor:
        """(names, B) float64."""
        batch = TripleBatch(luma)
        by_name = {name: MEASURES[name](batch) for name in self._metrics if name in MEASURES}
        if others := [name for name in self._metrics if name not in MEASURES]:
            by_name |= _one_by_one(luma, others)
        return torch.stack([by_name[name] for name in self._metrics])

    def _means(self) -> Tensor:
        """(names,) float64; nan where no image has a value."""
        return self.total / self.count


class BatchedFusionMetric(_Averages):
    """The average of one fusion metric over all images that have a value: a float64 scalar.

    name: of FUSION_METRICS, or an alias. Those of MEASURES are computed for the whole batch on the tensors' device; the
    others (ei, ce, viff, ms_ssim, qy, qnmi, qncie, nabf, fmi) image by image with NumPy. `undefined` counts the images
    that do not enter, as their value is nan or -inf; psnr is inf with one triple of equal images. Raises ValueError for
    an unknown name.
    """

    def __init__(self, name: str) -> None:
        super().__init__([name])

    @property
    def higher_is_better(self) -> bool | None:  # type: ignore[override]
        """As FUSION_METRICS says."""
        return find_metric(self.names[0]).higher_is_better

    def compute(self) -> Tensor:
        """() float64; nan before an image has a value."""
        return self._means()[0]

    @property
    def undefined(self) -> int:
        """Images without a value so far, in this process."""
        return int(self.missing[0])


class BatchedFusionMetrics(_Averages):
    """Averages of several fusion metrics, which share what they have in common: {name: float64 scalar}, and
    {name/undefined: int64 scalar}, the number of images left out. Else as BatchedFusionMetric.
    """

    higher_is_better = None

    def compute(self) -> dict[str, Tensor]:
        """Means, nan where no image has a value, and counts."""
        means = dict(zip(self.names, self._means(), strict=True))
        return means | {f"{name}/undefined": n for name, n in zip(self.names, self.missing.clone(), strict=True)}


def _stacked(*images: Tensor) -> Tensor:
    """(3, B, H, W) of three checked tensors."""
    for name, image in zip(_NAMES, images, strict=True):
        if not isinstance(image, Tensor) or image.dtype != torch.uint8:
            kind = image.dtype if isinstance(image, Tensor) else type(image).__name__
            raise ValueError(f"the {name} images must be a uint8 tensor, not {kind}: scale to 0..255, round, convert")
        if image.ndim not in (3, 4) or (image.ndim == 4 and image.shape[1] != 1) or not image.numel():
            shape = tuple(image.shape)
            raise ValueError(f"the {name} images must be (B, 1, H, W) or (B, H, W), not {shape}: reduce colour to luma")
    flat = [image[:, 0] if image.ndim == 4 else image for image in images]
    if len({image.shape for image in flat}) > 1:
        sizes = ", ".join(f"{name} {tuple(image.shape)}" for name, image in zip(_NAMES, flat, strict=True))
        raise ValueError(f"batches of one shape are needed, got {sizes}: register and resize them first")
    if len({image.device for image in flat}) > 1:
        places = ", ".join(f"{name} {image.device}" for name, image in zip(_NAMES, flat, strict=True))
        raise ValueError(f"batches on one device are needed, got {places}: move them with .to(device)")
    return torch.stack(flat)


def _one_by_one(luma: Tensor, names: Sequence[str]) -> dict[str, Tensor]:
    """(B,) values of each metric, by NumPy."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FusionMetricWarning)  # counted instead
        scores = [score(a, b, f, names) for a, b, f in luma.transpose(0, 1).cpu().numpy()]
    return {name: torch.tensor([s[name] for s in scores], dtype=torch.float64, device=luma.device) for name in names}
