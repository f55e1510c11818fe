"""What can be asked of the renderer, and what it gives back."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

CONDITIONS: tuple[str, ...] = ("day", "dusk", "night", "glare", "fog", "smoke")
"""Light and weather a scene can have."""

SEMANTIC_CLASSES: tuple[str, ...] = (
    "background",
    "road",
    "sidewalk",
    "building",
    "lamp",
    "sign",
    "vegetation",
    "sky",
    "person",
    "car",
    "truck",
    "bus",
    "motorcycle",
    "bicycle",
    "pole",
)
"""Names of the values of `RenderedFrame.semantic`. "lamp" is street lamp heads and traffic lights."""

MIN_WIDTH, MIN_HEIGHT, MAX_SIDE = 64, 48, 4096


@dataclass(frozen=True)
class SceneConfig:
    """One rendered sequence. Equal configurations give equal pixels.

    Raises ValueError, naming the field and what it may be.
    """

    condition: str = "night"
    """One of CONDITIONS."""
    width: int = 640
    height: int = 480
    frames: int = 60
    fps: float = 10.0
    seed: int = 0
    """Chooses everything that the other fields leave open: camera, road, buildings, weather, who is there."""
    people: int | None = None
    """Pedestrians; riders come with their vehicles. None: chosen by the seed. 0: nobody at all, no riders either."""
    vehicles: int | None = None
    """Cars, buses, trucks and two-wheelers together. None: chosen by the seed."""

    def __post_init__(self) -> None:
        if self.condition not in CONDITIONS:
            raise ValueError(f"condition is {self.condition!r}; choose one of {', '.join(CONDITIONS)}")
        _check_integer("width", self.width, MIN_WIDTH, MAX_SIDE)
        _check_integer("height", self.height, MIN_HEIGHT, MAX_SIDE)
        _check_integer("frames", self.frames, 1, 1_000_000)
        _check_integer("seed", self.seed, 0, 2**63 - 1)
        if self.people is not None:
            _check_integer("people", self.people, 0, 60)
        if self.vehicles is not None:
            _check_integer("vehicles", self.vehicles, 0, 40)
        if isinstance(self.fps, bool) or not isinstance(self.fps, (int, float)) or not 0.1 <= self.fps <= 1000.0:
            raise ValueError(f"fps is {self.fps!r}; it must be a number in 0.1..1000")


@dataclass(frozen=True)
class RenderedFrame:
    """One rendered pair with its ground truth; (H, W) is the configured size."""

    visible: NDArray[np.uint8]
    """(H, W, 3) RGB."""
    infrared: NDArray[np.uint8]
    """(H, W) white-hot, `infrared16` through a tone curve that is fixed for the sequence."""
    infrared16: NDArray[np.uint16]
    """(H, W) apparent temperature in hundredths of a kelvin."""
    boxes: NDArray[np.float32]
    """(N, 4) x1 y1 x2 y2 in pixels: the whole object, hidden parts included, clipped to the image."""
    labels: NDArray[np.int64]
    """(N,) indices into M3FD_CLASSES. As in M3FD, "Lamp" is a traffic light."""
    semantic: NDArray[np.uint8]
    """(H, W) indices into SEMANTIC_CLASSES."""
    saliency: NDArray[np.uint8]
    """(H, W) 255 on the most prominent warm objects, else 0."""
    time_s: float
    """Seconds since the start of the sequence."""


def _check_integer(name: str, value: object, low: int, high: int) -> None:
    if isinstance(value, bool) or not isinstance(value, (int, np.integer)) or not low <= value <= high:
        raise ValueError(f"{name} is {value!r}; it must be an integer in {low}..{high}")
