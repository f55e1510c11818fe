"""What all degradations share: checked parameters, random numbers, and the way from stored pixels to light and back."""

from __future__ import annotations

import re
from abc import ABC, abstractmethod
from dataclasses import dataclass, field, fields, replace
from typing import Any, TypeVar
from zlib import crc32

import numpy as np
from numpy.typing import NDArray

from cldyn_core.types import FramePair, LabelledPair

Image = NDArray[np.float32]
Visible = NDArray[np.uint8]
Infrared = NDArray[Any]
Pair = TypeVar("Pair", LabelledPair, FramePair)


class DegradationError(ValueError):
    """A degradation that cannot be made or applied. The text says which, why, and what to do."""


@dataclass(frozen=True)
class Chance:
    """Random numbers of one call."""

    frame: np.random.Generator
    """Others for every pair."""
    camera: np.random.Generator
    """The same for all pairs of a seed: what is built into a camera."""


def bounded(default: float, low: float, high: float, unit: str = "") -> Any:
    """A parameter of a degradation: a number in [low, high], in a unit."""
    return field(default=default, metadata={"bounds": (low, high, unit)})


@dataclass(frozen=True)
class Degradation(ABC):
    """Makes a pair worse: a pure function of the pair, the parameters and a seed.

    Size and dtype of both images are kept, and so is the target. The random numbers depend on the seed and the pair's
    name (a FramePair's stamp) alone, so the order of the pairs does not matter. Infrared is white-hot: 8-bit as
    displayed, 16-bit in counts, float in kelvins or degrees Celsius.
    """

    def __post_init__(self) -> None:
        """Raises DegradationError when a parameter is out of its range."""
        for parameter in fields(self):
            low, high, unit = parameter.metadata.get("bounds", (None, None, ""))
            value = getattr(self, parameter.name)
            if low is not None and not low <= value <= high:
                wanted = f"{low:g}..{high:g} {unit}".rstrip()
                raise DegradationError(f"{self.name}: {parameter.name} is {value:g}. Remedy: choose one in {wanted}")

    @property
    def name(self) -> str:
        """Of the kind, as `degradation` takes it: "low-light" for LowLight."""
        return re.sub("(?<!^)(?=[A-Z])", "-", type(self).__name__).lower()

    def __call__(self, pair: Pair, seed: int = 0) -> Pair:
        """The degraded pair. seed: 0 or more."""
        source = pair.name if isinstance(pair, LabelledPair) else str(pair.stamp_ns)
        frame = np.random.default_rng((seed, crc32(f"{self.name}/{source}".encode())))
        camera = np.random.default_rng((seed, crc32(self.name.encode())))
        visible, infrared = self._degrade(pair.visible, pair.infrared, Chance(frame, camera))
        return replace(pair, visible=visible, infrared=infrared)

    @abstractmethod
    def _degrade(self, visible: Visible, infrared: Infrared, chance: Chance) -> tuple[Visible, Infrared]:
        """Both images, degraded; those given are not written to."""


def to_linear(rgb: Visible) -> Image:
    """sRGB of any shape to light, 1 = white (IEC 61966-2-1)."""
    return _LIGHT[rgb]


def to_srgb(light: Image) -> Visible:
    """Light to sRGB, clipped to black and white; the inverse of `to_linear`."""
    light = np.clip(light, 0.0, 1.0)
    tone = np.where(light <= 0.0031308, 12.92 * light, 1.055 * light ** np.float32(1 / 2.4) - 0.055)
    return stored(255 * tone, np.dtype(np.uint8))


def stored(values: NDArray[Any], dtype: np.dtype[Any]) -> NDArray[Any]:
    """Values as pixels of a type: integers are rounded and clipped, floats only converted."""
    if dtype.kind == "f":
        return values.astype(dtype)
    return np.clip(np.rint(values), 0, np.iinfo(dtype).max).astype(dtype)


def _light_of_tones() -> Image:
    tone = np.arange(256) / 255.0
    return np.where(tone <= 0.04045, tone / 12.92, ((tone + 0.055) / 1.055) ** 2.4).astype(np.float32)


_LIGHT = _light_of_tones()
