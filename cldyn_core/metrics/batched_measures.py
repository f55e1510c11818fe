"""Fusion metrics of B triples at once, on tensors: the formulas of the modules beside this one, float64 throughout.

What each metric is, and its source, stands at the function of the same name there.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from math import exp, pi, sqrt

import torch
import torch.nn.functional as F
from torch import Tensor

from cldyn_core.metrics.batched_triple import LocalMoments, TripleBatch, entropy, filter_valid, histograms, separable
from cldyn_core.metrics.triple import FUSED, INFRARED, SOURCES, VISIBLE, gaussian_kernel

_TINY, _NEGLIGIBLE = 1e-5, 2e-16


def _en(batch: TripleBatch) -> Tensor:
    return batch.entropies[FUSED]


def _mi(batch: TripleBatch) -> Tensor:
    codes = batch.luma.long()
    joints = [entropy(histograms(codes[x] * 256 + codes[FUSED], 65536)) for x in SOURCES]
    return _sum(batch.entropies[x] + batch.entropies[FUSED] - joints[x] for x in SOURCES)


def _sd(batch: TripleBatch) -> Tensor:
    return batch.covariances[:, FUSED, FUSED].double().sqrt() / batch.luma[0, 0].numel()


def _mse(batch: TripleBatch) -> Tensor:
    p = batch.products.double()
    errors = _sum(p[:, FUSED, FUSED] - 2 * p[:, x, FUSED] + p[:, x, x] for x in SOURCES)
    return errors / (2 * batch.luma[0, 0].numel())


def _psnr(batch: TripleBatch) -> Tensor:
    return 10 * torch.log10(255**2 / _mse(batch))


def _cc(batch: TripleBatch) -> Tensor:
    c = batch.covariances
    return _sum(_correlation(c[:, x, FUSED], c[:, x, x], c[:, FUSED, FUSED]) for x in SOURCES) / 2


def _scd(batch: TripleBatch) -> Tensor:
    c = batch.covariances.permute(1, 2, 0)
    return _sum(
        _correlation(c[FUSED][x] - c[x][y], c[FUSED][FUSED] - 2 * c[FUSED][y] + c[y][y], c[x][x])
        for x, y in ((INFRARED, VISIBLE), (VISIBLE, INFRARED))
    )


def _sf(batch: TripleBatch) -> Tensor:
    differences = (batch.planes[FUSED].diff(dim=dim) for dim in (1, 2))
    return _sum((d * d).sum((1, 2)) / max(d[0].numel(), 1) for d in differences).sqrt()


def _ag(batch: TripleBatch) -> Tensor:
    fused = batch.planes[FUSED]
    height, width = fused.shape[1:]
    if min(height, width) < 2:
        return torch.full_like(fused[:, 0, 0], torch.nan)
    y, x = torch.gradient(fused, dim=(1, 2))
    return ((x * x + y * y) / 2).sqrt().sum((1, 2)) / ((height - 1) * (width - 1))


def _qabf(batch: TripleBatch) -> Tensor:
    x, y = _sobel(batch.planes)
    magnitude, angle = (x * x + y * y).sqrt(), (y / torch.where(x == 0, _TINY, x)).atan()
    magnitude = torch.where(magnitude == 0, _TINY, magnitude)
    strengths = torch.minimum(magnitude[:FUSED], magnitude[FUSED]) / torch.maximum(magnitude[:FUSED], magnitude[FUSED])
    directions = 1 - (angle[:FUSED] - angle[FUSED]).abs() / (pi / 2)
    kept = 0.9994 / (1 + (-15 * (strengths - 0.5)).exp()) * 0.9879 / (1 + (-22 * (directions - 0.8)).exp())
    return (kept * magnitude[:FUSED]).sum((0, 2, 3)) / magnitude[:FUSED].sum((0, 2, 3))


def _qcb(batch: TripleBatch) -> Tensor:
    radius = _radius(batch.planes, 30)
    seen = _filtered(batch.stretched, (-((radius / 15.3870) ** 2)).exp() - 0.7622 * (-((radius / 1.3456) ** 2)).exp())
    contrast = (_blurred(seen, 2) / _blurred(seen, 4) - 1).abs()
    contrast = contrast**3 / (contrast**2 + 1e-4)
    kept = torch.minimum(contrast[:FUSED], contrast[FUSED]) / torch.maximum(contrast[:FUSED], contrast[FUSED])
    weights = contrast[:FUSED] ** 2
    return ((weights * kept).sum(0) / weights.sum(0)).mean((1, 2))


def _qcv(batch: TripleBatch) -> Tensor:
    radius = 0.144 * _radius(batch.planes, 8)
    sensitivity = 2.6 * (0.0192 + radius) * (-(radius**1.1)).exp()
    x, y = _sobel(batch.stretched[:FUSED])
    saliency = _block_sums((x * x + y * y).sqrt() ** 5)
    squared = _block_sums(_filtered(batch.stretched[:FUSED] - batch.stretched[FUSED], sensitivity) ** 2) / 256
    return (saliency * squared).sum((0, 2, 3)) / saliency.sum((0, 2, 3))


def _ssim_sum(batch: TripleBatch) -> Tensor:
    moments = batch.local(*gaussian_kernel(11, 1.5).tolist())
    return _sum(moments.similarity(x, (0.01 * 255) ** 2, (0.03 * 255) ** 2).mean((1, 2)) for x in SOURCES)


def _qc(batch: TripleBatch) -> Tensor:
    moments = batch.local(*[1 / 8] * 8)
    share = _share(*(moments.covariance(x, FUSED) for x in SOURCES)).clamp(0, 1)
    infrared, visible = (moments.similarity(x, _NEGLIGIBLE, _NEGLIGIBLE) for x in SOURCES)
    return (share * infrared + (1 - share) * visible).mean((1, 2))


def _qw(batch: TripleBatch) -> Tensor:
    moments = batch.local(*[1 / 8] * 8)
    variances = [moments.variance(x) for x in SOURCES]
    share, salience = _share(*variances), torch.maximum(*variances)
    salience = torch.where(salience == 0, 0.5, salience)
    infrared, visible = (moments.similarity(x, (1e-6 * 255) ** 2, (1e-6 * 255) ** 2) for x in SOURCES)
    return (salience * (share * infrared + (1 - share) * visible)).sum((1, 2)) / salience.sum((1, 2))


def _vif(batch: TripleBatch) -> Tensor:
    planes = batch.planes
    kept, had = planes.new_zeros(2, planes.shape[1]), planes.new_zeros(2, planes.shape[1])
    for scale, size in enumerate((17, 9, 5, 3)):
        kernel = gaussian_kernel(size, size / 5).tolist()
        if scale:
            planes = filter_valid(planes, kernel)[..., ::2, ::2]
        moments = LocalMoments(planes, kernel)
        of_sources = [_fidelity(moments, x) for x in SOURCES]
        kept += torch.stack([seen.sum((1, 2)) for seen, _ in of_sources])
        had += torch.stack([present.sum((1, 2)) for _, present in of_sources])
    return (kept / had).sum(0)


MEASURES: Mapping[str, Callable[[TripleBatch], Tensor]] = {
    "en": _en,
    "mi": _mi,
    "sd": _sd,
    "mse": _mse,
    "psnr": _psnr,
    "cc": _cc,
    "scd": _scd,
    "sf": _sf,
    "ag": _ag,
    "qabf": _qabf,
    "qcb": _qcb,
    "qcv": _qcv,
    "ssim_sum": _ssim_sum,
    "qc": _qc,
    "qw": _qw,
    "vif": _vif,
}
"""By name: B triples -> (B,) float64, nan where there is no value."""


def _fidelity(moments: LocalMoments, source: int) -> tuple[Tensor, Tensor]:
    """Information of the source in the fused image and in itself, (B, h, w)."""
    eps, noise = 1e-10, 2.0
    variance, fused = (moments.variance(x).clamp(min=0) for x in (source, FUSED))
    covariance = moments.covariance(source, FUSED)
    gain = covariance / (variance + eps)
    rest = torch.where(gain < 0, fused, fused - gain * covariance).clamp(min=eps)
    variance = torch.where(variance < eps, 0, variance)
    gain = torch.where((variance == 0) | (fused < eps), 0, gain.clamp(min=0))
    return (1 + gain * gain * variance / (rest + noise)).log10(), (1 + variance / noise).log10()


def _sum(parts: Iterable[Tensor]) -> Tensor:
    return torch.stack(list(parts)).sum(0)


def _correlation(covariance: Tensor, of_x: Tensor, of_y: Tensor) -> Tensor:
    return covariance / (of_x.double().sqrt() * of_y.double().sqrt())


def _share(x: Tensor, y: Tensor) -> Tensor:
    return (x / (x + y)).nan_to_num(0.5, torch.inf, -torch.inf)


def _radius(planes: Tensor, degrees: float) -> Tensor:
    """Radial frequency on the grid of rfft2, in cycles per degree if the image spans `degrees` such units."""
    height, width = planes.shape[-2:]
    rows = torch.fft.fftfreq(height, dtype=planes.dtype, device=planes.device) * (2 * height / degrees)
    columns = torch.fft.rfftfreq(width, dtype=planes.dtype, device=planes.device) * (2 * width / degrees)
    return (rows[:, None] ** 2 + columns**2).sqrt()


def _filtered(planes: Tensor, gain: Tensor) -> Tensor:
    return torch.fft.irfft2(torch.fft.rfft2(planes) * gain, planes.shape[-2:])


def _blurred(planes: Tensor, sigma: float) -> Tensor:
    """Gaussian on 31x31 pixels, not renormalised, zeros beyond the border."""
    kernel = [exp(-(x * x) / (2 * sigma * sigma)) / (sqrt(2 * pi) * sigma) for x in range(-15, 16)]
    return separable(F.pad(planes, (15, 15, 15, 15)), kernel, kernel)


def _sobel(planes: Tensor) -> tuple[Tensor, Tensor]:
    """Horizontal and vertical 3x3 Sobel responses, zeros beyond the border."""
    padded, smooth, step = F.pad(planes, (1, 1, 1, 1)), (1.0, 2.0, 1.0), (-1.0, 0.0, 1.0)
    return separable(padded, smooth, step), separable(padded, step, smooth)


def _block_sums(planes: Tensor, side: int = 16) -> Tensor:
    """Sums over blocks that do not overlap, the last ones filled up with zeros."""
    height, width = planes.shape[-2:]
    padded = F.pad(planes, (0, -width % side, 0, -height % side))
    return padded.unflatten(-1, (-1, side)).unflatten(-3, (-1, side)).sum((-1, -3))
