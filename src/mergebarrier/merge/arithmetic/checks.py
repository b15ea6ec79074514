"""Checks of hyper-parameters, shared by every merge method: a bad value is refused when the method is built.

Every check returns the value in its stored form (float, tuple of floats, choice) or raises ``BadMergeParameter``
naming the method, the parameter, the value and the allowed range.
"""

import math
from collections.abc import Iterable, Sequence
from typing import Any

from mergebarrier.errors import BadMergeParameter


def refuse(method: str, parameter: str, value: object, allowed: str) -> BadMergeParameter:
    """Compose the error for one parameter; the caller raises it."""
    return BadMergeParameter(f"{parameter} is {value!r}", where=method, remedy=f"give {parameter} as {allowed}")


def number(method: str, parameter: str, value: Any, low: float = -math.inf, high: float = math.inf) -> float:
    """Return ``value`` as a finite float in ``[low, high]``."""
    bounds = "a finite number" if low == -math.inf else f"a number from {low:g} to {high:g}"
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise refuse(method, parameter, value, bounds)
    if not math.isfinite(value) or not low <= value <= high:
        raise refuse(method, parameter, value, bounds)
    return float(value)


def numbers(
    method: str, parameter: str, value: Any, low: float = -math.inf, high: float = math.inf
) -> tuple[float, ...]:
    """Return ``value`` as a tuple of finite floats in ``[low, high]``; empty means "the same for every expert"."""
    if isinstance(value, str) or not isinstance(value, Sequence):
        raise refuse(method, parameter, value, "a list of numbers, one per expert")
    return tuple(number(method, parameter, v, low, high) for v in value)


def one_or_each(
    method: str, parameter: str, value: Any, low: float = -math.inf, high: float = math.inf
) -> float | tuple[float, ...]:
    """Return ``value`` as a float in ``[low, high]`` for all experts, or as a tuple of them, one per expert."""
    check = number if isinstance(value, int | float) else numbers
    return check(method, parameter, value, low, high)


def choice(method: str, parameter: str, value: Any, allowed: Iterable[str]) -> str:
    """Return ``value`` if it is one of ``allowed``."""
    allowed = tuple(allowed)
    if value not in allowed:
        raise refuse(method, parameter, value, " | ".join(allowed))
    return str(value)


def flag(method: str, parameter: str, value: Any) -> bool:
    """Return ``value`` if it is a bool."""
    if not isinstance(value, bool):
        raise refuse(method, parameter, value, "true or false")
    return value


def whole(method: str, parameter: str, value: Any, low: int = 0) -> int:
    """Return ``value`` as an integer, at least ``low``, that fits 64 unsigned bits."""
    if isinstance(value, bool) or not isinstance(value, int) or not low <= value < 2**64:
        raise refuse(method, parameter, value, f"a whole number from {low} to 2^64 - 1")
    return value


def per_expert(
    method: str, parameter: str, values: float | tuple[float, ...], count: int, default: float
) -> tuple[float, ...]:
    """Spread ``values`` over ``count`` experts: none gives ``default`` to each, a single one counts for all."""
    values = values if isinstance(values, tuple) else (values,)
    if len(values) == count:
        return values
    if len(values) <= 1:
        return (values or (default,)) * count
    raise BadMergeParameter(
        f"{len(values)} values of {parameter} for {count} experts",
        where=method,
        remedy=f"give {parameter} once for all, or once per expert",
    )
