"""Whether a word is a moment that has been: records say when they were made, and a word that is none must not pass.

undated("2026-11-29T08:00:00+00:00") == "";  undated("soon") and undated("2999-01-01") say what is wrong
"""

from datetime import UTC, datetime, timedelta
from typing import Final

from mergebarrier.errors import clean

__all__ = ["undated"]

#: Clocks differ, and a date without its zone may be a day ahead of ours.
_AHEAD: Final = timedelta(days=1)


def undated(text: str) -> str:
    """Return why a text is no date of ISO 8601 that lies behind us, or nothing."""
    shown = repr(clean(text, longest=60))
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        return f"{shown} is no date"
    if moment.replace(tzinfo=None) > datetime.now(UTC).replace(tzinfo=None) + _AHEAD:
        return f"{shown} lies in the future"
    return ""
