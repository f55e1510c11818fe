"""How far a registered infrared image lies beside the visible one, estimated from the images themselves.

Both bands have edges, but what is bright in one may be dark in the other. So directions of gradients are compared
modulo pi, as complex numbers of twice their angle: their cross-correlation is high where edges lie on edges of the same
direction. One pair may have few in common; the correlation is averaged over pairs, and old ones fade.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float32]

SEARCH = 0.075
"""Of the longer side: a shift is looked for up to this much to each side."""
_SIDE = 320  # cells: pixels of the longer side of what is compared; at full size edges are too unlike to match better
_LEAST_SIDE = 64  # cells of the shorter side; less shows too little
_LOOKS = 5  # pairs, before anything is said
_MEMORY = 10  # pairs that count
_KNOWN = 0.03  # confidence: ten unrelated pairs hardly have half of it, ten registered ones twice (doc/calibration.md)
_LOBE = 3  # cells beside a peak that still belong to it
_NOISE = 4.0  # gradient that noise has; edges are stronger
_RIM = 0.1  # of a side that fades out, so that what enters and leaves the image counts little


@dataclass(frozen=True)
class Shift:
    """Where the infrared image lies, in pixels of the visible one."""

    dx: float
    """Above 0: too far right."""
    dy: float
    """Above 0: too far down."""
    confidence: float
    """In 0..1: how much higher the correlation of the edges is there than at any other shift."""

    @property
    def length(self) -> float:
        """Pixels, whatever the direction."""
        return float(np.hypot(self.dx, self.dy))


class Misregistration:
    """Estimates one shift of the whole image from the pairs of a stream, in their order.

    Of parallax, and of a scale or turn that is wrong, which move parts of the image apart, it sees what most edges do.
    """

    def __init__(self) -> None:
        self._size: tuple[int, ...] = ()
        self._surface: Array = np.zeros((1, 1), np.float32)
        self._looks = 0

    def look(self, visible: NDArray[np.uint8], infrared: NDArray[np.uint8]) -> None:
        """Take a pair: (H, W, 3) RGB and (H, W), 0 where there is no infrared. Another size than before starts anew."""
        if visible.shape != self._size:
            self._size, self._looks = visible.shape, 0
        small = cv2.cvtColor(_reduced(visible), cv2.COLOR_RGB2GRAY).astype(np.uint8, copy=False)
        if min(small.shape) < _LEAST_SIDE:
            return
        surface = _correlation(_directions(_reduced(infrared)), _directions(small))
        self._looks += 1
        share = np.float32(1 / min(self._looks, _MEMORY))
        self._surface = surface if self._looks == 1 else self._surface + share * (surface - self._surface)

    @property
    def shift(self) -> Shift | None:
        """None: not known. Too few pairs yet, too little structure that both images have, or a shift beyond SEARCH."""
        if self._looks < _LOOKS:
            return None
        dx, dy, confidence = _peak(self._surface)
        cell = 1 / _reduction(self._size)
        return Shift(dx * cell, dy * cell, confidence) if confidence >= _KNOWN else None


def _reduction(shape: tuple[int, ...]) -> float:
    return min(1.0, _SIDE / max(shape[:2]))


def _reduced(image: NDArray[np.uint8]) -> NDArray[np.uint8]:
    share = _reduction(image.shape)
    size = round(image.shape[1] * share), round(image.shape[0] * share)
    return cv2.resize(image, size, interpolation=cv2.INTER_AREA).astype(np.uint8, copy=False)


def _directions(image: NDArray[np.uint8]) -> Array:
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


def _correlation(infrared: Array, visible: Array) -> Array:
    """(2R + 1, 2R + 1) in -1..1: row R + dy, column R + dx of an infrared image that lies dx, dy too far."""
    reach = round(SEARCH * max(visible.shape[:2]))
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


def _peak(surface: Array) -> tuple[float, float, float]:
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
