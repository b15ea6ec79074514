"""Checks that ask language models: a search for inputs that collapse the output, and who brought one to a merge."""

from typing import TYPE_CHECKING

from mergebarrier import lazy

if TYPE_CHECKING:
    from mergebarrier.scan.language.changed import CHANGED_LIMIT, most_changed
    from mergebarrier.scan.language.collapse import first_survey, seek_collapse, usually_asked
    from mergebarrier.scan.language.confirm import COLLAPSE_LIMIT, Collapse, confirmed
    from mergebarrier.scan.language.judge import (
        ALIVE_LIMIT,
        DROP_LIMIT,
        Traced,
        judge_merge,
        judge_upload,
        seek_in_merge,
    )
    from mergebarrier.scan.language.refusals import (
        AGREEMENT_LIMIT,
        MIN_QUESTIONS,
        REFUSAL_LIMIT,
        Conduct,
        Question,
        conduct,
        judge_conduct,
        judge_refusals,
    )
    from mergebarrier.scan.language.survey import N_FRESH, N_SEARCH, Says, Survey, TokenSearch, heeded, survey

__all__ = [
    "AGREEMENT_LIMIT",
    "ALIVE_LIMIT",
    "CHANGED_LIMIT",
    "COLLAPSE_LIMIT",
    "DROP_LIMIT",
    "MIN_QUESTIONS",
    "N_FRESH",
    "N_SEARCH",
    "REFUSAL_LIMIT",
    "Collapse",
    "Conduct",
    "Question",
    "Says",
    "Survey",
    "TokenSearch",
    "Traced",
    "conduct",
    "confirmed",
    "first_survey",
    "heeded",
    "judge_conduct",
    "judge_merge",
    "judge_refusals",
    "judge_upload",
    "most_changed",
    "seek_collapse",
    "seek_in_merge",
    "survey",
    "usually_asked",
]

lazy.open_door(__name__)
