"""Declared once: a hyper-parameter's help, range and names, on the dataclass field that holds it.

    @dataclass(frozen=True, kw_only=True)
    class Ties:
        density: float = number(1.0, help="Kept share of each task vector.", low=0, high=1)

        def __post_init__(self) -> None:
            check_values(self)

Flags of the command line, names in recipes, the check of a value, the manifest and the tables of the documentation are
all derived from these declarations; nothing here knows any of them.  Imports no torch, so help texts stay quick.
"""

import dataclasses
import math
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from types import EllipsisType
from typing import TYPE_CHECKING, Final, Literal, TypedDict, TypeVar, Unpack

from mergebarrier.errors import UsageError

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

__all__ = [
    "Parameter",
    "ParameterOptions",
    "built",
    "check",
    "check_values",
    "choice",
    "flag",
    "flag_of",
    "listing",
    "number",
    "numbers",
    "parameters_of",
    "redefault",
    "replaced",
    "string",
    "subset",
    "whole",
]

_KEY: Final = "mergebarrier"
#: Of float32, which weights are computed in; and a bound that only keeps arithmetic finite, which no help text shows.
_LARGEST: Final = float.fromhex("0x1.fffffep+127")
FINITE: Final = 1e30
_T = TypeVar("_T")
_D = TypeVar("_D", bound="DataclassInstance")
Kind = Literal["number", "whole", "flag", "choice", "numbers", "listing", "subset", "string"]


@dataclass(frozen=True, kw_only=True)
class Parameter:
    """What one hyper-parameter is.

    Args:
      kind:      "number" (float), "whole" (int), "flag" (bool), "choice" (str), "numbers" (one float for all models or
                 a tuple, one per model), "listing" (a tuple of floats that are not of models), "subset" (a tuple of
                 some of ``choices``), "string" (a str that its reader checks).
      help:      one sentence for people, without the name of the method.
      low, high: range, both ends included; ``above`` excludes the lower end.
      choices:   the words of a choice or a subset.
      per_model: a recipe may give each model a value of its own.
      each:      a list of numbers stays a list, one per model, or one for all; empty means a default for all.
      required:  a recipe must give it for every model, whatever the default.
      recipe:    mergekit's name for it; "" for a parameter that mergekit does not have.
      words:     what true and false say in a recipe, where mergekit has a flag and we have a choice.
      flag:      its flag on the command line, such as "--weight"; "" for the field's name with hyphens; "-" for none.
      gradient:  a recipe may let it vary with depth; if not, it holds for the whole recipe.
      only:      when it counts, in words, such as "with --profile full".
      noun:      what it is: in messages ("a step", "a list of coefficients", the "merge" of a subset), or how a
                 string looks ("0-N").
    """

    kind: Kind
    help: str
    low: float = -math.inf
    high: float = math.inf
    above: bool = False
    choices: tuple[str, ...] = ()
    per_model: bool = False
    each: bool = False
    required: bool = False
    recipe: str = ""
    words: tuple[str, str] | None = None
    flag: str = ""
    gradient: bool = True
    only: str = ""
    noun: str = ""

    @property
    def allowed(self) -> str:
        """The values that are accepted, in words."""
        if self.kind == "choice":
            return " | ".join(self.choices)
        if self.kind == "subset":
            return "some of " + ", ".join(self.choices)
        if self.kind == "flag":
            return "true or false"
        if self.kind == "whole":
            return f"a whole number from {self.low:g} to {'2^64 - 1' if self.high == math.inf else f'{self.high:.0f}'}"
        if self.kind == "string":
            return self.noun or "text"
        what = "numbers" if self.kind == "listing" else "a number"
        if self.low == -math.inf:
            return f"{what.replace('number', 'finite number')}, up to {_LARGEST:.2g} in size"
        high = f"{_LARGEST:.2g}" if self.high == math.inf else f"{self.high:g}"
        return f"{what} {f'above {self.low:g},' if self.above else f'from {self.low:g}'} to {high}"

    def checked(self, value: object) -> object:
        """Return the value in its stored form.

        Raises: ValueError(what is allowed, the value or the one of several that is not).
        """
        if self.kind == "flag" and isinstance(value, bool):
            return value
        if self.kind == "choice" and value in self.choices:
            return str(value)
        if self.kind == "string" and isinstance(value, str):
            return value
        if self.kind == "whole" and isinstance(value, int) and not isinstance(value, bool):
            if self.low <= value <= min(self.high, 2**64 - 1):
                return value
        if self.kind == "number" or (self.kind == "numbers" and not self.each and isinstance(value, int | float)):
            return self._number(value)
        if self.kind == "numbers":
            if isinstance(value, str) or not isinstance(value, Sequence):
                raise ValueError("a list of numbers, one per expert", value)
            return tuple(self._number(one) for one in value)
        if self.kind in ("listing", "subset") and isinstance(value, Collection) and not isinstance(value, str):
            return self._several(value)
        raise ValueError(self.allowed, value)

    def _several(self, values: Collection[object]) -> tuple[object, ...]:
        if not values:
            raise ValueError(self.allowed, values)
        if self.kind == "subset":
            if odd := [one for one in values if one not in self.choices]:
                raise ValueError(self.allowed, odd[0])
            return tuple(values)
        try:
            return tuple(self._number(one) for one in values)
        except ValueError:
            raise ValueError(self.allowed, values) from None

    def _number(self, value: object) -> float:
        if isinstance(value, bool) or not isinstance(value, int | float) or not abs(value) <= _LARGEST:
            raise ValueError(self.allowed, value)
        if not self.low <= value <= self.high or (self.above and value == self.low):
            raise ValueError(self.allowed, value)
        return float(value)


class ParameterOptions(TypedDict, total=False):
    """What a declaration may say beside kind, help and choices; the fields of Parameter."""

    low: float
    high: float
    above: bool
    per_model: bool
    each: bool
    required: bool
    recipe: str
    words: tuple[str, str] | None
    flag: str
    gradient: bool
    only: str
    noun: str


class ParameterChanges(ParameterOptions, total=False):
    """What a later declaration may say anew."""

    help: str
    choices: tuple[str, ...]


def number(default: _T | EllipsisType = ..., *, help: str, **more: Unpack[ParameterOptions]) -> _T:
    """Declare a float; without a default it must be given."""
    return _field(default, Parameter(kind="number", help=help, **more))


def whole(default: _T | EllipsisType = ..., *, help: str, **more: Unpack[ParameterOptions]) -> _T:
    """Declare an int that fits 64 unsigned bits, at least 0 unless ``low`` says otherwise."""
    options: ParameterOptions = {"low": 0, **more}
    return _field(default, Parameter(kind="whole", help=help, **options))


def flag(default: _T | EllipsisType = ..., *, help: str, **more: Unpack[ParameterOptions]) -> _T:
    """Declare a bool; its name on the command line, if it has another, is ``flag="--name"``."""
    return _field(default, Parameter(kind="flag", help=help, **more))


def choice(
    default: _T | EllipsisType = ..., *, help: str, choices: Sequence[str], **more: Unpack[ParameterOptions]
) -> _T:
    """Declare one word of several."""
    return _field(default, Parameter(kind="choice", help=help, choices=tuple(choices), **more))


def numbers(default: _T | EllipsisType = ..., *, help: str, **more: Unpack[ParameterOptions]) -> _T:
    """Declare one float for all models, or a tuple of them, one per model."""
    options: ParameterOptions = {"per_model": True, **more}
    return _field(default, Parameter(kind="numbers", help=help, **options))


def listing(default: _T | EllipsisType = ..., *, help: str, **more: Unpack[ParameterOptions]) -> _T:
    """Declare a tuple of floats."""
    return _field(default, Parameter(kind="listing", help=help, **more))


def string(default: _T | EllipsisType = ..., *, help: str, **more: Unpack[ParameterOptions]) -> _T:
    """Declare a str that whoever reads it checks."""
    return _field(default, Parameter(kind="string", help=help, **more))


def subset(
    default: _T | EllipsisType = ..., *, help: str, choices: Sequence[str], **more: Unpack[ParameterOptions]
) -> _T:
    """Declare a tuple of some of several words."""
    return _field(default, Parameter(kind="subset", help=help, choices=tuple(choices), **more))


def redefault(parent: object, name: str, default: _T, **changes: Unpack[ParameterChanges]) -> _T:
    """Declare a field of ``parent`` again, with another default; ``changes`` are arguments of Parameter."""
    return _field(default, dataclasses.replace(parameters_of(parent)[name], **changes))


def parameters_of(kind: object) -> dict[str, Parameter]:
    """Return field name -> declaration, in the order of the fields, for a dataclass or an instance of one."""
    return {one.name: one.metadata[_KEY] for one in _fields(kind) if _KEY in one.metadata}


def flag_of(field: str, parameter: Parameter | None = None) -> str:
    """Return the flag of a field on the command line."""
    return (parameter.flag if parameter is not None else "") or "--" + field.replace("_", "-")


def built(kind: Callable[..., _T], values: Mapping[str, object]) -> _T:
    """Build a dataclass of declared values that come from outside; its own check says whether they are of its types."""
    return kind(**values)


def replaced(instance: _D, values: Mapping[str, object]) -> _D:
    """Return a dataclass with some declared values replaced by such that come from outside, as ``built`` does."""
    return dataclasses.replace(instance, **values)


def check(instance: object, refuse: Callable[[str, object, str], Exception]) -> None:
    """Check every declared value of a frozen dataclass and store it in its normal form; call it in ``__post_init__``.

    None is accepted where it is the default.

    Args:
      instance: a dataclass instance.
      refuse:   (field name, value, what is allowed) -> the error to raise.
    """
    defaults = {one.name: one.default for one in _fields(instance)}
    for name, parameter in parameters_of(instance).items():
        value = getattr(instance, name)
        if value is None and defaults[name] is None:
            continue
        try:
            object.__setattr__(instance, name, parameter.checked(value))
        except ValueError as wrong:
            allowed, odd = wrong.args
            raise refuse(name, odd, allowed) from None


def check_values(instance: object) -> None:
    """Check the values of what a person chose by options, as ``check`` does.

    Raises: UsageError that names the option and what it may be.
    """

    def refuse(name: str, value: object, allowed: str) -> UsageError:
        parameter = parameters_of(instance)[name]
        shown = ",".join(map(str, value)) if isinstance(value, tuple) else repr(value)
        wrong = f"{shown} is not {parameter.noun or 'allowed'}"
        if parameter.kind == "subset" and parameter.noun:
            wrong = f"unknown {parameter.noun} {value!r}"
        return UsageError(wrong, where=flag_of(name, parameter), remedy=f"give {allowed}")

    check(instance, refuse)


def _fields(kind: object) -> tuple[dataclasses.Field[object], ...]:
    if not dataclasses.is_dataclass(kind):
        raise TypeError(f"{kind!r} is neither a dataclass nor an instance of one")
    return dataclasses.fields(kind)


def _field(default: _T | EllipsisType, parameter: Parameter) -> _T:
    if isinstance(default, EllipsisType):
        needed: _T = field(metadata={_KEY: parameter})
        return needed
    return field(default=default, metadata={_KEY: parameter})
