"""Seeded, physically parameterised degradations of a pair: `degradation("rain:rate=80")(pair, seed)`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields, replace

from cldyn_core.data.degrade.air import Fog
from cldyn_core.data.degrade.base import Degradation, DegradationError
from cldyn_core.data.degrade.light import Dim, Glare, LowLight
from cldyn_core.data.degrade.rain import Rain
from cldyn_core.data.degrade.thermal import Misalign, ThermalNoise

__all__ = [
    "DEGRADATIONS",
    "KINDS",
    "Degradation",
    "DegradationError",
    "Dim",
    "Fog",
    "Glare",
    "LowLight",
    "Misalign",
    "Rain",
    "ThermalNoise",
    "degradation",
]

KINDS: Mapping[str, Degradation] = {
    kind.name: kind for kind in (Dim(), LowLight(), Rain(), Fog(), ThermalNoise(), Glare(), Misalign())
}
"""Every kind, with its default parameters."""

DEGRADATIONS: Mapping[str, Degradation] = {
    **{f"alpha{alpha}": Dim(alpha) for alpha in (0.4, 0.5, 0.6, 0.7, 0.8)},
    "low-light": LowLight(),
    "rain-heavy": Rain(rate=80.0),
    "fog-100m": Fog(visibility=100.0),
    "thermal-noise": ThermalNoise(),
    "glare": Glare(),
    "misaligned-5px": Misalign(dx=4.0, dy=3.0),
}
"""The presets, by name: what a comparison goes through."""


def degradation(text: str) -> Degradation:
    """A preset or kind, with parameters changed: "glare", "rain:rate=80", "fog-100m:thermal_share=0.5,patchiness=0".

    Raises DegradationError that names what is wrong: the name, a parameter, its value or its range.
    """
    name, _, changes = text.partition(":")
    known = {**KINDS, **DEGRADATIONS}
    if name not in known:
        raise DegradationError(f"unknown degradation {name!r}. Remedy: choose one of {', '.join(known)}")
    chosen = known[name]
    return replace(chosen, **dict(_change(chosen, part) for part in changes.split(",") if part))


def _change(chosen: Degradation, text: str) -> tuple[str, float | str]:
    """One `parameter=value`, checked against the parameters of a degradation."""
    parameter, equals, value = text.partition("=")
    names = [each.name for each in fields(chosen) if each.name != "depth"]
    if parameter not in names:
        raise DegradationError(f"{chosen.name}: no parameter {parameter!r}. Remedy: choose of {', '.join(names)}")
    if not equals:
        raise DegradationError(f"{chosen.name}: {parameter} has no value. Remedy: write {parameter}=VALUE")
    if isinstance(getattr(chosen, parameter), str):
        return parameter, value
    try:
        return parameter, float(value)
    except ValueError as error:
        raise DegradationError(f"{chosen.name}: {parameter}={value} is not a number. Remedy: give one") from error
