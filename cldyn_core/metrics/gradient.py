"""Fusion metrics of edges and gradients."""

from __future__ import annotations

import cv2
import numpy as np

from cldyn_core.metrics.triple import FUSED, SOURCES, Plane, Triple, sobel

_TINY = 1e-5  # in place of zero gradients


def qabf(triple: Triple) -> float:
    """Edge preservation Q_AB/F, 0..0.9748 (Xydeas and Petrovic, 2000).

    Sobel gradients, zero beyond the border; weights: the sources' gradient magnitudes (L = 1). A widespread version with
    other handling of vertical edges differs by up to 0.3 %; another one averages ratios per pixel and is far off.
    """
    maps = [_magnitude_and_angle(*gradients) for gradients in triple.sobel]
    g_fused, angle_fused = maps[FUSED]
    kept = weight = 0.0
    for g, angle in (maps[source] for source in SOURCES):
        strength = np.minimum(g, g_fused) / np.maximum(g, g_fused)
        direction = 1 - np.abs(angle - angle_fused) / (np.pi / 2)
        quality = _sigmoid(strength, 0.9994, 15, 0.5) * _sigmoid(direction, 0.9879, 22, 0.8)
        kept += float((quality * g).sum())
        weight += float(g.sum())
    return kept / weight


def nabf(triple: Triple) -> float:
    """Fusion artefacts N_AB/F, 0..1, lower is better (Shreyamsha Kumar, 2013).

    Edges stronger in the fused image than in both sources, by how little of the sources they keep. A public toolbox
    passes the images in the wrong order and gets several times as much.
    """
    gradients = [[part / 8 for part in sobel(plane, cv2.BORDER_REFLECT_101)] for plane in triple.planes]
    magnitudes = [np.sqrt(x * x + y * y) for x, y in gradients]  # exact where equal, unlike hypot
    angles = [_angle(*parts) for parts in gradients]
    fused = magnitudes[FUSED]
    stronger = (fused > magnitudes[0]) & (fused > magnitudes[1])
    artefact = weight = 0.0
    for source in SOURCES:
        g = magnitudes[source]
        weights = np.where(g >= 2, g**1.5, 0.001)
        low, high = np.minimum(g, fused)[stronger], fused[stronger]
        direction = np.abs(np.abs(angles[source] - angles[FUSED])[stronger] - np.pi / 2) * 2 / np.pi
        quality = np.sqrt(_sigmoid(low / high, 0.9999, 19, 0.5) * _sigmoid(direction, 0.9995, 22, 0.5))
        artefact += float(((1 - quality) * weights[stronger]).sum())
        weight += float(weights.sum())
    return artefact / weight


def sf(triple: Triple) -> float:
    """Spatial frequency of the fused image (Eskicioglu and Fisher, 1995).

    Root of the mean squared horizontal plus vertical difference, each mean over its own count; some public code divides
    both by H W.
    """
    fused = triple.planes[FUSED]
    return float(np.sqrt(_mean_square(np.diff(fused, axis=1)) + _mean_square(np.diff(fused, axis=0))))


def ag(triple: Triple) -> float:
    """Average gradient of the fused image (Cui et al., 2015): root mean square of both central differences, summed and
    divided by (H - 1)(W - 1). nan below 2x2 pixels.

    Some public code takes forward differences (up to 30 % more) or divides by H W.
    """
    fused = triple.planes[FUSED]
    if min(fused.shape) < 2:
        return float("nan")
    vertical, horizontal = np.gradient(fused)
    height, width = fused.shape
    return float(np.sqrt((horizontal**2 + vertical**2) / 2).sum() / ((height - 1) * (width - 1)))


def ei(triple: Triple) -> float:
    """Edge intensity of the fused image: mean Sobel magnitude, border replicated (Rajalingam and Priya, 2018)."""
    horizontal, vertical = sobel(triple.planes[FUSED], cv2.BORDER_REPLICATE)
    return float(np.sqrt(horizontal**2 + vertical**2).mean())


def _magnitude_and_angle(horizontal: Plane, vertical: Plane) -> tuple[Plane, Plane]:
    magnitude = np.sqrt(horizontal * horizontal + vertical * vertical)
    magnitude[magnitude == 0] = _TINY
    return magnitude, np.arctan(vertical / np.where(horizontal == 0, _TINY, horizontal))


def _angle(horizontal: Plane, vertical: Plane) -> Plane:
    """In -pi/2..pi/2; 0 where there is no gradient."""
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.nan_to_num(np.arctan(horizontal / vertical), nan=0.0)


def _sigmoid(x: Plane, height: float, slope: float, centre: float) -> Plane:
    return height / (1 + np.exp(-slope * (x - centre)))


def _mean_square(x: Plane) -> float:
    return float((x * x).mean()) if x.size else 0.0
