"""From a pair as the cameras gave it to the tensors that the network sees."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from cldyn_core.engine.colors import luma
from cldyn_core.engine.noise import denoised
from cldyn_core.engine.thermal import ThermalRange
from cldyn_core.registration.registration import Registration, register
from cldyn_core.types import EngineSettings, FramePair

_INFRARED_TYPES = (np.uint8, np.uint16, np.float32)


@dataclass(frozen=True)
class Frame:
    """A pair on the device, on the same pixels."""

    visible: Tensor
    """(H, W, 3) uint8 RGB."""
    luma: Tensor
    """(1, 1, H, W) float32 in [0, 1] of the visible image."""
    infrared: Tensor
    """(1, 1, H, W) float32 in [0, 1]."""
    noise: tuple[float, float] = (0.0, 0.0)
    """Of the visible and the infrared image as they came, in gray levels of 255; 0 where it was not looked for."""


def check_pair(pair: FramePair, max_pixels: int) -> None:
    """Raise ValueError, naming the fault, for a pair that the engine does not take."""
    visible, infrared = pair.visible, pair.infrared
    if visible.ndim != 3 or visible.shape[2] != 3 or visible.dtype != np.uint8:
        raise ValueError(f"the visible image must be (H, W, 3) uint8, not {visible.shape} {visible.dtype}")
    if infrared.ndim != 2 or infrared.dtype not in _INFRARED_TYPES:
        raise ValueError(
            f"the infrared image must be (H, W) uint8, uint16 or float32, not {infrared.shape} {infrared.dtype}"
        )
    for name, image in (("visible", visible), ("infrared", infrared)):
        height, width = image.shape[:2]
        if min(height, width) < 3:
            raise ValueError(f"the {name} image is {width}x{height}; at least 3x3 pixels are needed")
        if height * width > max_pixels:
            raise ValueError(
                f"the {name} image is {width}x{height} = {height * width} pixels; the limit max_pixels is {max_pixels}"
            )


def infrared_8bit(pair: FramePair, thermal: ThermalRange) -> NDArray[np.uint8]:
    """The infrared image on the visible one's pixels, (H, W) uint8, as the trainings keep it."""
    infrared = register(thermal.normalize(pair.infrared), pair.visible.shape[:2], ())
    return np.rint(infrared * 255).astype(np.uint8)


def registered_8bit(pair: FramePair, thermal: ThermalRange, registration: Registration) -> NDArray[np.uint8]:
    """The infrared image on the visible one's pixels, (H, W) uint8 in 1..255, 0 where there is none."""
    gray = cv2.convertScaleAbs(thermal.normalize(pair.infrared), alpha=254.0, beta=1.0)
    return registration(gray, pair.visible.shape[:2]).astype(np.uint8, copy=False)


def prepare(
    pair: FramePair, settings: EngineSettings, thermal: ThermalRange, registration: Registration, device: torch.device
) -> Frame:
    """Checked, range-mapped, denoised, registered. Raises ValueError as `check_pair` and the registration do."""
    check_pair(pair, settings.max_pixels)
    color, infrared, noise = pair.visible, thermal.normalize(pair.infrared), (0.0, 0.0)
    if settings.denoise:
        (color, of_visible), (infrared, of_infrared) = denoised(color, 255.0), denoised(infrared, 1.0)
        noise = of_visible, of_infrared
    infrared = registration(infrared, color.shape[:2])
    visible = torch.from_numpy(np.require(color, requirements=["C", "W"])).to(device)  # not of read-only memory
    on_device = torch.from_numpy(np.ascontiguousarray(infrared))[None, None].to(device)
    return Frame(visible, luma(visible), on_device, noise)
