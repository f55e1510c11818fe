"""Fusion metrics of means and covariances of whole images: SD, MSE, PSNR, CC, SCD.

Sums of products of 8-bit images are integers that float64 holds, so all five come without rounding from one 3x3 matrix.
"""

from __future__ import annotations

from math import inf, log10, nan, sqrt

from cldyn_core.metrics.triple import FUSED, INFRARED, SOURCES, VISIBLE, Triple


def sd(triple: Triple) -> float:
    """Standard deviation of the fused image, 0..127.5 (population; Rao, 1997).

    Some public code takes the mean of the columns' deviations, 4 to 22 % less.
    """
    return sqrt(triple.covariances[FUSED][FUSED]) / triple.luma[FUSED].size


def mse(triple: Triple) -> float:
    """Mean of the mean squared differences to both sources, in squared grey levels of 0..255.

    Some public code scales the images to 0..1 first.
    """
    products = triple.products
    errors = [products[FUSED][FUSED] - 2 * products[FUSED][x] + products[x][x] for x in SOURCES]
    return sum(errors) / (2 * triple.luma[FUSED].size)


def psnr(triple: Triple) -> float:
    """Peak signal-to-noise ratio in dB, 10 log10(255^2 / mse); inf for identical images.

    Values of 55 to 65 dB in papers relate the peak 255 to errors on 0..1: 48.13 dB more than this.
    """
    error = mse(triple)
    return 10 * log10(255**2 / error) if error else inf


def cc(triple: Triple) -> float:
    """Mean Pearson correlation of the fused image with both sources, -1..1; nan if an image is constant.

    The CLDyN paper's Q_CC, as we read it: the other candidate is Cvejic's Q_C (`qc`). Public code agrees.
    """
    c = triple.covariances
    return sum(_correlation(c[x][FUSED], c[x][x], c[FUSED][FUSED]) for x in SOURCES) / 2


def scd(triple: Triple) -> float:
    """Sum of the correlations of differences, r(F - B, A) + r(F - A, B), -2..2 (Aslantas and Bendes, 2015).

    nan if a difference or a source is constant, as when the fused image equals a source; some public code counts 0.
    """
    c = triple.covariances
    return sum(
        _correlation(c[FUSED][x] - c[x][y], c[FUSED][FUSED] - 2 * c[FUSED][y] + c[y][y], c[x][x])
        for x, y in ((INFRARED, VISIBLE), (VISIBLE, INFRARED))
    )


def _correlation(covariance: int, of_x: int, of_y: int) -> float:
    return covariance / (sqrt(of_x) * sqrt(of_y)) if of_x and of_y else nan
