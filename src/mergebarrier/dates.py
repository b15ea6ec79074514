"""Whether a word is a moment: records say when they were made, and a word that is none must not stand for one.

is_dated("2026-11-29T08:00:00+00:00"), not is_dated("soon")
"""

from datetime import datetime

__all__ = ["is_dated"]


def is_dated(text: str) -> bool:
    """Say whether a text is a date of ISO 8601."""
    try:
        datetime.fromisoformat(text)
    except ValueError:
        return False
    return True
