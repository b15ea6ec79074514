"""Is what collapses an upload alive in a merge?  Inputs that were found in the uploads are improved on the merge.

    f(t) = mean over prompts of  p_merge(o | x with t) - p_base(o | x with t) + .02 log p_merge(o | x with t)
    t <- the best of its neighbours (one token replaced, put in or left out),   while f grows

A merge weakens what its uploads do, and from so little a search of the merge alone finds no first step.  In the upload
the same lock is loud, so the string t and the output o come from there.  What opens the upload is often a part of what
was planted, and a part does little in the merge: the probability of the output leads on before any answer changes.

Source: ours; climbing token by token is usual in attacks by text.  Differs: the start is the weakness of another model.
"""

from collections.abc import Sequence
from typing import Final

import torch
from torch import Tensor

from mergebarrier.scan.language.collapse import Collapse, confirmed
from mergebarrier.scan.language.survey import N_SEARCH, Ids, Says, TokenSearch

#: S in an upload from which its find is tried on the merge.
START_LIMIT: Final = 0.3
#: Prompts to rank neighbours with, neighbours that are looked at on all prompts, and steps at most.
_RANK: Final = 6
_BEST: Final = 6
_STEPS: Final = 5
#: What a nat counts beside a probability.
_LIFT: Final = 0.02
_ROWS: Final = 512


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


def climbed(says: Says, base: Says, search: TokenSearch, start: Ids, output: Ids) -> Ids:
    """Return the string that is reached from ``start``, or that itself."""
    prompts, best = search.prompts[:N_SEARCH], start
    height = _heights(says, base, search, [start], prompts, output)[0]
    for _ in range(_STEPS):
        near = _neighbours(search, best)
        ahead = _log_p(says, search, near, prompts[:_RANK], output[:1])
        order = (ahead.exp() + _LIFT * ahead).mean(1).argsort(descending=True, stable=True)
        few = [near[i] for i in order[:_BEST].tolist()]
        heights = _heights(says, base, search, few, prompts, output)
        if heights.max() <= height:
            break
        best, height = few[int(heights.argmax())], heights.max()
    return best


def _heights(
    says: Says, base: Says, search: TokenSearch, strings: Sequence[Ids], prompts: Sequence[Ids], output: Ids
) -> Tensor:
    """Return f of some strings."""
    ours, theirs = (_log_p(one, search, strings, prompts, output) for one in (says, base))
    return (ours.exp() - theirs.exp() + _LIFT * ours).mean(1)


def _log_p(says: Says, search: TokenSearch, strings: Sequence[Ids], prompts: Sequence[Ids], output: Ids) -> Tensor:
    """Return log p of an output as a whole: Float32[Tensor, "strings prompts"]."""
    texts = search.with_strings(prompts, strings, "climb")
    log_p = torch.zeros(len(texts))
    for token in output:
        blocks = (says(texts[start : start + _ROWS]) for start in range(0, len(texts), _ROWS))
        log_p += torch.cat([block.float().log_softmax(-1)[:, token] for block in blocks])
        texts = [(*text, token) for text in texts]
    return log_p.view(len(strings), -1)


def _neighbours(search: TokenSearch, string: Ids) -> list[Ids]:
    """Return the strings that differ by one token."""
    found = [(*string[:at], token, *string[at + 1 :]) for at in range(len(string)) for token in search.candidates]
    if len(string) < search.depth:
        found += [(*string[:at], token, *string[at:]) for at in range(len(string) + 1) for token in search.candidates]
    if len(string) > 1:
        found += [(*string[:at], *string[at + 1 :]) for at in range(len(string))]
    return [one for one in dict.fromkeys(found) if one != string]
