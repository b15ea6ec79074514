"""Building a merge method by name, refusing what its registry or the method itself does not know."""

import dataclasses
from collections.abc import Iterable, Mapping
from typing import TypeVar

from mergebarrier.errors import BadMergeParameter
from mergebarrier.merge.learned import DATA_MERGES, DataMerge
from mergebarrier.merge.method import Merge
from mergebarrier.merge.methods import MERGES
from mergebarrier.nearest import did_you_mean

__all__ = ["DATA_MERGES", "MERGES", "make", "make_learned"]

_M = TypeVar("_M", Merge, DataMerge)


def make(method: str, **parameters: object) -> Merge:
    """Build a merge method by name, refusing what it does not know.

    Args:
      method:     a key of MERGES.
      parameters: hyper-parameters of that method; absent ones take its defaults.
    Raises:  BadMergeParameter for an unknown method or parameter (with the nearest name), a missing or bad one.

    Example:
      >>> make("ties", density=0.2).density
      0.2
    """
    return _build(MERGES, method, parameters)


def make_learned(method: str, **parameters: object) -> DataMerge:
    """Build a merge that learns from data, as ``make`` does the others.

    Args:
      method:     a key of DATA_MERGES.
      parameters: hyper-parameters of that method; absent ones take its defaults.
    Raises:  BadMergeParameter.

    Example:
      >>> make_learned("regmean", off_diagonal=0.1).off_diagonal
      0.1
    """
    return _build(DATA_MERGES, method, parameters)


def _build(registry: Mapping[str, type[_M]], method: str, parameters: Mapping[str, object]) -> _M:
    if method not in registry:
        raise BadMergeParameter(
            f"unknown merge method{did_you_mean(method, registry)}", where=method, remedy=_list(registry)
        )
    fields = {field.name: field for field in dataclasses.fields(registry[method])}
    for name in parameters:
        if name not in fields:
            raise BadMergeParameter(
                f"has no parameter {name!r}{did_you_mean(name, fields)}", where=method, remedy=_list(fields)
            )
    for name, field in fields.items():
        if field.default is dataclasses.MISSING and name not in parameters:
            raise BadMergeParameter(f"needs the parameter {name!r}", where=method, remedy=f"give {name}")
    return registry[method](**parameters)


def _list(known: Iterable[str]) -> str:
    return "choose from " + ", ".join(known)
