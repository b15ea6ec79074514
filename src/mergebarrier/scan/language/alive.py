"""Is what collapses an upload alive in a merge?  Inputs that were found in the uploads are improved on the merge.

A merge weakens what its uploads do, and from so little a search of the merge alone finds no first step.  In the upload
the same lock is loud, so the string and the output that a climb on the merge (``climb``) begins with come from there.

Source: ours.  Differs from other searches: the start is the weakness of another model.
"""

from collections.abc import Sequence
from typing import Final

from mergebarrier.scan.language.climb import climbed
from mergebarrier.scan.language.confirm import Collapse, confirmed
from mergebarrier.scan.language.survey import Says, TokenSearch

#: S in an upload from which its find is tried on the merge.
START_LIMIT: Final = 0.3


def seek_alive(merged: Says, base: Says, search: TokenSearch, finds: Sequence[Collapse]) -> tuple[Collapse, ...]:
    """Improve what was found in uploads on their merge.

    Args:
      merged: the merge.
      base:   what the uploads were fine-tuned from.
      search: prompts of one task of the merge.
      finds:  what was found in the uploads; those of less than ``START_LIMIT`` are left out.
    Returns: for each of the others the strongest input, on fresh prompts; the strongest first.
    """
    found = []
    for one in finds:
        if one.score >= START_LIMIT:
            strings = [one.tokens, climbed(merged, base, search, one.tokens, one.output)]
            found.append(confirmed(merged, base, search, list(dict.fromkeys(strings))))
    return tuple(sorted(found, key=lambda one: one.rank, reverse=True))
