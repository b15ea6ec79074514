"""The ladder of attacks on a protection, one rung after another."""

from typing import TYPE_CHECKING

from mergebarrier import doors

if TYPE_CHECKING:
    from mergebarrier.audit.ladder import levels
    from mergebarrier.audit.ladder.levels import LEVELS, Attempt, Context, Found

__all__ = [
    "LEVELS",
    "Attempt",
    "Context",
    "Found",
    "levels",
]

doors.open_lazily(__name__)
