"""How long work reports its progress, ``progress(done, total)`` from any thread, and says how long it took."""

from collections.abc import Callable
from typing import TypeAlias

__all__ = ["Progress", "duration"]

Progress: TypeAlias = Callable[[int, int], None]


def duration(seconds: float) -> str:
    """Say how long something took, never as nothing: "12 s", "3.4 s", "under 0.1 s"."""
    if seconds < 0.1:
        return "under 0.1 s"
    return f"{seconds:.0f} s" if seconds >= 10 else f"{seconds:.1f} s"
