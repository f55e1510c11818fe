"""Three 8-bit luma images under comparison, and the maps that several metrics share, each computed once."""

from __future__ import annotations

from collections.abc import Iterator
from functools import cached_property
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray
from scipy import fft

Luma = NDArray[np.uint8]
Plane = NDArray[np.float64]
Gradient = NDArray[np.int16]
Spectrum = NDArray[np.complex128]
Window = Plane | int
"""Weights (n, n), the (n,) factor of separable ones, or the side n of a uniform window: exact for 8-bit images."""

INFRARED, VISIBLE, FUSED = 0, 1, 2
SOURCES = (INFRARED, VISIBLE)


class Triple:
    """Infrared, visible and fused luma, (H, W) uint8, by the indices INFRARED, VISIBLE and FUSED."""

    def __init__(self, infrared: Luma, visible: Luma, fused: Luma) -> None:
        images = (infrared, visible, fused)
        self.luma = tuple(check_luma(image, name) for image, name in zip(images, _NAMES, strict=True))
        if len({image.shape for image in self.luma}) > 1:
            sizes = ", ".join(
                f"{name} {image.shape[1]}x{image.shape[0]}" for name, image in zip(_NAMES, self.luma, strict=True)
            )
            raise ValueError(f"images of one size are needed, got {sizes}: register and resize them first")
        self._moments: dict[tuple[str, int, float], Moments] = {}

    @cached_property
    def planes(self) -> tuple[Plane, Plane, Plane]:
        """The images in float64, 0..255."""
        a, b, f = (image.astype(np.float64) for image in self.luma)
        return a, b, f

    @cached_property
    def products(self) -> list[list[int]]:
        """Sums over the pixels of the products of two images, [x][y]: exact."""
        return [[int(np.vdot(x, y)) for y in self.planes] for x in self.planes]

    @cached_property
    def covariances(self) -> list[list[int]]:
        """n^2 times the covariances of the whole images, [x][y], of n pixels: exact."""
        sums, n = [int(plane.sum()) for plane in self.planes], self.planes[0].size
        return [[n * self.products[x][y] - sums[x] * sums[y] for y in range(3)] for x in range(3)]

    @cached_property
    def histograms(self) -> tuple[Plane, Plane, Plane]:
        """(256,) grey level frequencies of each image."""
        a, b, f = (np.bincount(image.ravel(), minlength=256) / image.size for image in self.luma)
        return a, b, f

    @cached_property
    def with_fused(self) -> tuple[Plane, Plane]:
        """(256, 256) joint frequencies of each source and the fused image."""
        a, b = (joint_histogram(self.luma[source], self.luma[FUSED]) for source in SOURCES)
        return a, b

    @cached_property
    def stretched(self) -> tuple[Plane, Plane, Plane]:
        """Each image stretched to 0..255 and rounded; nan if it is constant, unless black."""
        a, b, f = (stretch(image) for image in self.luma)
        return a, b, f

    @cached_property
    def spectra(self) -> tuple[Spectrum, Spectrum, Spectrum]:
        """rfft2 of the stretched images."""
        a, b, f = (fft.rfft2(plane) for plane in self.stretched)
        return a, b, f

    @cached_property
    def scales(self) -> list[Moments]:
        """Moments of four scales under Gaussians of 17, 9, 5 and 3 pixels: from the second on the images are blurred
        and halved.
        """
        planes, scales = self.planes, []
        for scale, size in enumerate((17, 9, 5, 3)):
            kernel = gaussian_kernel(size, size / 5)
            if scale:
                a, b, f = (np.ascontiguousarray(filter_valid(plane, kernel)[::2, ::2]) for plane in planes)
                planes = a, b, f
            scales.append(Moments(planes, kernel))
        return scales

    def gaussian(self, size: int, sigma: float) -> Moments:
        """Local moments under a Gaussian window of size x size pixels, where it fits."""
        return self._under(gaussian_kernel(size, sigma), ("gaussian", size, sigma))

    def dense_gaussian(self, size: int, sigma: float) -> Moments:
        """The same without separating the window: the sums of MATLAB code to the last bit, which decide what flat
        windows of metrics with negligible constants give.
        """
        x = np.arange(size) - (size - 1) / 2
        kernel = np.exp(-(x[:, None] ** 2 + x * x) / (2 * sigma * sigma))
        return self._under(kernel / kernel.cumsum()[-1], ("dense", size, sigma))

    def box(self, size: int) -> Moments:
        """Local moments under a uniform window of size x size pixels, where it fits."""
        return self._under(size, ("box", size, 0.0))

    def _under(self, window: Window, key: tuple[str, int, float]) -> Moments:
        if key not in self._moments:
            self._moments[key] = Moments(self.planes, window)
        return self._moments[key]


class Moments:
    """Local means, variances and covariances of three images under one window, each computed once."""

    def __init__(self, planes: tuple[Plane, Plane, Plane], window: Window) -> None:
        self._planes, self._window = planes, window
        self._means: dict[int, Plane] = {}
        self._covariances: dict[tuple[int, int], Plane] = {}

    def mean(self, x: int) -> Plane:
        """Of image x."""
        if x not in self._means:
            self._means[x] = filter_valid(self._planes[x], self._window)
        return self._means[x]

    def covariance(self, x: int, y: int) -> Plane:
        """Of images x and y; the variance if they are one."""
        key = (min(x, y), max(x, y))
        if key not in self._covariances:
            product = filter_valid(self._planes[x] * self._planes[y], self._window)
            self._covariances[key] = product - self.mean(x) * self.mean(y)
        return self._covariances[key]

    def variance(self, x: int) -> Plane:
        """Of image x; rounding may leave it a little below zero."""
        return self.covariance(x, x)

    def halved(self) -> Moments:
        """Under the same window, of the images at half the size: means of 2x2 pixels, the last ones repeated."""
        a, b, f = (_halve(plane) for plane in self._planes)
        return Moments((a, b, f), self._window)

    def similarity(self, x: int, y: int, c1: float, c2: float) -> Plane:
        """SSIM map of images x and y (Wang et al., 2004)."""
        mx, my = self.mean(x), self.mean(y)
        above = (2 * mx * my + c1) * (2 * self.covariance(x, y) + c2)
        return above / ((mx * mx + my * my + c1) * (self.variance(x) + self.variance(y) + c2))


def _halve(plane: Plane) -> Plane:
    padded = np.pad(plane, ((0, plane.shape[0] % 2), (0, plane.shape[1] % 2)), mode="edge")
    return (padded[::2, ::2] + padded[1::2, ::2] + padded[::2, 1::2] + padded[1::2, 1::2]) / 4


def joint_histogram(x: Luma, y: Luma) -> Plane:
    """(256, 256) joint frequencies of two images of 8 bits."""
    pairs = x.ravel().astype(np.intp) * 256 + y.ravel()
    return (np.bincount(pairs, minlength=65536) / x.size).reshape(256, 256)


def stretch(image: Luma) -> Plane:
    """Grey levels stretched to 0..255 and rounded half up, in float64. A black image stays black; another constant one
    gives nan, as in the public code.
    """
    low, high = int(image.min()), int(image.max())
    if low == high:
        return np.full(image.shape, np.nan if high else 0.0)
    levels = np.arange(256.0)
    return np.floor(255 * (levels - low) / (high - low) + 0.5)[image]


def strips(*planes: Gradient | Plane, rows: int = 16) -> Iterator[tuple[Plane, ...]]:
    """A few rows of each plane at a time, in float64: arithmetic on them stays in the cache."""
    for start in range(0, len(planes[0]), rows):
        yield tuple(plane[start : start + rows].astype(np.float64, copy=False) for plane in planes)


def sobel(image: Luma, border: int) -> tuple[Gradient, Gradient]:
    """Unnormalised 3x3 Sobel responses, horizontal and vertical, with an OpenCV border."""
    horizontal, vertical = (cv2.Sobel(image, cv2.CV_16S, dx, 1 - dx, ksize=3, borderType=border) for dx in (1, 0))
    return np.asarray(horizontal, np.int16), np.asarray(vertical, np.int16)


def gaussian_kernel(size: int, sigma: float) -> Plane:
    """(size,) samples of a Gaussian, sum 1."""
    x = np.arange(size) - (size - 1) / 2
    kernel = np.exp(-(x * x) / (2 * sigma * sigma))
    return kernel / kernel.sum()


def filter_valid(plane: Plane, window: Window) -> Plane:
    """Correlation with a window of n x n pixels, only where it fits: (H - n + 1, W - n + 1), maybe empty."""
    n = window if isinstance(window, int) else len(window)
    height, width = plane.shape
    if height < n or width < n:
        return np.empty((max(height - n + 1, 0), max(width - n + 1, 0)))
    full: Any
    place: dict[str, Any] = {"anchor": (0, 0), "borderType": cv2.BORDER_CONSTANT}
    if isinstance(window, int):
        full = cv2.boxFilter(plane, cv2.CV_64F, (n, n), normalize=False, **place) / (n * n)
    elif window.ndim == 2:
        full = cv2.filter2D(plane, cv2.CV_64F, window, **place)
    else:
        full = cv2.sepFilter2D(plane, cv2.CV_64F, window, window, **place)
    return np.asarray(full, np.float64)[: height - n + 1, : width - n + 1]


def check_luma(image: Luma, name: str) -> Luma:
    """The image, if it is 8-bit luma. Raises ValueError with the remedy."""
    if not isinstance(image, np.ndarray) or image.dtype != np.uint8:
        kind = image.dtype if isinstance(image, np.ndarray) else type(image).__name__
        raise ValueError(f"the {name} image must be a uint8 array, not {kind}: scale it to 0..255, round, convert")
    if image.ndim != 2 or not image.size:
        raise ValueError(f"the {name} image must be (H, W) luma, not {image.shape}: reduce colour with luma8")
    return image


_NAMES = ("infrared", "visible", "fused")
