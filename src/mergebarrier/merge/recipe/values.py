"""The values that a parameter may take along the depth of a model and from tensor to tensor.

    scalar     one value everywhere
    gradient   v_0 .. v_{K-1} at depth x in [0, 1]:  s = x (K - 1), j = floor(s), f = s - j
               (1 - f) v_j + f v_{min(j + 1, K - 1)};   flags and words step: v_floor(s)
    filters    a list of {filter, value}: the first whose filter is part of the tensor's name, "*" or absent

Source: mergekit 0.1.5. Text that is a number, such as ``1e-5`` in YAML 1.1, is one.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from mergebarrier.errors import BadRecipe, clean

Scalar = bool | int | float | str
_NUMBER = re.compile(r"[-+]?(\d+\.?\d*|\.\d+)([eE][-+]?\d+)?", re.ASCII)
_DIGITS = re.compile(r"-?\d{1,20}", re.ASCII)
_LARGEST, _EXACT = 2**64, 2**53
_REMEDY = "give a value, a list of numbers, or a list of {filter, value}"


@dataclass(frozen=True)
class Choice:
    """A value (one scalar) or gradient (several) for the tensors whose name holds ``filter``; None matches all."""

    filter: str | None
    values: tuple[Scalar, ...]


ParameterValue = tuple[Choice, ...]


def parse_setting(value: object, where: str) -> ParameterValue:
    """Read the value of a parameter.

    Raises: BadRecipe naming ``where``.
    """
    if isinstance(value, Mapping):
        value = [value]
    if isinstance(value, list) and value and all(isinstance(item, Mapping) for item in value):
        return tuple(_choice(item, where) for item in value)
    return (Choice(None, _values(value, where)),)


def evaluate(setting: ParameterValue, name: str, depth: float, *, flag: bool = False) -> Scalar | None:
    """Return the value of a setting for a tensor; None when no filter matches.

    Args:
      setting: parsed.
      name:    the tensor.
      depth:   place in the stack of layers, 0 to 1.
      flag:    whether 0 and 1 are words for no and yes, which step instead of blending.
    """
    for choice in setting:
        if choice.filter is None or choice.filter == "*" or choice.filter in name:
            values = choice.values
            if flag and all(value in (0, 1) for value in values):
                values = tuple(map(bool, values))
            return _at(values, depth)
    return None


def ends(setting: ParameterValue) -> list[float]:
    """Return every number that a gradient goes through; a value out of range is wrong also where no layer meets it."""
    choices = (choice.values for choice in setting if len(choice.values) > 1)
    return [value for values in choices for value in values if not isinstance(value, bool | str)]


def plain(setting: ParameterValue) -> object:
    """Return a setting as a recipe may write it."""

    def value(choice: Choice) -> object:
        return choice.values[0] if len(choice.values) == 1 else list(choice.values)

    if len(setting) == 1 and setting[0].filter is None:
        return value(setting[0])
    return [{**({"filter": c.filter} if c.filter is not None else {}), "value": value(c)} for c in setting]


def _at(values: Sequence[Scalar], depth: float) -> Scalar:
    scaled = depth * (len(values) - 1)
    lower = int(scaled)
    numbers = [float(value) for value in values if not isinstance(value, bool | str)]
    if len(values) == 1 or len(numbers) < len(values):
        return values[lower]
    fraction = scaled - lower
    return (1 - fraction) * numbers[lower] + fraction * numbers[min(len(numbers) - 1, lower + 1)]


def _choice(item: Mapping[str, object], where: str) -> Choice:
    unknown = next((key for key in item if key not in ("filter", "value")), None)
    if unknown is not None or "value" not in item:
        what = "a choice without a value" if unknown is None else f"unknown key {clean(unknown)!r}"
        raise BadRecipe(what, where=where, remedy="a choice has the keys filter and value")
    pattern = item.get("filter")
    if pattern is not None and not isinstance(pattern, str):
        raise BadRecipe(f"the filter {clean(pattern)!r} is not text", where=where, remedy="put it into quotes")
    return Choice(pattern, _values(item["value"], where))


def _values(value: object, where: str) -> tuple[Scalar, ...]:
    if isinstance(value, list) and value:
        return tuple(parse_scalar(item, where) for item in value)
    return (parse_scalar(value, where),)


def whole(value: object) -> int | None:
    """Return a whole number, one in quotes or with a point and zeros too; None for anything else."""
    if isinstance(value, str) and _DIGITS.fullmatch(value):
        return int(value)
    if isinstance(value, float) and value.is_integer() and abs(value) < _EXACT:
        return int(value)
    return value if type(value) is int else None


def parse_scalar(value: object, where: str) -> Scalar:
    """Read one value; text that is a number becomes one. BadRecipe for lists, tables, nothing and huge numbers."""
    if isinstance(value, str):
        return float(value) if _NUMBER.fullmatch(value) else value
    if isinstance(value, float) or (isinstance(value, int) and abs(value) < _LARGEST):
        return value
    shown = {list: "an empty or mixed list", dict: "a table", type(None): "nothing"}.get(type(value), clean(value))
    raise BadRecipe(f"the value is {shown}", where=where, remedy=_REMEDY)
