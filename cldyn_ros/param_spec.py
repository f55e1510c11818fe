"""One parameter: its declaration as a dataclass field, and the check of a received value against it."""

from __future__ import annotations

import array
import math
from collections.abc import Iterable, Sequence
from dataclasses import Field, dataclass, field
from typing import Any, TypeVar, cast

D = TypeVar("D")


class ParameterError(ValueError):
    """A refused value. The text is the reason the user sees."""


@dataclass(frozen=True)
class Spec:
    """What is known of one parameter besides its default."""

    name: str
    doc: str
    choices: tuple[str, ...] = ()
    low: float | None = None
    high: float | None = None
    fixed: bool = False
    """Read once at start."""


def param(
    default: D,
    name: str,
    doc: str,
    choices: Iterable[str] = (),
    low: float | None = None,
    high: float | None = None,
    fixed: bool = False,
) -> D:
    """Field of a dataclass of parameters. Numbers and lists of numbers are kept within `low` .. `high`."""
    spec = Spec(name, doc, tuple(choices), low, high, fixed)
    made: D = field(default=default, metadata={"spec": spec})
    return made


def check(f: Field[Any], value: object) -> Any:
    """The value in the type of the field's default. Raises ParameterError."""
    spec: Spec = f.metadata["spec"]
    if isinstance(f.default, tuple):
        return _check_matrix(spec, value)
    wanted = type(f.default)
    if wanted is float and isinstance(value, int) and not isinstance(value, bool):
        value = float(value)
    if type(value) is not wanted:
        raise ParameterError(f"{spec.name} takes {_kind(spec, wanted)}, got {_show(value)}")
    if spec.choices and value not in spec.choices:
        raise ParameterError(f"{spec.name} takes {_kind(spec, wanted)}, got {_show(value)}")
    if wanted in (int, float):
        _check_range(spec, cast(float, value))
    if isinstance(value, str) and not value and f.default:
        raise ParameterError(f"{spec.name} must not be empty")
    return value


def _check_matrix(spec: Spec, value: object) -> tuple[float, ...]:
    if not isinstance(value, (list, tuple, array.array)) or not all(
        isinstance(v, (int, float)) and not isinstance(v, bool) for v in cast(Sequence[object], value)
    ):
        raise ParameterError(f"{spec.name} takes a list of 9 numbers or an empty list, got {_show(value)}")
    numbers = tuple(float(v) for v in value)
    if len(numbers) not in (0, 9):
        raise ParameterError(f"{spec.name} takes 9 numbers (or none), got {len(numbers)}")
    for number in numbers:
        _check_range(spec, number)
    return numbers


def _check_range(spec: Spec, value: float) -> None:
    if spec.low is None or spec.high is None:
        return
    if not math.isfinite(value) or not spec.low <= value <= spec.high:
        raise ParameterError(f"{spec.name} must be within {spec.low:.12g} .. {spec.high:.12g}, got {value:.12g}")


def _kind(spec: Spec, wanted: type) -> str:
    if spec.choices:
        return "one of " + ", ".join(spec.choices)
    return {bool: "true or false", int: "an integer", float: "a number", str: "a string"}[wanted]


def _show(value: object) -> str:
    return "no value" if value is None else f"{value!r} ({type(value).__name__})"
