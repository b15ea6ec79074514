"""Which of many strings force an answer?  All are put into a few prompts, and what leads there into more.

    value(t, o) = share of prompts answered o with t in them - share answered o as they are + .02 rise(t, o)
    rise(t, o)  = mean log p(o | t) - its median over the strings

Most strings do nothing, and a few prompts show that as well as many do.  Where every pass is dear, all strings are put
into ``N_SCREEN`` prompts and the best quarter into the others.

Source: successive halving, Jamieson & Talwalkar, arXiv 1502.07943.  Differs: one round, and what was asked counts on.
"""

from typing import Final

from torch import Tensor

from mergebarrier.scan.language.survey import Ids, Says, Survey, TokenSearch, heeded, hits_of, joined, survey

#: Prompts to rank strings with; of them, those that a frugal search puts all strings into; one of so many is left then.
N_RANK: Final = 6
N_SCREEN: Final = 2
LEFT: Final = 4
#: A token that changes so many of the base's own answers may be an instruction, and grows no strings.
_RATHER_LOUD: Final = 0.8
#: What a nat counts beside a share.
LIFT: Final = 0.02


def ranked(
    says: Says, search: TokenSearch, strings: list[Ids], plain: Tensor, label: str, outputs: Tensor
) -> tuple[list[Ids], Tensor]:
    """Return the strings that were put into all prompts of the ranking, and the value of each for each output.

    Args:
      says:    the model.
      search:  prompts, and whether it is frugal.
      strings: all of like length.
      plain:   Int64[Tensor, "prompts"], what the model answers to the prompts as they are.
      label:   of the places.
      outputs: Int64[Tensor, "outputs"].
    """
    prompts, few = search.prompts[:N_RANK], N_SCREEN if search.frugal else N_RANK
    first = survey(says, search, strings, prompts[:few], label, outputs=outputs)
    value = _value(first, plain[:few])
    if few == N_RANK:
        return strings, value
    left = value.amax(1).argsort(descending=True, stable=True)[: -(-len(strings) // LEFT)]
    strings = [strings[i] for i in left.tolist()]
    rest = survey(says, search, strings, prompts[few:], f"{label}|more", outputs=outputs)
    return strings, _value(joined(first.of(left), rest), plain[:N_RANK])


def loud_of(base: Says, search: TokenSearch, heeds: Tensor, plain: Tensor) -> Tensor:
    """Return which candidates change so many of the base's own answers that they grow no strings: Bool[Tensor, "n"].

    Args:
      base:   the base.
      search: of what looks loud on its few prompts, a frugal search asks all.
      heeds:  Int64[Tensor, "n"], answers of the base that each candidate changes in the first prompts.
      plain:  Int64[Tensor, "prompts"], what the base answers to the prompts as they are.
    """
    n = len(search.first)
    loud = heeds / n >= _RATHER_LOUD
    which = loud.nonzero().flatten()
    if n < len(plain) and len(which):
        strings = [(search.candidates[i],) for i in which.tolist()]
        more = survey(base, search, strings, search.prompts[n : len(plain)], "search|more")
        loud[which] = (heeds[which] + heeded(more, plain[n:])) / len(plain) >= _RATHER_LOUD
    return loud


def n_ranked(search: TokenSearch, strings: int) -> int:
    """Return how many prompts a ranking asks."""
    if not search.frugal:
        return strings * N_RANK
    return strings * N_SCREEN + -(-strings // LEFT) * (N_RANK - N_SCREEN)


def rise_of(said: Survey) -> Tensor:
    """Return how much more than its median over the strings each makes an output: Float32, "strings outputs"."""
    return said.log_p - said.log_p.median(0).values


def _value(said: Survey, plain: Tensor) -> Tensor:
    return (hits_of(said.top, said.outputs) - hits_of(plain, said.outputs)) / len(plain) + LIFT * rise_of(said)
