"""Faults of the thermal camera: its noise, and that it looks elsewhere."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np

from cldyn_core.data.degrade.base import Chance, Degradation, Infrared, Visible, bounded, stored


@dataclass(frozen=True)
class ThermalNoise(Degradation):
    """Infrared only: noise of an uncooled core; its row and column pattern is the same for all pairs of a seed."""

    netd: float = bounded(300.0, 0.0, 10_000.0, "mK")
    """Noise-equivalent temperature difference: standard deviation, independent in every pixel."""
    rows: float = bounded(50.0, 0.0, 10_000.0, "mK")
    """Standard deviation of the rows' offsets."""
    columns: float = bounded(120.0, 0.0, 10_000.0, "mK")
    """Standard deviation of the columns' offsets."""
    span: float = bounded(15.0, 0.1, 1000.0, "K")
    """8-bit images: temperature from black to white. The camera's display usually fits it to the scene."""
    resolution: float = bounded(10.0, 0.1, 1000.0, "mK")
    """16-bit images: temperature of one count."""

    def _degrade(self, visible: Visible, infrared: Infrared, chance: Chance) -> tuple[Visible, Infrared]:
        height, width = infrared.shape
        noise = self.netd * chance.frame.standard_normal((height, width), dtype=np.float32)
        noise += self.rows * chance.camera.standard_normal((height, 1), dtype=np.float32)
        noise += self.columns * chance.camera.standard_normal((1, width), dtype=np.float32)
        return visible, stored(infrared + noise / self._step(infrared.dtype), infrared.dtype)

    def _step(self, dtype: np.dtype[np.generic]) -> float:
        """Millikelvins of one unit."""
        if dtype == np.uint8:
            return 1000 * self.span / 255
        return self.resolution if dtype == np.uint16 else 1000.0


@dataclass(frozen=True)
class Misalign(Degradation):
    """Infrared only: turned and enlarged about its middle, then shifted. Edges are repeated outwards."""

    dx: float = bounded(4.0, -1000.0, 1000.0, "infrared pixels")
    """To the right."""
    dy: float = bounded(3.0, -1000.0, 1000.0, "infrared pixels")
    """Downwards."""
    angle: float = bounded(0.0, -180.0, 180.0, "degrees")
    """Counter-clockwise."""
    scale: float = bounded(1.0, 0.1, 10.0, "times")
    """Larger than 1 enlarges."""

    def _degrade(self, visible: Visible, infrared: Infrared, chance: Chance) -> tuple[Visible, Infrared]:
        height, width = infrared.shape
        center = ((width - 1) / 2, (height - 1) / 2)
        matrix = np.array(cv2.getRotationMatrix2D(center, self.angle, self.scale), np.float64)
        matrix[:, 2] += (self.dx, self.dy)
        moved = cv2.warpAffine(infrared, matrix, (width, height), borderMode=cv2.BORDER_REPLICATE)
        return visible, np.asarray(moved, infrared.dtype)
