"""The ladder of attacks on a protection: one file per level, one registry, and how a level is run."""

from typing import TYPE_CHECKING

from mergebarrier import lazy

if TYPE_CHECKING:
    from mergebarrier.audit.ladder.climb import CONTROL, CellPlace, climb, control, place_of, summary, tried
    from mergebarrier.audit.ladder.comparison import compare
    from mergebarrier.audit.ladder.forecast import CONTROL_PART, LAST, forecast, part_of
    from mergebarrier.audit.ladder.learn import learn, starts
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
        built,
        checked,
        levels_from,
        shown_beside,
        states,
    )
    from mergebarrier.audit.ladder.smooth import smooth
    from mergebarrier.audit.ladder.trained import trained_notes

__all__ = [
    "BESIDE",
    "CONTROL",
    "CONTROL_PART",
    "LAST",
    "LEVELS",
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
    "learn",
    "levels_from",
    "part_of",
    "place_of",
    "published_settings",
    "shown_beside",
    "smooth",
    "starts",
    "states",
    "summary",
    "trained_notes",
    "tried",
]

lazy.open_door(__name__)
