"""``--method`` and one option per hyper-parameter of the merge methods, out of their registries."""

from collections.abc import Mapping
from typing import Any

import click

from mergebarrier.cli._parameters import Registry, chosen, options_of
from mergebarrier.merge import DATA_MERGES, MERGES, DataMerge, Merge
from mergebarrier.parameters import parameters_of

__all__ = ["hyper_parameters", "merge_options", "methods"]


def methods() -> dict[str, type[Merge] | type[DataMerge]]:
    """Return every merge method by name, those that learn from data at last."""
    return {**MERGES, **DATA_MERGES}


def merge_options(registry: Registry) -> list[click.Option]:
    """Return ``--method`` and the options of all methods."""
    names = click.Choice(list(registry))
    return [click.Option(["--method"], type=names, help="Required, unless a recipe names it."), *options_of(registry)]


def hyper_parameters(method: str, given: Mapping[str, Any], *, seed: int, based: bool) -> dict[str, Any]:
    """Turn the options that were given into the parameters of ``merge.make``.

    Args:
      method: a key of ``methods``.
      given:  option values by parameter.
      seed:   for a method that draws.
      based:  whether a base was given: a method whose base is optional then uses it.
    Raises: UsageError for an option that the method does not have, or one that it needs and lacks.
    """
    kind = methods()[method]
    values = chosen(methods(), method, given)
    optional_base = getattr(kind, "optional_base", "")
    return {
        **({optional_base: based} if optional_base else {}),
        **values,
        **({"seed": seed} if "seed" in parameters_of(kind) else {}),
    }
