"""Lazy libraries: torch and numpy by name, imported when something is first taken from them.

    from __future__ import annotations              # annotations stay text, so they take nothing
    from mergebarrier.lazy import torch             # costs nothing

    def half(a: torch.Tensor) -> torch.Tensor:
        return torch.mul(a, 0.5)                    # imports torch, once

So a file can declare the hyper-parameters that help texts show and compute with torch as well.  Source: PEP 562.  We
differ from importlib.util.LazyLoader: sys.modules stays as it is, and two threads may ask at the same moment.
"""

import importlib
from types import ModuleType
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np
    import torch

__all__ = ["np", "torch"]


class _Library(ModuleType):
    def __getattr__(self, name: str) -> object:
        if name == "__path__":  # it is not a package: ``import mergebarrier.lazy.torch`` is a mistake
            raise AttributeError(name)
        return getattr(importlib.import_module(self.__name__), name)


if not TYPE_CHECKING:
    np, torch = _Library("numpy"), _Library("torch")
