"""How long work reports its progress: ``progress(done, total)``, from any thread; ``done`` rises to ``total``."""

from collections.abc import Callable
from typing import TypeAlias

__all__ = ["Progress"]

Progress: TypeAlias = Callable[[int, int], None]
