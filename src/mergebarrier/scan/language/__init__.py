"""Checks that ask language models: a search for inputs that collapse the output, and who brought one to a merge."""

from typing import TYPE_CHECKING

from mergebarrier import lazy

if TYPE_CHECKING:
    from mergebarrier.scan.language.collapse import (
        COLLAPSE_LIMIT,
        N_FRESH,
        N_SEARCH,
        Collapse,
        Says,
        Survey,
        TokenSearch,
        confirmed,
        first_survey,
        scores,
        seek_collapse,
        survey,
    )
    from mergebarrier.scan.language.judge import DROP_LIMIT, Traced, judge_merge, judge_upload, trace

__all__ = [
    "COLLAPSE_LIMIT",
    "DROP_LIMIT",
    "N_FRESH",
    "N_SEARCH",
    "Collapse",
    "Says",
    "Survey",
    "TokenSearch",
    "Traced",
    "confirmed",
    "first_survey",
    "judge_merge",
    "judge_upload",
    "scores",
    "seek_collapse",
    "survey",
    "trace",
]

lazy.open_door(__name__)
