"""Fusion metrics of local structure: SSIM and its kin, over windows that fit into the image."""

from __future__ import annotations

from math import inf

import numpy as np

from cldyn_core.metrics.triple import FUSED, INFRARED, SOURCES, VISIBLE, Moments, Plane, Triple

_C1, _C2 = (0.01 * 255) ** 2, (0.03 * 255) ** 2
_NEGLIGIBLE = 2e-16
_WINDOW = 11
_SCALE_WEIGHTS = np.array([0.0448, 0.2856, 0.3001]) / (0.0448 + 0.2856 + 0.3001)
_EPS = np.finfo(np.float64).eps


def ssim_sum(triple: Triple) -> float:
    """SSIM(A, F) + SSIM(B, F), -2..2 (Wang et al., 2004); nan below 11x11 pixels.

    Gaussian window of 11x11 and sigma 1.5, K 0.01 and 0.03, L 255. Public code differs in window, border, L and in sum
    or mean: 0.47 to 1.40 on the same images.
    """
    moments = triple.gaussian(_WINDOW, 1.5)
    return sum(_mean(moments.similarity(x, FUSED, _C1, _C2)) for x in SOURCES)


def qy(triple: Triple) -> float:
    """Yang's Q_Y, about 0..1 (Yang et al., 2008); nan below 7x7 pixels.

    Where the sources are alike (SSIM 0.75 and more) both count by their variance, else the better one. Its constants
    are so small that flat windows yield rounding noise: expect public values to differ by 1 % there.
    """
    moments = triple.dense_gaussian(7, 1.5)
    infrared, visible = (moments.similarity(x, FUSED, _NEGLIGIBLE, _NEGLIGIBLE) for x in SOURCES)
    share = _share(moments.variance(INFRARED), moments.variance(VISIBLE))
    alike = moments.similarity(INFRARED, VISIBLE, _NEGLIGIBLE, _NEGLIGIBLE) >= 0.75
    return _mean(np.where(alike, _blend(share, infrared, visible), np.maximum(infrared, visible)))


def qc(triple: Triple) -> float:
    """Cvejic's Q_C, -1..1 (Cvejic, Bull and Canagarajah, 2006); nan below 8x8 pixels.

    Similarity to each source under a uniform window of 8x8, weighted by the covariances. One public version takes a
    Gaussian window and has no value with flat windows.
    """
    moments = triple.box(8)
    infrared, visible = (moments.similarity(x, FUSED, _NEGLIGIBLE, _NEGLIGIBLE) for x in SOURCES)
    share = np.clip(_share(*(moments.covariance(x, FUSED) for x in SOURCES)), 0, 1)
    return _mean(_blend(share, infrared, visible))


def qw(triple: Triple) -> float:
    """Piella's weighted quality Q_W, -1..1 (Piella and Heijmans, 2003); nan below 8x8 pixels.

    Uniform window of 8x8, weighted by the larger variance; windows without contrast weigh as a variance of 0.5. Public
    code with Gaussian windows lies within 25 % of it.
    """
    moments = triple.box(8)
    constant = (1e-6 * 255) ** 2
    infrared, visible = (moments.similarity(x, FUSED, constant, constant) for x in SOURCES)
    variances = [moments.variance(x) for x in SOURCES]
    salience = np.maximum(*variances)
    salience[salience == 0] = 0.5
    quality = salience * _blend(_share(*variances), infrared, visible)
    return float(quality.sum()) / float(salience.sum()) if quality.size else np.nan


def ms_ssim(triple: Triple) -> float:
    """MEF-SSIM over three scales, up to 1 (Ma, Zeng and Wang, 2015); -inf below 41x41 pixels, where no window of
    11x11 fits the third scale.

    Another public toolbox gives this name to Wang's MS-SSIM, summed over the sources.
    """
    product = complex(1)
    local, box = triple.gaussian(_WINDOW, 1.5), triple.box(_WINDOW)
    for scale, weight in enumerate(_SCALE_WEIGHTS):
        if scale:
            local, box = local.halved(), box.halved()
        quality = _mef_quality(local, box)
        if not quality.size:
            return -inf
        product *= complex(quality.mean()) ** float(weight)
    return product.real


def _mef_quality(local: Moments, box: Moments) -> Plane:
    """MEF-SSIM map: the fused image against the patch that has the strongest contrast and the mean structure."""
    count = _WINDOW * _WINDOW
    infrared, visible = (np.maximum(count * box.variance(x), 0) for x in SOURCES)
    together = np.maximum(infrared + visible + 2 * count * box.covariance(INFRARED, VISIBLE), 0)
    norms = np.sqrt(infrared), np.sqrt(visible)
    consistency = (np.sqrt(together) + _EPS) / (norms[0] + norms[1] + _EPS)
    power = np.minimum(np.tan(np.pi / 2 * np.clip(consistency, _EPS, 1 - _EPS)), 10)
    contrasts = norms[0] + 0.001, norms[1] + 0.001
    weights = [(contrast / _WINDOW) ** power + _EPS for contrast in contrasts]
    total = weights[0] + weights[1]
    a, b = (weight / total / contrast for weight, contrast in zip(weights, contrasts, strict=True))
    norm = np.sqrt(
        np.maximum(a * a * infrared + b * b * visible + 2 * a * b * count * box.covariance(INFRARED, VISIBLE), 0)
    )
    gain = np.maximum(*contrasts) / np.where(norm > 0, norm, np.inf)
    a, b = a * gain, b * gain
    wanted = (
        a * a * local.variance(INFRARED)
        + b * b * local.variance(VISIBLE)
        + 2 * a * b * local.covariance(INFRARED, VISIBLE)
    )
    shared = a * local.covariance(INFRARED, FUSED) + b * local.covariance(VISIBLE, FUSED)
    return (2 * shared + _C2) / (wanted + local.variance(FUSED) + _C2)


def _share(x: Plane, y: Plane) -> Plane:
    """x / (x + y), a half where that is 0 / 0."""
    with np.errstate(divide="ignore", invalid="ignore"):
        share = x / (x + y)
    return np.where(np.isnan(share), 0.5, share)


def _blend(share: Plane, x: Plane, y: Plane) -> Plane:
    return share * x + (1 - share) * y


def _mean(plane: Plane) -> float:
    return float(plane.mean()) if plane.size else np.nan
