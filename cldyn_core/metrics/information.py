"""Fusion metrics of information theory: histograms of 8-bit grey levels, 256 bins, logarithms to base 2."""

from __future__ import annotations

from math import nan

import numpy as np

from cldyn_core.metrics.triple import FUSED, INFRARED, SOURCES, VISIBLE, Luma, Plane, Triple, joint_histogram


def entropy(frequencies: Plane) -> float:
    """-sum p log2 p, in bits, with 0 log 0 = 0."""
    p = frequencies[frequencies > 0]
    return float(-(p * np.log2(p)).sum()) + 0.0  # not -0.0


def en(triple: Triple) -> float:
    """Entropy of the fused image in bits, 0..8 (Roberts, van Aardt and Ahmed, 2008). Public code agrees."""
    return entropy(triple.histograms[FUSED])


def mi(triple: Triple) -> float:
    """Mutual information I(A; F) + I(B; F) in bits (Qu, Zhang and Yan, 2002).

    Some public code gives nats (0.693 of this); some joins grey levels 254 and 255 and gets up to 1.5 % more.
    """
    return sum(_information(triple))


def qnmi(triple: Triple) -> float:
    """Normalised mutual information, 0..2 (Hossny, Nahavandi and Creighton, 2008).

    2 I(X; F) / (H(X) + H(F)), summed over both sources. nan if an image is constant (other than black). Some public
    code divides the sum of I by H(A) + H(B).
    """
    if any(_unstretchable(image) for image in triple.luma):
        return nan
    h_fused = entropy(triple.histograms[FUSED])
    total = 0.0
    for information, source in zip(_information(triple), SOURCES, strict=True):
        entropies = entropy(triple.histograms[source]) + h_fused
        total += 2 * information / entropies if entropies > 0 else nan
    return total


def qncie(triple: Triple) -> float:
    """Nonlinear correlation information entropy, 0.802..1 (Wang, Shen and Zhang, 2005).

    Of the eigenvalues of the 3x3 matrix of mutual informations to base 256. nan if an image is constant (other than
    black). Some public code puts Pearson coefficients in the matrix.
    """
    if any(_unstretchable(image) for image in triple.luma):
        return nan
    infrared, visible, _ = (entropy(p) for p in triple.histograms)
    joint = joint_histogram(triple.luma[INFRARED], triple.luma[VISIBLE])
    between = infrared + visible - entropy(joint)
    with_infrared, with_visible = _information(triple)
    matrix = np.eye(3)
    for (row, column), value in (((0, 1), between), ((0, 2), with_infrared), ((1, 2), with_visible)):
        matrix[row, column] = matrix[column, row] = value / 8
    shares = np.linalg.eigvalsh(matrix) / 3
    shares = shares[shares > 0]
    return float(1 + (shares * np.log2(shares)).sum() / 8)


def ce(triple: Triple) -> float:
    """Mean cross entropy (Kullback-Leibler divergence) of both sources' histograms from the fused one's, in bits.

    Only grey levels that occur in both images count, so it can fall below zero (Bulanon, Burks and Alchanatis, 2009).
    Some public code gives this name to a binary cross entropy of pixels.
    """
    fused = triple.histograms[FUSED]
    total = 0.0
    for source in SOURCES:
        p = triple.histograms[source]
        both = (p > 0) & (fused > 0)
        total += float((p[both] * np.log2(p[both] / fused[both])).sum())
    return total / 2


def _information(triple: Triple) -> list[float]:
    """I(X; F) of each source."""
    h_fused = entropy(triple.histograms[FUSED])
    return [
        entropy(triple.histograms[source]) + h_fused - entropy(joint)
        for source, joint in zip(SOURCES, triple.with_fused, strict=True)
    ]


def _unstretchable(image: Luma) -> bool:
    """Constant but not black: the public code stretches first, and has no value then."""
    return bool(image.min() == image.max() != 0)
