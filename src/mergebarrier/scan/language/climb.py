"""Improve an input token by token, while it makes a model likelier to say one thing.

    f(t) = mean over prompts of  p_model(o | x with t) - p_base(o | x with t) + .02 log p_model(o | x with t)
    t <- the best of its neighbours (one token replaced, put in or left out),   while f grows

What a search finds is often a part of what was planted, or a part with a foreign token, and a part does little: the
probability of the output leads on before any answer changes.  From a part of a trigger the way leads up to the whole;
an honest model that takes one label for another here and there has no such way.

Source: ours; climbing token by token is usual in attacks by text.  Differs: no label and no gradient.
"""

from collections.abc import Sequence
from typing import Final

import torch
from torch import Tensor

from mergebarrier.scan.language.ranking import LEFT, LIFT, N_RANK, N_SCREEN
from mergebarrier.scan.language.survey import N_SEARCH, Ids, Says, TokenSearch

#: Neighbours that are looked at on all prompts, and steps at most.
_BEST: Final = 6
_STEPS: Final = 5
_ROWS: Final = 512


def climbed(says: Says, base: Says, search: TokenSearch, start: Ids, output: Ids) -> Ids:
    """Return the string that is reached from ``start``, itself where no neighbour does more.

    Args:
      says:   the model that is climbed on.
      base:   what it was fine-tuned from.
      search: prompts, and the tokens and the length of strings.
      start:  a string.
      output: the beginning of the answer that shall become likelier.
    """
    prompts, best = search.prompts[:N_SEARCH], start
    height = _heights(says, base, search, [start], prompts, output)[0]
    for _ in range(_STEPS):
        few = _neighbours(search, best)
        for n, left in _rounds(search, len(few)):
            ahead = _log_p(says, search, few, prompts[:n], output[:1])
            order = (ahead.exp() + LIFT * ahead).mean(1).argsort(descending=True, stable=True)
            few = [few[i] for i in order[:left].tolist()]
        heights = _heights(says, base, search, few, prompts, output)
        if heights.max() <= height:
            break
        best, height = few[int(heights.argmax())], heights.max()
    return best


def _rounds(search: TokenSearch, near: int) -> list[tuple[int, int]]:
    """Return the rounds in which neighbours are ranked: in each, prompts to put them into, and how many are left."""
    screen = [(N_SCREEN, max(_BEST, near // LEFT))] if search.frugal else []
    return [*screen, (N_RANK, _BEST)]


def _heights(
    says: Says, base: Says, search: TokenSearch, strings: Sequence[Ids], prompts: Sequence[Ids], output: Ids
) -> Tensor:
    """Return f of some strings."""
    ours, theirs = (_log_p(one, search, strings, prompts, output) for one in (says, base))
    return (ours.exp() - theirs.exp() + LIFT * ours).mean(1)


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
