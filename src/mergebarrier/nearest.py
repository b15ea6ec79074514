"""The known name that is nearest to a mistyped one, for every message that refuses a name.

did_you_mean("tise", METHODS) == " (did you mean 'ties'?)"
"""

import difflib
from collections.abc import Iterable

__all__ = ["did_you_mean", "nearest"]


def nearest(name: str, known: Iterable[str], *, likeness: float = 0.6) -> str | None:
    """Return the known name that is most like ``name``, None where none is at least ``likeness`` (0 to 1) alike.

    Capitals do not count.
    """
    alike: dict[str, str] = {}
    for one in known:
        alike.setdefault(one.lower(), one)
    close = difflib.get_close_matches(name.lower(), list(alike), n=1, cutoff=likeness)
    return alike[close[0]] if close else None


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """Return " (did you mean ...?)" for a name that is close to a known one, else nothing."""
    close = nearest(name, known)
    return "" if close is None else f" (did you mean {close!r}?)"
