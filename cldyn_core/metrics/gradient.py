"""Fusion metrics of edges and gradients."""

from __future__ import annotations

import cv2
import numpy as np

from cldyn_core.metrics.triple import FUSED, INFRARED, SOURCES, VISIBLE, Gradient, Plane, Triple, sobel, strips

_TINY = 1e-5  # in place of zero gradients


def qabf(triple: Triple) -> float:
    """Edge preservation Q_AB/F, 0..0.9748 (Xydeas and Petrovic, 2000).

    Sobel gradients, zero beyond the border; weights: the sources' gradient magnitudes (L = 1). A widespread version
    handles vertical edges otherwise and differs by up to 0.3 %; another averages ratios per pixel and is far off.
    """
    kept = weight = 0.0
    for strip in strips(*_gradients(triple, cv2.BORDER_CONSTANT)):
        maps = [_magnitude_and_angle(*strip[i : i + 2]) for i in (0, 2, 4)]
        g_fused, angle_fused = maps[FUSED]
        for g, angle in (maps[source] for source in SOURCES):
            strength = np.minimum(g, g_fused) / np.maximum(g, g_fused)
            direction = 1 - np.abs(angle - angle_fused) / (np.pi / 2)
            quality = 0.9994 * 0.9879 / (_logistic(strength, 15, 0.5) * _logistic(direction, 22, 0.8))
            kept += float((quality * g).sum())
            weight += float(g.sum())
    return kept / weight


def nabf(triple: Triple) -> float:
    """Fusion artefacts N_AB/F, 0..1, lower is better (Shreyamsha Kumar, 2013).

    Edges stronger in the fused image than in both sources, by how little of the sources they keep. A public toolbox
    passes the images in the wrong order and gets several times as much.
    """
    artefact = weight = 0.0
    for strip in strips(*_gradients(triple, cv2.BORDER_REFLECT_101)):
        g = [np.sqrt(strip[i] ** 2 + strip[i + 1] ** 2) / 8 for i in (0, 2, 4)]  # ties stay ties, unlike with hypot
        weights = [np.where(g[x] >= 2, g[x] * np.sqrt(g[x]), 0.001) for x in SOURCES]
        weight += float(sum(each.sum() for each in weights))
        stronger = (g[FUSED] > g[INFRARED]) & (g[FUSED] > g[VISIBLE])
        angles = [_angle(strip[i][stronger], strip[i + 1][stronger]) for i in (0, 2, 4)]
        for x in SOURCES:
            strength = g[x][stronger] / g[FUSED][stronger]
            direction = np.abs(np.abs(angles[x] - angles[FUSED]) - np.pi / 2) * 2 / np.pi
            quality = 0.9999 * 0.9995 / (_logistic(strength, 19, 0.5) * _logistic(direction, 22, 0.5))
            artefact += float(((1 - np.sqrt(quality)) * weights[x][stronger]).sum())
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
    gradients = sobel(triple.luma[FUSED], cv2.BORDER_REPLICATE)
    return sum(float(np.sqrt(h * h + v * v).sum()) for h, v in strips(*gradients)) / triple.luma[FUSED].size


def _gradients(triple: Triple, border: int) -> list[Gradient]:
    """Horizontal and vertical ones of each image in turn."""
    return [part for image in triple.luma for part in sobel(image, border)]


def _magnitude_and_angle(horizontal: Plane, vertical: Plane) -> tuple[Plane, Plane]:
    magnitude = np.sqrt(horizontal * horizontal + vertical * vertical)
    magnitude[magnitude == 0] = _TINY
    return magnitude, np.arctan(vertical / np.where(horizontal == 0, _TINY, horizontal))


def _angle(horizontal: Plane, vertical: Plane) -> Plane:
    """In -pi/2..pi/2; 0 where there is no gradient."""
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.nan_to_num(np.arctan(horizontal / vertical), nan=0.0)


def _logistic(x: Plane, slope: float, centre: float) -> Plane:
    """What divides the height of a sigmoid."""
    return 1 + np.exp(-slope * (x - centre))


def _mean_square(x: Plane) -> float:
    return float((x * x).mean()) if x.size else 0.0
