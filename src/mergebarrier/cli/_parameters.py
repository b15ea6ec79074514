"""Options of the command line from what methods declare of their hyper-parameters (``mergebarrier.parameters``).

    @parameter_options(PROTECTIONS)        --profile, --only, ... : every parameter of every method once
    made_from(PROTECTIONS["exact"], given) -> Exact(profile="full"), or UsageError for an option of another method

Nothing is typed here: names, types, help and defaults are those of the fields.
"""

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any, Final

import click

from mergebarrier.errors import UsageError
from mergebarrier.parameters import Parameter, parameters_of

__all__ = ["made_from", "parameter_options"]

_TYPES: Final = {"number": click.FLOAT, "whole": click.INT, "flag": click.BOOL, "subset": click.STRING}


def parameter_options(methods: Mapping[str, type[Any]]) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Add one option per declared parameter; each comes to the verb under the field's name, None where not given."""
    fields: dict[str, list[tuple[str, Parameter, object]]] = {}
    for method, kind in methods.items():
        defaults = {field.name: field.default for field in dataclasses.fields(kind)}
        for name, parameter in parameters_of(kind).items():
            fields.setdefault(name, []).append((method, parameter, defaults[name]))

    def decorate(verb: Callable[..., Any]) -> Callable[..., Any]:
        for name, uses in reversed(fields.items()):
            verb = _option(name, uses)(verb)
        return verb

    return decorate


def made_from(kind: type[Any], given: Mapping[str, Any]) -> Any:
    """Build a method from options; one of another method is an error, not a silence."""
    known = parameters_of(kind)
    values = {name: value for name, value in given.items() if value is not None}
    foreign = sorted(values.keys() - known.keys())
    if foreign:
        raise UsageError(f"not an option of {kind.name}", where=_flag(foreign[0]), remedy="leave it out")
    for name, value in values.items():
        if known[name].kind == "subset":
            values[name] = tuple(part.strip() for part in value.split(","))
    return kind(**values)


def _flag(name: str, parameter: Parameter | None = None) -> str:
    return parameter.flag if parameter is not None and parameter.flag else "--" + name.replace("_", "-")


def _option(name: str, uses: list[tuple[str, Parameter, object]]) -> Callable[[Callable[..., Any]], Any]:
    first = uses[0][1]
    kind = click.Choice(first.choices) if first.kind == "choice" else _TYPES[first.kind]
    metavar = "A,B,.." if first.kind == "subset" else None
    help_text = "  ".join(_sentence(*use) for use in uses)
    return click.option(_flag(name, first), name, type=kind, metavar=metavar, default=None, help=help_text)


def _sentence(method: str, parameter: Parameter, default: object) -> str:
    """Say whose parameter it is, what it means, what it may be and what it is by default."""
    allowed = "" if parameter.kind == "choice" else f" ({parameter.allowed})"
    only = f", {parameter.only}" if parameter.only else ""
    value = "all" if parameter.kind == "subset" and default == parameter.choices else default
    return f"{method}{only}: {parameter.help[0].lower()}{parameter.help[1:].rstrip('.')}{allowed}.  [default: {value}]"
