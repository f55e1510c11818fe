"""Fusion metrics of the human visual system: Q_CB and Q_CV in the frequency domain, VIF and VIFF over scales."""

from __future__ import annotations

import cv2
import numpy as np
from scipy import fft

from cldyn_core.metrics.triple import FUSED, SOURCES, Plane, Triple


def qcb(triple: Triple) -> float:
    """Contrast preservation Q_CB, 0..1 (Chen and Blum, 2009). nan if an image is constant.

    Stretch, contrast sensitivity filter, masked local contrast, saliency by contrast. The paper leaves constants open;
    these are those of the authors' circle. Public Python versions differ by up to 6 %.
    """
    shape = triple.planes[FUSED].shape
    radius = _radius(shape, 30)
    sensitivity = np.exp(-((radius / 15.3870) ** 2)) - 0.7622 * np.exp(-((radius / 1.3456) ** 2))
    with np.errstate(divide="ignore", invalid="ignore"):
        infrared, visible, fused = (_contrast(_filtered(plane, sensitivity)) for plane in triple.stretched)
        kept_infrared, kept_visible = (
            np.minimum(source, fused) / np.maximum(source, fused) for source in (infrared, visible)
        )
        weight_infrared, weight_visible = infrared * infrared, visible * visible
        quality = weight_infrared * kept_infrared + weight_visible * kept_visible
        return float((quality / (weight_infrared + weight_visible)).mean())


def qcv(triple: Triple) -> float:
    """Visible difference Q_CV in squared grey levels, 0 and more, lower is better (Chen and Varshney, 2007).

    Differences under a contrast sensitivity filter in blocks of 16x16 pixels, weighted by the sources' gradients to the
    fifth power. Zeros beyond the border make the frame a strong edge, which often carries most of the weight: the
    published numbers have that too. nan if an image is constant (other than black) or no source has an edge.
    """
    radius = 0.144 * _radius(triple.planes[FUSED].shape, 8)
    sensitivity = 2.6 * (0.0192 + radius) * np.exp(-(radius**1.1))
    fused = triple.stretched[FUSED]
    difference = weight = 0.0
    for source in SOURCES:
        stretched = triple.stretched[source]
        saliency = _block_sums(_sobel_magnitude(stretched) ** 5)
        squared = _block_sums(_filtered(stretched - fused, sensitivity) ** 2) / 256
        difference += float((saliency * squared).sum())
        weight += float(saliency.sum())
    return difference / weight if weight > 0 else float("nan")


def _radius(shape: tuple[int, ...], degrees: float) -> Plane:
    """Radial frequency on the grid of rfft2, in cycles per degree if the image spans `degrees` such units."""
    height, width = shape
    rows = height / degrees * 2 * fft.fftfreq(height)
    columns = width / degrees * 2 * fft.rfftfreq(width)
    return np.sqrt(rows[:, None] ** 2 + columns**2)


def _filtered(plane: Plane, gain: Plane) -> Plane:
    return fft.irfft2(fft.rfft2(plane) * gain, plane.shape)


def _contrast(plane: Plane) -> Plane:
    """Band-limited contrast after masking."""
    contrast = np.abs(_blur(plane, 2) / _blur(plane, 4) - 1)
    squared = contrast * contrast
    return squared * contrast / (squared + 1e-4)


def _blur(plane: Plane, sigma: float) -> Plane:
    """Gaussian on 31x31 pixels, not renormalised, zeros beyond the border."""
    x = np.arange(-15, 16)
    kernel = np.exp(-(x * x) / (2 * sigma * sigma)) / (np.sqrt(2 * np.pi) * sigma)
    return np.asarray(cv2.sepFilter2D(plane, cv2.CV_64F, kernel, kernel, borderType=cv2.BORDER_CONSTANT), np.float64)


def _sobel_magnitude(plane: Plane) -> Plane:
    horizontal, vertical = (cv2.Sobel(plane, cv2.CV_64F, x, 1 - x, borderType=cv2.BORDER_CONSTANT) for x in (1, 0))
    return np.sqrt(horizontal * horizontal + vertical * vertical)


def _block_sums(plane: Plane, side: int = 16) -> Plane:
    """Sums over blocks that do not overlap, the last ones filled up with zeros."""
    height, width = plane.shape
    padded = np.pad(plane, ((0, -height % side), (0, -width % side)))
    return padded.reshape(padded.shape[0] // side, side, padded.shape[1] // side, side).sum((1, 3))
