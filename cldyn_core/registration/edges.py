"""Edges of images of different bands, compared: what is bright in one band may be dark in the other.

So directions of gradients are compared modulo pi, as complex numbers of twice their angle: their cross-correlation is
high where edges lie on edges of the same direction.
"""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float32]

KNOWN = 0.03
"""Confidence of `peak`: ten unrelated pairs hardly have half of it, ten registered ones twice (doc/calibration.md)."""
SIDE = 320
"""Pixels of the longer side of what is compared; at full size edges are too unlike to match better."""
_LOBE = 3  # cells beside a peak that still belong to it
_NOISE = 4.0  # gradient that noise has; edges are stronger
_RIM = 0.1  # of a side that fades out, so that what enters and leaves the image counts little


def reduction(shape: tuple[int, ...]) -> float:
    """Cells a pixel of an image (H, W, ...), at most 1."""
    return min(1.0, SIDE / max(shape[:2]))


def reduced(image: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """The image, its longer side at most SIDE."""
    share = reduction(image.shape)
    size = round(image.shape[1] * share), round(image.shape[0] * share)
    return cv2.resize(image, size, interpolation=cv2.INTER_AREA).astype(np.uint8, copy=False)


def directions(image: NDArray[np.uint8]) -> Array:
    """(h, w) -> (h, w, 2): gradients of doubled angle and length 0..1, less their mean; 0 beside pixels that are 0."""
    smooth = cv2.GaussianBlur(image.astype(np.float32), (0, 0), 1.0)
    gx, gy = cv2.Sobel(smooth, cv2.CV_32F, 1, 0), cv2.Sobel(smooth, cv2.CV_32F, 0, 1)
    there = cv2.erode((image > 0).astype(np.uint8), np.ones((9, 9), np.uint8)).astype(np.float32)
    strength = gx * gx + gy * gy
    count = max(1.0, float(there.sum()))
    usual = max(_NOISE, float(np.vdot(np.sqrt(strength), there)) / count)
    length = there / (strength + np.float32(usual * usual))
    window = there * _fading(image.shape[0])[:, None] * _fading(image.shape[1])
    planes = length * (gx * gx - gy * gy), length * gx * gy * np.float32(2)
    return np.asarray(cv2.merge([(plane - plane.sum() / np.float32(count)) * window for plane in planes]), np.float32)


def _fading(count: int) -> Array:
    """(count,) weights: 1, and towards both ends down to 0."""
    place = (np.arange(count, dtype=np.float32) + 0.5) / (count * _RIM)
    return np.asarray(np.sin(np.pi / 2 * np.minimum(1.0, np.minimum(place, place[::-1]))) ** 2, np.float32)


def correlation(infrared: Array, visible: Array, reach: int) -> Array:
    """Of `directions` of one size: (2R + 1, 2R + 1) in -1..1, row R + dy, column R + dx of an infrared image that lies
    dx, dy too far; R is the reach.
    """
    height, width = (cv2.getOptimalDFTSize(side + reach) for side in visible.shape[:2])
    spectra = []
    for image in (infrared, visible):
        padded = np.zeros((height, width, 2), np.float32)
        padded[: image.shape[0], : image.shape[1]] = image
        spectra.append(cv2.dft(padded))
    product = cv2.mulSpectrums(spectra[0], spectra[1], 0, conjB=True)
    everywhere = cv2.dft(product, flags=cv2.DFT_INVERSE | cv2.DFT_SCALE)[..., 0]
    energy = float(cv2.norm(infrared) * cv2.norm(visible))
    near = np.arange(-reach, reach + 1)
    return np.asarray(everywhere[np.ix_(near, near)] / max(energy, 1e-6), np.float32)


def peak(surface: Array) -> tuple[float, float, float]:
    """dx, dy of the highest place, in cells, and how far it rises above all that are no part of it; 0 at the rim."""
    reach = surface.shape[0] // 2
    y, x = (int(k) for k in np.unravel_index(surface.argmax(), surface.shape))
    if not (0 < y < 2 * reach and 0 < x < 2 * reach):
        return x - reach, y - reach, 0.0
    others = surface.copy()
    others[max(0, y - _LOBE) : y + _LOBE + 1, max(0, x - _LOBE) : x + _LOBE + 1] = -1.0
    dx = x - reach + _vertex(*surface[y, x - 1 : x + 2].tolist())
    dy = y - reach + _vertex(*surface[y - 1 : y + 2, x].tolist())
    return dx, dy, float(surface[y, x] - others.max())


def _vertex(before: float, at: float, after: float) -> float:
    """Where the parabola through three values has its highest place, -0.5..0.5 from the middle one."""
    bend = before - 2 * at + after
    return 0.5 * (before - after) / bend if bend < 0 else 0.0
