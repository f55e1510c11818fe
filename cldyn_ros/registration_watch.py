"""Whether the infrared images still lie on the visible ones: looked at now and then, told in diagnostics."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

from cldyn_core.registration.misregistration import Shift
from cldyn_core.types import FramePair
from cldyn_ros.health import Health

PERIOD_S = 1.0
"""Between two looks: each takes some milliseconds."""


class RegistrationWatch:
    """Has the engine compare the images of a fused pair. Called by the thread that steps it, after the frame went out.

    Args:
        engine: see cldyn_core.engine.FusionEngine.misregistration.
        health: where the answer goes; an error is counted there and costs nothing else.
        clock: seconds.
    """

    def __init__(self, engine: Any, health: Health, clock: Callable[[], float] = time.monotonic) -> None:
        self._engine, self._health, self._clock = engine, health, clock
        self._next = -float("inf")

    def look(self, pair: FramePair, warn_px: float) -> str:
        """Look at a pair if it is time to. `warn_px`: as `registration.warn_px`; 0: never. Returns a warning or ""."""
        if not warn_px:
            self._health.registered("", "")
            return ""
        if self._clock() < self._next:
            return ""
        self._next = self._clock() + PERIOD_S
        try:
            shift = self._engine.misregistration(pair)
        except Exception as error:
            self._health.count("registration check errors", f"registration check: {type(error).__name__}: {error}")
            shift = None
        warning = _warning(shift, warn_px)
        self._health.registered(_text(shift), warning)
        return warning


def _text(shift: Shift | None) -> str:
    return "not known" if shift is None else f"{shift.length:.1f} ({_ways(shift)})"


def _ways(shift: Shift) -> str:
    return f"x {shift.dx:+.1f}, y {shift.dy:+.1f}"


def _warning(shift: Shift | None, warn_px: float) -> str:
    """What is wrong with that, for people; "" if nothing is known to be."""
    if shift is None or shift.length <= warn_px:
        return ""
    return (
        f"the infrared image lies {shift.length:.0f} px beside the visible one ({_ways(shift)}: right, down), more "
        f"than registration.warn_px ({warn_px:g}): has a camera moved? Measure the registration "
        "anew: cldyn data calibrate, doc/calibration.md"
    )
