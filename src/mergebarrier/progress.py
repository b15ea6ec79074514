"""How long work reports its progress, ``progress(done, total)`` from any thread, and says how long or much it was."""

from collections.abc import Callable
from typing import TypeAlias

__all__ = ["Progress", "counted", "duration", "early_forecast", "forecast"]

Progress: TypeAlias = Callable[[int, int], None]
_DAY = 86400
#: Steps that are timed before a person is told how long the rest takes, and seconds from which it is said at once.
_FIRST, _LONG = 3, 600.0


def duration(seconds: float) -> str:
    """Say how long something took, never as nothing: "12 s", "3.4 s", "under 0.1 s"; days where hours say little."""
    if seconds < 0.1:
        return "under 0.1 s"
    if seconds >= 2 * _DAY:
        return f"{seconds / _DAY:,.0f} days"
    return f"{seconds:.0f} s" if seconds >= 10 else f"{seconds:.1f} s"


def forecast(seconds: float) -> str:
    """Say how long something will take: "about 12 s", and "under 0.1 s", which is no more exact with an "about"."""
    return duration(seconds) if seconds < 0.1 else f"about {duration(seconds)}"


def counted(total: int, distinct: int | None, unit: str) -> str:
    """Say how many rows there are, and how many differ where some stand twice: each counts in every rate."""
    return f"{total} {unit}" + ("" if distinct in (None, total) else f", {distinct} of them distinct")


def early_forecast(done: int, left: int, elapsed: float) -> str:
    """Say how long the rest takes after the first steps of a long run, and nothing at any other time."""
    rest = elapsed / _FIRST * left
    return forecast(rest) if done == _FIRST and rest >= _LONG else ""
