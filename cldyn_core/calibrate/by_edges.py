"""Calibration from what is recorded anyway: edges that both bands show, matched in parts of the image.

First the scale and shift at which the edges of all pairs agree best; then shifts of parts of the image, to which a map
is fitted, and again with the images so registered, until it stands.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from cldyn_core.calibrate.found import Found, NotFoundError, Residuals, simplest
from cldyn_core.calibrate.models import LEAST, Model, fit
from cldyn_core.calibrate.recorded import Cameras, GrayPair, undistorted
from cldyn_core.registration import edges
from cldyn_core.registration.calibration import Calibration
from cldyn_core.registration.cameras import Array
from cldyn_core.registration.edges import directions, reduced

_SCALES = 0.6 * 1.04 ** np.arange(26)  # to 1.6: half of a step turns no edge by more than a part's reach
_START_PAIRS = 12
_START_SHARE = 0.5  # of the size that is compared later
_START_REACH = 0.25  # of the longer side
_PART, _STEP = 72, 36  # cells: side of a part of the image, and from one to the next
_REACHES = (10, 8, 6, 5)  # cells, round by round
_REACHES_MORE = (6, 5)  # likewise, from the map of a stiffer model on
_TRUSTED = 0.1  # height of a part's peak above the others; lower ones are often somewhere else
_FEWEST = 8  # parts


@dataclass(frozen=True)
class EdgePair:
    """A pair small enough to be compared: (h, w) infrared image, and `directions` of the visible one."""

    infrared: NDArray[np.uint8]
    visible: edges.Array

    @staticmethod
    def of(pair: GrayPair, share: float = 1.0) -> EdgePair:
        """Both images reduced; share: smaller still."""
        infrared, visible = reduced(pair.infrared), reduced(np.maximum(pair.visible, 1))
        if share < 1.0:
            infrared, visible = (
                np.asarray(cv2.resize(image, None, fx=share, fy=share, interpolation=cv2.INTER_AREA), np.uint8)
                for image in (infrared, visible)
            )
        return EdgePair(infrared, directions(visible))


def find(pairs: Sequence[GrayPair], judges: Sequence[GrayPair], cameras: Cameras, models: Sequence[Model]) -> Found:
    """The map that fits `pairs`, by the simplest of the models that does for `judges`.

    Raises NotFoundError where the images have too little in common.
    """
    homography = _start(pairs, cameras)
    teaching, judging = ([EdgePair.of(pair) for pair in part] for part in (pairs, judges))
    found: list[Found] = []
    for model in models:
        for reach in _REACHES_MORE if found else _REACHES:
            calibration = cameras.calibration(homography)
            seen = residuals(teaching, calibration, reach)
            if len(seen.at) < max(_FEWEST, LEAST[model]):
                raise NotFoundError(_little(len(seen.at)))
            homography = _refitted(model, seen, calibration)
        judged = residuals(judging, cameras.calibration(homography))
        if len(judged.at) < _FEWEST:
            raise NotFoundError(_little(len(judged.at)))
        found.append(Found(model, homography, judged))
    return simplest(found)


def residuals(pairs: Sequence[EdgePair], calibration: Calibration, reach: int = _REACHES[0]) -> Residuals:
    """Shifts, up to `reach` cells, of the parts of the image in which the edges of these pairs agree clearly."""
    shape = pairs[0].visible.shape[:2]
    warped = [directions(_warped(pair, calibration)) for pair in pairs]
    hann = np.outer(*[np.hanning(_PART + 2)[1:-1].astype(np.float32)] * 2)[..., None]
    found = []
    for top in range(0, shape[0] - _PART + 1, _STEP):
        for left in range(0, shape[1] - _PART + 1, _STEP):
            surface = _part_surface(pairs, warped, (top, left), hann, reach)
            dx, dy, confidence = edges.peak(surface)
            if confidence > _TRUSTED:
                found.append((left + (_PART - 1) / 2, top + (_PART - 1) / 2, dx, dy, confidence))
    values = np.array(found, np.float64).reshape(-1, 5)
    cell = calibration.visible.width / shape[1]
    return Residuals((values[:, :2] + 0.5) * cell - 0.5, values[:, 2:4] * cell, values[:, 4])


def _part_surface(
    pairs: Sequence[EdgePair], warped: Sequence[edges.Array], corner: tuple[int, int], hann: edges.Array, reach: int
) -> edges.Array:
    """Correlation of one part, over all pairs; see edges.correlation."""
    (top, left), side = corner, _PART + 2 * reach
    total, energy = np.zeros((2 * reach + 1, 2 * reach + 1), np.float32), np.zeros(2)
    for pair, infrared in zip(pairs, warped, strict=True):
        part = pair.visible[top : top + _PART, left : left + _PART] * hann
        bordered = cv2.copyMakeBorder(infrared, reach, reach, reach, reach, cv2.BORDER_CONSTANT, value=0)
        around = np.ascontiguousarray(bordered[top : top + side, left : left + side])
        total += cv2.matchTemplate(around, part, cv2.TM_CCORR)
        here = infrared[top : top + _PART, left : left + _PART] * hann
        energy += np.vdot(part, part), np.vdot(here, here)
    return np.asarray(total / max(float(np.sqrt(energy[0] * energy[1])), 1e-6), np.float32)


def _start(pairs: Sequence[GrayPair], cameras: Cameras) -> Array:
    """Scale and shift at which edges agree best. Raises NotFoundError."""
    some = [EdgePair.of(pair, _START_SHARE) for pair in pairs[:: max(1, len(pairs) // _START_PAIRS)]]
    best, chosen = 0.0, None
    for candidate in _scales(cameras):
        dx, dy, confidence = _whole_shift(some, cameras.calibration(candidate))
        if confidence > best:
            best, chosen = confidence, np.array([[1, 0, -dx], [0, 1, -dy], [0, 0, 1]]) @ candidate
    if chosen is None or best < edges.KNOWN:
        raise NotFoundError(
            f"the images of the two cameras have too few edges in common (agreement {best:.3f}, {edges.KNOWN} is the "
            "least). Remedy: record structure that both see, by day, from several places; or --target"
        )
    return chosen


def _scales(cameras: Cameras) -> list[Array]:
    """Infrared images in the middle of the visible one, from 0.6 to 1.6 times as wide; of another aspect ratio also
    stretched like it.
    """
    infrared, visible = cameras.camera("infrared"), cameras.camera("visible")
    wide, high = visible.width / infrared.width, visible.height / infrared.height
    shapes = [(wide, high)] if abs(wide / high - 1) < 0.02 else [(wide, high), (wide, wide), (high, high)]
    found = []
    for sx, sy in shapes:
        for scale in _SCALES:
            x, y = scale * sx, scale * sy
            dx, dy = (visible.width - x * infrared.width) / 2, (visible.height - y * infrared.height) / 2
            found.append(np.array([[x, 0, dx + (x - 1) / 2], [0, y, dy + (y - 1) / 2], [0, 0, 1]]))
    return found


def _whole_shift(pairs: Sequence[EdgePair], calibration: Calibration) -> tuple[float, float, float]:
    """Shift of the whole image in pixels of the visible one, and its confidence."""
    shape = pairs[0].visible.shape[:2]
    reach = round(_START_REACH * max(shape))
    surfaces = [edges.correlation(directions(_warped(p, calibration)), p.visible, reach) for p in pairs]
    dx, dy, confidence = edges.peak(np.mean(surfaces, 0))
    cell = calibration.visible.width / shape[1]
    return dx * cell, dy * cell, confidence


def _warped(pair: EdgePair, calibration: Calibration) -> NDArray[np.uint8]:
    """The infrared image on the visible one's cells; 0 where there is none."""
    height, width = pair.visible.shape[:2]
    table = calibration.table(_shape(pair.infrared), (height, width))
    return np.asarray(cv2.remap(pair.infrared, table, None, cv2.INTER_LINEAR), np.uint8)  # type: ignore[call-overload]


def _refitted(model: Model, seen: Residuals, calibration: Calibration) -> Array:
    """The map after what lies beside its place has been moved there."""
    infrared, visible = calibration.infrared, calibration.visible
    table = calibration.table((infrared.height, infrared.width), (visible.height, visible.width))
    there = (seen.at + seen.offsets).astype(np.float32)[:, None]
    pixels = cv2.remap(table, there, None, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)[:, 0].astype(np.float64)  # type: ignore[call-overload]
    inside = (pixels > -1e3).all(1)
    if inside.sum() < max(_FEWEST, LEAST[model]):
        raise NotFoundError(_little(int(inside.sum())))
    source, target = undistorted(infrared, pixels[inside]), undistorted(visible, seen.at[inside])
    return fit(model, source, target, seen.weights[inside])


def _shape(image: NDArray[np.uint8]) -> tuple[int, int]:
    return image.shape[0], image.shape[1]


def _little(parts: int) -> str:
    return (
        f"edges agree in {parts} parts of the image, {_FEWEST} is the least. Remedy: record more pairs, of scenes "
        "whose structure fills the image; or --target"
    )
