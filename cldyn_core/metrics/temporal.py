"""Flicker of a fused sequence: what changes from frame to frame in it and in neither source.

Rockinger and Fechner, "Pixel-level image fusion: the case of image sequences", SPIE 3374, 1998, demand that changes of
a fused sequence are those of its sources. So a change of the fused image counts by how far it lies outside the span of
0 and the two sources' changes, in grey levels of 0..255; 0 is best. A weighted mean of the sources with weights that
stay has 0 but for rounding, and a fused image steadier than its sources is not blamed. More contrast than the sources'
counts where something changes.

The measures for sequences take frames one by one and give the mean over the steps; a pipeline can call the steps itself
and hold the last three frames only. Frames are (H, W) uint8 luma; the three images of one time are registered.
"""

from __future__ import annotations

import warnings
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import zip_longest
from math import isnan, nan
from statistics import fmean

import cv2
import numpy as np
from numpy.typing import NDArray

Luma = NDArray[np.uint8]
"""(H, W), 0..255."""
Values = NDArray[np.floating]
Step = Callable[[Sequence[Luma], Sequence[Luma], Sequence[Luma]], float]

_LEAST_SIDE = 32  # pixels; OpenCV's DIS crashes in narrower images, whose coarsest scale is less than a patch
_LEAST_FOLLOWED = 0.25  # share of the pixels; neighbours in real clips have above 0.9, cuts between them below 0.1


def flicker_brightness(infrared: Iterable[Luma], visible: Iterable[Luma], fused: Iterable[Luma]) -> float:
    """Mean of `brightness_step` over all three neighbouring frames, in grey levels.

    nan with a warning for fewer than three frames. Raises ValueError as `brightness_step`, and for other lengths.
    """
    return _mean_of_steps(brightness_step, 3, infrared, visible, fused)


def flicker_structure(infrared: Iterable[Luma], visible: Iterable[Luma], fused: Iterable[Luma]) -> float:
    """Mean of `structure_step` over all neighbouring frames but cuts, in grey levels.

    nan with a warning for fewer than two frames, or only cuts. Raises ValueError as `structure_step`, and for other
    lengths.
    """
    return _mean_of_steps(structure_step, 2, infrared, visible, fused)


def brightness_step(infrared: Sequence[Luma], visible: Sequence[Luma], fused: Sequence[Luma]) -> float:
    """Half the second difference of the fused frames' mean luma, beyond that of the sources, in grey levels.

    Each argument: the frames t-1, t, t+1. A mean that jumps to and fro by d gives d; a steady fade gives 0. A cut is a
    change of the sources like any other. Raises ValueError for another number of frames, type or size.
    """
    _check(3, infrared, visible, fused)
    of_infrared, of_visible, of_fused = (_second_difference(frames) for frames in (infrared, visible, fused))
    return float(_unexplained(of_infrared, of_visible, of_fused)) / 2


def structure_step(infrared: Sequence[Luma], visible: Sequence[Luma], fused: Sequence[Luma]) -> float:
    """Warping error of the fused frames beyond that of the sources, mean over the pixels that can be followed.

    Each argument: the frames t-1, t. The warping error is that of Lai et al., "Learning Blind Video Temporal
    Consistency", ECCV 2018, but absolute instead of squared, so in grey levels. Each source gives a flow (DIS, Kroeger
    et al., ECCV 2016); at each pixel the one counts under which the sources change less. Pixels that no flow can follow
    (forward-backward check of Sundaram, Brox and Keutzer, ECCV 2010) are left out. Fewer than a quarter left: a cut,
    nan. A common change of brightness of the fused image is in it, as in Lai's. Raises ValueError for another number of
    frames, type or size, and below 32 pixels a side.
    """
    _check(2, infrared, visible, fused)
    if min(fused[0].shape) < _LEAST_SIDE:
        raise ValueError(
            f"frames of {fused[0].shape} are too small for optical flow. "
            f"Remedy: use frames of at least {_LEAST_SIDE} x {_LEAST_SIDE} pixels"
        )
    least = np.full(fused[0].shape, np.inf, np.float32)
    flicker = np.zeros_like(least)
    for before, now in (infrared, visible):
        places, followed = _follow(now, before)
        changes = [_change(frames, places) for frames in (infrared, visible, fused)]
        of_sources = np.where(followed, np.maximum(abs(changes[0]), abs(changes[1])), np.inf)
        flicker = np.where(of_sources < least, _unexplained(*changes), flicker)
        least = np.minimum(of_sources, least)
    known = np.isfinite(least)
    return float(flicker[known].mean(dtype=np.float64)) if known.mean() >= _LEAST_FOLLOWED else nan


def _unexplained(infrared: Values, visible: Values, fused: Values) -> Values:
    """Distance of the fused image's change from the span of 0 and the sources' changes."""
    low = np.minimum(np.minimum(infrared, visible), 0)
    high = np.maximum(np.maximum(infrared, visible), 0)
    return np.maximum(np.maximum(low - fused, fused - high), 0)


def _second_difference(frames: Sequence[Luma]) -> Values:
    return np.diff([frame.mean(dtype=np.float64) for frame in frames], n=2)[0]


def _follow(now: Luma, before: Luma) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
    """(H, W, 2) x, y in `before` of each pixel of `now`, and where the way there and back ends near its start."""
    height, width = now.shape
    back, forth = _flow(now, before), _flow(before, now)
    places = back + np.dstack(np.meshgrid(np.arange(width), np.arange(height))).astype(np.float32)
    forth = _warp(forth, places)
    miss, length = ((back + forth) ** 2).sum(-1), (back**2 + forth**2).sum(-1)
    inside = ((places >= 0) & (places <= (width - 1, height - 1))).all(-1)
    return places, inside & (miss <= 0.01 * length + 0.5)


def _flow(start: Luma, end: Luma) -> NDArray[np.float32]:
    dis = cv2.DISOpticalFlow.create(cv2.DISOPTICAL_FLOW_PRESET_FAST)
    first_guess = np.zeros((*start.shape, 2), np.float32)
    flow = dis.calc(np.ascontiguousarray(start), np.ascontiguousarray(end), first_guess)
    return np.asarray(flow, np.float32)


def _change(frames: Sequence[Luma], places: NDArray[np.float32]) -> NDArray[np.float32]:
    before, now = (frame.astype(np.float32) for frame in frames)
    return now - _warp(before, places)


def _warp(image: NDArray[np.float32], places: NDArray[np.float32]) -> NDArray[np.float32]:
    x, y = places[..., 0], places[..., 1]
    return np.asarray(cv2.remap(image, x, y, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE), np.float32)


def _mean_of_steps(step: Step, length: int, *sequences: Iterable[Luma]) -> float:
    values = [step(*window) for window in _windows(length, *sequences)]
    known = [value for value in values if not isnan(value)]
    if known:
        return fmean(known)
    warnings.warn(
        f"no flicker of {len(values)} steps: it needs {length} neighbouring frames of one scene", stacklevel=3
    )
    return nan


def _windows(length: int, *sequences: Iterable[Luma]) -> Iterator[tuple[tuple[Luma, ...], ...]]:
    """By image, `length` neighbouring frames at a time."""
    window: deque[tuple[Luma, ...]] = deque(maxlen=length)
    for number, frames in enumerate(zip_longest(*sequences)):
        if any(frame is None for frame in frames):
            raise ValueError(
                f"a sequence ends before frame {number}. Remedy: give as many infrared, visible and fused frames"
            )
        window.append(frames)
        if len(window) == length:
            yield tuple(zip(*window, strict=True))


def _check(count: int, *images: Sequence[Luma]) -> None:
    if any(len(frames) != count for frames in images):
        raise ValueError(f"{[len(frames) for frames in images]} frames. Remedy: give {count} neighbouring ones of each")
    kinds = {(frame.shape, str(frame.dtype)) for frames in images for frame in frames}
    if len(kinds) > 1 or any(len(shape) != 2 or kind != "uint8" for shape, kind in kinds):
        raise ValueError(
            f"frames of {sorted(kinds)}. Remedy: give registered (H, W) uint8 luma, all of one size "
            "(the fused and infrared frames on the visible image's pixels)"
        )
