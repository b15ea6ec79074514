"""Lazy imports: libraries and the names behind a package's door are imported when something is first taken from them.

    from __future__ import annotations              # annotations stay text, so they take nothing
    from mergebarrier.lazy import torch             # costs nothing; torch.mul(..) imports torch, once

So a file can declare the hyper-parameters that help texts show and compute with torch as well.  The ``__init__`` of a
package is its door, and lists what it offers:

    if TYPE_CHECKING:                               # read by people, by type checkers and by ``open_door``
        from mergebarrier.protect.exact import Exact

    __all__ = ["Exact"]

    lazy.open_door(__name__)                        # the file of Exact is imported when Exact is first used

Source: PEP 562.  We differ from importlib.util.LazyLoader: sys.modules stays as it is, and two threads may ask at the
same moment.  The names of a door come from its own import statements, so nothing is listed twice, and a file may be
called like what it defines (``verbs/protect.py`` defines ``protect``): the door gives what is defined.  ``OnDemand`` is
lazy in the same sense: a table of values that are made when they are asked for.
"""

import gc
import importlib
import re
import sys
from collections.abc import Collection, Iterator, Mapping
from functools import cache
from types import ModuleType
from typing import TYPE_CHECKING, Any, TypeVar

if TYPE_CHECKING:
    import numpy as np
    import torch

__all__ = ["OnDemand", "np", "open_door", "torch"]

_Value = TypeVar("_Value")


class _Library(ModuleType):
    def __getattr__(self, name: str) -> object:
        if name == "__path__":  # it is not a package: ``import mergebarrier.lazy.torch`` is a mistake
            raise AttributeError(name)
        value = self.__dict__[name] = getattr(importlib.import_module(self.__name__), name)  # found once: loops ask
        return value


if not TYPE_CHECKING:
    np, torch = _Library("numpy"), _Library("torch")

_IMPORT = re.compile(r"^ +from (\S+) import (?:\(([^)]*)\)|(.+))$", re.MULTILINE)


def open_door(package: str) -> None:
    """Make a package import what it offers on demand.

    Args:
      package: ``__name__`` of a package whose ``__init__`` imports its names under ``if TYPE_CHECKING:``.
    """
    sys.modules[package].__class__ = _Door


@cache
def _places(package: str) -> dict[str, str]:
    """Return name -> the module that it is taken from; a file that is offered as a whole is taken from its package."""
    loader: Any = sys.modules[package].__loader__
    return {
        name.strip(): module
        for module, many, few in _IMPORT.findall(loader.get_source(package))
        for name in (many or few).split(",")
        if name.strip()
    }


def _imported(module: str) -> ModuleType:
    """Import with the collector of cycles paused: torch makes so many objects that it takes an eighth of the time.

    What was imported stays; it counts as old at once, or the collector would walk through it three times more.
    """
    running = gc.isenabled()
    gc.disable()
    try:
        return importlib.import_module(module)
    finally:
        if running:
            gc.freeze()
            gc.unfreeze()
            gc.enable()


class _Door(ModuleType):
    def __getattr__(self, name: str) -> object:
        place = None if name.startswith("__") else _places(self.__name__).get(name)
        if place is None:
            raise AttributeError(f"module {self.__name__!r} has no attribute {name!r}")
        if place == self.__name__:
            return _imported(f"{place}.{name}")
        value = self.__dict__[name] = getattr(_imported(place), name)
        return value

    def __setattr__(self, name: str, value: object) -> None:
        # An imported file is set on its package; that must not hide an offered name that is spelled like the file.
        if isinstance(value, ModuleType) and _places(self.__name__).get(name, self.__name__) != self.__name__:
            return
        super().__setattr__(name, value)

    def __dir__(self) -> list[str]:
        return sorted({*self.__dict__, *_places(self.__name__)})


class OnDemand(Mapping[str, _Value]):
    """Values that are made when they are asked for; unlike in a plain ``Mapping``, ``in`` makes none."""

    def __init__(self, names: Collection[str]) -> None:
        """Make none."""
        self._names = names

    def __contains__(self, name: object) -> bool:
        """Say whether one is there."""
        return name in self._names

    def __iter__(self) -> Iterator[str]:
        """Yield the names."""
        return iter(self._names)

    def __len__(self) -> int:
        """Return how many there are."""
        return len(self._names)
