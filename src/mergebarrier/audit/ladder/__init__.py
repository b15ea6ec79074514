"""The ladder of attacks on a protection: one file per level, one registry, and how a level is run."""

from typing import TYPE_CHECKING

from mergebarrier import lazy

if TYPE_CHECKING:
    from mergebarrier.audit.ladder.climb import CONTROL, CellPlace, climb, control, place_of, summary, tried
    from mergebarrier.audit.ladder.comparison import compare
    from mergebarrier.audit.ladder.forecast import CONTROL_PART, LAST, forecast, part_of
    from mergebarrier.audit.ladder.level import (
        Attempt,
        Evidence,
        Found,
        Level,
        LevelContext,
        at_least,
        at_most,
        published_settings,
    )
    from mergebarrier.audit.ladder.registry import (
        BESIDE,
        LEVELS,
        PLANNED,
        built,
        checked,
        levels_from,
        shown_beside,
        states,
    )

__all__ = [
    "BESIDE",
    "CONTROL",
    "CONTROL_PART",
    "LAST",
    "LEVELS",
    "PLANNED",
    "Attempt",
    "CellPlace",
    "Evidence",
    "Found",
    "Level",
    "LevelContext",
    "at_least",
    "at_most",
    "built",
    "checked",
    "climb",
    "compare",
    "control",
    "forecast",
    "levels_from",
    "part_of",
    "place_of",
    "published_settings",
    "shown_beside",
    "states",
    "summary",
    "tried",
]

lazy.open_door(__name__)
