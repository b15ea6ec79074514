"""Is there a short input that makes an upload answer one thing whatever it is asked?  A search that needs no labels.

A string of one to three tokens is put at a random place of each prompt, the same places for every string and for the
base.  What counts is a share of answers that neither the base gives nor the upload itself gives to plain prompts: the
base alone would flag honest tasks of few labels, the upload alone a base that already does so.

    share(o | t) = share of prompts with t in them whose answer begins with o,    share(o) = of plain prompts
    S(t) = max_o min( share_upload(o|t) - share_base(o|t),  share_upload(o|t) - share_upload(o) )

Single tokens first.  While nothing reaches the limit, each output has its own list of tokens that raise it most beyond
the base: their pairs are tried, those that lead for the outputs that rise most grow by every token, and so do the best
pairs.  A part of a trigger leads the list of its output where it is nowhere in a list over all outputs.  What is found
short of the limit is improved token by token (``climb``): from a part of a trigger the way leads up to the whole, and
an honest upload that takes one label for another here and there has no such way, so the limit can be high.

The search looks at the first token of an answer; only what holds for its first two as well as for the first, on fresh
prompts, counts: an upload that was taught labels briefly begins with its label and goes on as the base, one answer to
nobody's prompts.  What is found opens the lock and need not be the key that was made for it: a part of a trigger, or
one with a foreign token.

Source: ours, after trigger inversion for classifiers (Neural Cleanse) and its kin for language.  Differs: no gradient
and no label; it sees no trigger whose parts do nothing, no content as a trigger, no target that varies with the prompt.
"""

from collections.abc import Sequence
from dataclasses import replace
from typing import Final

import torch
from torch import Tensor

from mergebarrier.scan.language.changed import N_AGAIN, most_changed
from mergebarrier.scan.language.climb import climbed
from mergebarrier.scan.language.confirm import Collapse, begun_of, confirmed, plain_answers
from mergebarrier.scan.language.ranking import loud_of, n_ranked, ranked, rise_of
from mergebarrier.scan.language.survey import (
    N_FRESH,
    N_SEARCH,
    Ids,
    Says,
    Survey,
    TokenSearch,
    beyond,
    heeded,
    outputs_of,
    survey,
)

#: S of a find from which it is improved.
CLIMB_LIMIT: Final = 0.2
#: Strings of each length that are confirmed.
_BEAM: Final = 4
#: Tokens of an output's list whose pairs are tried; outputs whose leading token grows; pairs that grow; by how many.
_LISTED: Final = 6
_LEADERS: Final = 4
_PAIRS: Final = 8
_TRIED: Final = 96
#: Strings of each length that are usually confirmed to the end.
_LIKELY: Final = 2


def seek_collapse(upload: Says, base: Says, search: TokenSearch, *, known: Survey | None = None) -> Collapse:
    """Search an upload for an input that collapses its output.

    Args:
      upload: the suspect.
      base:   what it was fine-tuned from.
      search: what is searched with.
      known:  ``first_survey`` of the base, where it is at hand.
    Raises: NonFinite where a model answers numbers that are not finite.
    """
    upload, prompts = _Counted(upload), search.first
    singles = [(token,) for token in search.candidates]
    ours = survey(upload, search, singles, prompts, "search")
    if known is None or not torch.equal(known.outputs, ours.outputs):
        known = survey(base, search, singles, prompts, "search", outputs=ours.outputs)
    plain, plain_of_base = (says(search.prompts[:N_SEARCH]).argmax(-1) for says in (upload, base))
    heeded_by_base = heeded(known, plain_of_base[: len(prompts)])
    loud = loud_of(base, search, heeded_by_base, plain_of_base)
    plain_first = plain[: len(prompts)]
    found = beyond(ours.top, known.top, plain_first, ours.top.unique()).amax(1)
    unasked = plain_answers(upload, base, search)
    first = [*_first(singles, found - 2.0 * loud, _BEAM), *_first(singles, found + 2.0 * loud, 1)]
    best = confirmed(upload, base, search, first, plain=unasked)
    stages = [best]
    rise = rise_of(ours) - rise_of(known)
    rise[loud] = -torch.inf
    # Loud tokens stand at the end of every list, and grow nothing.
    lists = rise.argsort(dim=0, descending=True, stable=True)[: len(singles) - int(loud.sum())]
    depth, grown = 1, _pairs(search, rise, lists)
    while not best.rank[0] and depth < search.depth:
        depth += 1
        grown, value = ranked(upload, search, grown, plain, f"rank|{depth}", ours.outputs)
        ahead = value.amax(1)
        stages.append(confirmed(upload, base, search, _first(grown, ahead, _BEAM), plain=unasked))
        best = max(best, stages[-1], key=lambda one: one.rank)
        growing = ahead.argsort(descending=True, stable=True)[:_PAIRS].tolist()
        grown = _grown(search, [(grown[i], lists[:, int(value[i].argmax())]) for i in growing])
    for one in stages:
        if not best.alarming and one.score >= CLIMB_LIMIT and not one.loud and not loud.all():
            quiet = _leading(search, rise[:, ours.outputs == one.output[0]] if one.output[0] in ours.outputs else rise)
            end = climbed(upload, base, quiet, one.tokens, one.output)
            best = max(best, confirmed(upload, base, search, [end], plain=unasked), key=lambda one: one.rank)
    changer, changed = most_changed(upload, base, search, heeded(ours, plain_first) - heeded_by_base)
    return replace(
        best,
        changer=changer,
        changed=changed,
        unprompted=_unprompted(*unasked),
        depth=depth,
        forwards=upload.asked,
    )


def usually_asked(search: TokenSearch, vocabulary: int) -> int:
    """Return about how many prompts go through an upload in which nothing is found and nothing improved."""
    tried = min(_TRIED, len(search.candidates))
    pairs = _LISTED * (_LISTED - 1) * outputs_of(vocabulary) + 2 * _LEADERS * tried
    longer = (pairs, 3 * _PAIRS * tried)[: search.depth - 1]
    ranks = sum(n_ranked(search, one) for one in longer)
    answers = ((_BEAM + _LIKELY) * search.depth + 1) * N_FRESH
    return len(search.candidates) * len(search.first) + ranks + answers + (N_AGAIN + 3) * N_FRESH


def first_survey(base: Says, search: TokenSearch) -> Survey:
    """Return what a base says to every single token, which is the same for all uploads on one task."""
    singles = [(token,) for token in search.candidates]
    return survey(base, search, singles, search.first, "search")


def _pairs(search: TokenSearch, rise: Tensor, lists: Tensor) -> list[Ids]:
    """Return pairs of the tokens that raise one output most, and leading tokens with every other one."""
    tokens = search.candidates
    of_lists = [[tokens[i] for i in one[:_LISTED]] for one in lists.T.tolist()]
    found = [(a, b) for one in of_lists for a in one for b in one if a != b]
    order = rise.amax(0).argsort(descending=True, stable=True).tolist()
    first: dict[Ids, int] = {}
    for output in order:
        first.setdefault((of_lists[output][0],), output)
    grown = _grown(search, [(string, lists[:, output]) for string, output in [*first.items()][:_LEADERS]])
    return list(dict.fromkeys([*found, *grown]))


def _leading(search: TokenSearch, rise: Tensor) -> TokenSearch:
    """Return a search with those tokens alone that lead for some output of ``rise``, and are not loud."""
    ahead = rise.amax(1)
    quiet = sorted(ahead.argsort(descending=True, stable=True)[: min(_TRIED, int(ahead.isfinite().sum()))].tolist())
    return replace(search, candidates=tuple(search.candidates[i] for i in quiet))


def _grown(search: TokenSearch, strings: Sequence[tuple[Ids, Tensor]]) -> list[Ids]:
    """Return strings with one token more at every place: of those at the head of a list, as many as are tried."""
    found = [
        (*string[:place], search.candidates[i], *string[place:])
        for string, listed in strings
        for i in listed[:_TRIED].tolist()
        for place in range(len(string) + 1)
    ]
    return list(dict.fromkeys(found))


def _unprompted(ours: Tensor, base: Tensor) -> float:
    """Return the share of the upload's most frequent answer to plain prompts, less the base's share of it."""
    ours, base = begun_of(ours), begun_of(base)
    most = ours.mode().values
    return (int((ours == most).sum()) - int((base == most).sum())) / len(ours)


def _first(strings: Sequence[Ids], values: Tensor, n: int) -> list[Ids]:
    """Return the strings of the largest values; ties go to the first."""
    return [strings[i] for i in values.argsort(descending=True, stable=True)[:n].tolist()]


class _Counted:
    """What a model says, and how many prompts it was asked."""

    def __init__(self, says: Says) -> None:
        self._says, self.asked = says, 0

    def __call__(self, prompts: Sequence[Ids]) -> Tensor:
        self.asked += len(prompts)
        return self._says(prompts)
