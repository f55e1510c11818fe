"""Three 8-bit luma images under comparison, and the maps that several metrics share, each computed once."""

from __future__ import annotations

from functools import cached_property

import cv2
import numpy as np
from numpy.typing import NDArray

Luma = NDArray[np.uint8]
Plane = NDArray[np.float64]

INFRARED, VISIBLE, FUSED = 0, 1, 2
SOURCES = (INFRARED, VISIBLE)


class Triple:
    """Infrared, visible and fused luma, (H, W) uint8, by the indices INFRARED, VISIBLE and FUSED."""

    def __init__(self, infrared: Luma, visible: Luma, fused: Luma) -> None:
        self.luma = tuple(check_luma(image, name) for image, name in zip((infrared, visible, fused), _NAMES, strict=True))
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
        stacked = np.stack([plane.ravel() for plane in self.planes])
        return [[int(value) for value in row] for row in stacked @ stacked.T]

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
        a, b, f = (stretch(plane) for plane in self.planes)
        return a, b, f

    @cached_property
    def sobel(self) -> tuple[tuple[Plane, Plane], ...]:
        """Horizontal and vertical Sobel responses of each image, zero beyond the border."""
        return tuple(sobel(plane, cv2.BORDER_CONSTANT) for plane in self.planes)

    def gaussian(self, size: int, sigma: float) -> Moments:
        """Local moments under a Gaussian window of size x size pixels, where it fits."""
        return self._under(gaussian_kernel(size, sigma), ("gaussian", size, sigma))

    def dense_gaussian(self, size: int, sigma: float) -> Moments:
        """The same without separating the window: the sums of MATLAB code to the last bit, which decide what flat
        windows of metrics with negligible constants give.
        """
        one = gaussian_kernel(size, sigma)
        kernel = np.outer(one, one)
        return self._under(kernel / kernel.cumsum()[-1], ("dense", size, sigma))

    def box(self, size: int) -> Moments:
        """Local moments under a uniform window of size x size pixels, where it fits."""
        return self._under(np.full(size, 1 / size), ("box", size, 0.0))

    def _under(self, kernel: Plane, key: tuple[str, int, float]) -> Moments:
        if key not in self._moments:
            self._moments[key] = Moments(self.planes, kernel)
        return self._moments[key]


class Moments:
    """Local means, variances and covariances of three images under one window, each computed once."""

    def __init__(self, planes: tuple[Plane, Plane, Plane], kernel: Plane) -> None:
        self._planes, self._kernel = planes, kernel
        self._means: dict[int, Plane] = {}
        self._covariances: dict[tuple[int, int], Plane] = {}

    def mean(self, x: int) -> Plane:
        """Of image x."""
        if x not in self._means:
            self._means[x] = filter_valid(self._planes[x], self._kernel)
        return self._means[x]

    def covariance(self, x: int, y: int) -> Plane:
        """Of images x and y; the variance if they are one."""
        key = (min(x, y), max(x, y))
        if key not in self._covariances:
            product = filter_valid(self._planes[x] * self._planes[y], self._kernel)
            self._covariances[key] = product - self.mean(x) * self.mean(y)
        return self._covariances[key]

    def variance(self, x: int) -> Plane:
        """Of image x; rounding may leave it a little below zero."""
        return self.covariance(x, x)

    def halved(self) -> Moments:
        """Under the same window, of the images at half the size: means of 2x2 pixels, the last ones repeated."""
        a, b, f = (_halve(plane) for plane in self._planes)
        return Moments((a, b, f), self._kernel)

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


def stretch(plane: Plane) -> Plane:
    """Grey levels stretched to 0..255 and rounded half up. A black image stays black; another constant one gives nan,
    as in the public code.
    """
    low, high = plane.min(), plane.max()
    if low == high == 0:
        return plane
    with np.errstate(invalid="ignore"):
        return np.floor(255 * (plane - low) / (high - low) + 0.5)


def sobel(plane: Plane, border: int) -> tuple[Plane, Plane]:
    """Unnormalised 3x3 Sobel responses, horizontal and vertical, with an OpenCV border."""
    horizontal, vertical = (cv2.Sobel(plane, cv2.CV_64F, dx, 1 - dx, ksize=3, borderType=border) for dx in (1, 0))
    return np.asarray(horizontal, np.float64), np.asarray(vertical, np.float64)


def gaussian_kernel(size: int, sigma: float) -> Plane:
    """(size,) samples of a Gaussian, sum 1."""
    x = np.arange(size) - (size - 1) / 2
    kernel = np.exp(-(x * x) / (2 * sigma * sigma))
    return kernel / kernel.sum()


def filter_valid(plane: Plane, kernel: Plane) -> Plane:
    """Correlation with an (n, n) window or an (n,) factor of a separable one, only where it fits: (H - n + 1, W - n + 1),
    maybe empty.
    """
    n = len(kernel)
    height, width = plane.shape
    if height < n or width < n:
        return np.empty((max(height - n + 1, 0), max(width - n + 1, 0)))
    if kernel.ndim == 2:
        full = cv2.filter2D(plane, cv2.CV_64F, kernel, anchor=(0, 0), borderType=cv2.BORDER_CONSTANT)
    else:
        full = cv2.sepFilter2D(plane, cv2.CV_64F, kernel, kernel, anchor=(0, 0), borderType=cv2.BORDER_CONSTANT)
    return np.asarray(full, np.float64)[: height - n + 1, : width - n + 1]


def check_luma(image: Luma, name: str) -> Luma:
    """The image, if it is 8-bit luma. Raises ValueError with the remedy."""
    if not isinstance(image, np.ndarray) or image.dtype != np.uint8:
        kind = image.dtype if isinstance(image, np.ndarray) else type(image).__name__
        raise ValueError(f"the {name} image must be a uint8 array, not {kind}: scale it to 0..255, round and convert it")
    if image.ndim != 2 or not image.size:
        raise ValueError(f"the {name} image must be (H, W) luma, not {image.shape}: reduce colour with luma8")
    return image


_NAMES = ("infrared", "visible", "fused")
