"""Visual information fidelity over four scales: VIF and VIFF."""

from __future__ import annotations

import numpy as np

from cldyn_core.metrics.triple import FUSED, SOURCES, Moments, Plane, Triple

_EPS = 1e-10


def vif(triple: Triple) -> float:
    """VIF(A, F) + VIF(B, F), 0..about 2, pixel domain (Sheikh and Bovik, 2006); nan if a source is constant.

    Four scales, Gaussian windows of 17, 9, 5 and 3 pixels. Some papers halve the sum; one toolbox pads the border.
    """
    kept, had = np.zeros(2), np.zeros(2)
    for moments in triple.scales:
        for source in SOURCES:
            _, seen, present = _fidelity(moments, source, 2.0)
            kept[source] += seen.sum()
            had[source] += present.sum()
    return float((kept / had).sum()) if (had > 0).all() else np.nan


def viff(triple: Triple) -> float:
    """Visual information fidelity for fusion, 0..about 1 (Han et al., 2013); nan below 41x41 pixels.

    At every pixel the source that the fused image follows less counts, the visible one where it follows neither: so the
    sources cannot quite change places. Lower than VIF by 2 to 84 %.
    """
    quality = 0.0
    for moments, weight in zip(triple.scales, (1 / 2.15, 0.0, 0.15 / 2.15, 1 / 2.15), strict=True):
        (gain_infrared, *infrared), (gain_visible, *visible) = (_fidelity(moments, x, 0.005 * 255**2) for x in SOURCES)
        first = gain_infrared < gain_visible
        seen, present = (np.where(first, x, y) + 1e-7 for x, y in zip(infrared, visible, strict=True))
        quality += weight * float(seen.sum() / present.sum()) if seen.size else np.nan
    return quality


def _fidelity(moments: Moments, source: int, noise: float) -> tuple[Plane, Plane, Plane]:
    """Gain from a source to the fused image, and the information of the source in the fused image and in itself."""
    variance, fused = (np.maximum(moments.variance(x), 0) for x in (source, FUSED))
    covariance = moments.covariance(source, FUSED)
    gain = covariance / (variance + _EPS)
    rest = fused - gain * covariance
    flat = variance < _EPS
    gain[flat], rest[flat] = 0, fused[flat]
    variance = np.where(flat, 0, variance)
    empty = fused < _EPS
    gain[empty], rest[empty] = 0, 0
    negative = gain < 0
    rest[negative], gain[negative] = fused[negative], 0
    rest = np.maximum(rest, _EPS)
    return gain, np.log10(1 + gain * gain * variance / (rest + noise)), np.log10(1 + variance / noise)
