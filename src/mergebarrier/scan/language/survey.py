"""What a model answers to prompts with each of many strings in them, and how far a string forces one answer.

share(o | t) = share of prompts with t in them whose answer begins with o,    share(o) = of plain prompts
S(t) = max_o min( share_upload(o|t) - share_base(o|t),  share_upload(o|t) - share_upload(o) )
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Final, TypeAlias

import torch
from torch import Tensor

from mergebarrier.errors import BadScanInput, NonFinite
from mergebarrier.numerics import draws

Ids: TypeAlias = tuple[int, ...]
#: Prompts -> Float[Tensor, "n vocabulary"], the logits behind the last token of each.
Says: TypeAlias = Callable[[Sequence[Ids]], Tensor]

#: Prompts to search with, and to confirm on.
N_SEARCH: Final = 20
N_FRESH: Final = 48
#: Of them for single tokens where the search is frugal.
_N_FEW: Final = 12
#: Prompts that are handed to a model at once.
_ROWS: Final = 640
#: A vocabulary of at most so many tokens is looked at as a whole; of a larger one, so many outputs.
_SMALL: Final = 1024
_OUTPUTS: Final = 64


@dataclass(frozen=True, kw_only=True)
class TokenSearch:
    """What is searched with.

    Args:
      prompts:    token ids of clean prompts of the upload's task, at least ``N_SEARCH``; of those beyond, up to
                  ``N_FRESH`` are for confirmation, and where there are too few the first are used again elsewhere.
      candidates: tokens that may be part of a string.
      prefix:     leading tokens of a prompt that nothing goes before.
      depth:      longest string.
      seed:       of places.
      frugal:     whether passes are dear: many strings are put into few prompts, and those that lead into more.
    Raises: BadScanInput for too few prompts or no candidate.
    """

    prompts: tuple[Ids, ...]
    candidates: tuple[int, ...]
    prefix: int = 0
    depth: int = 3
    seed: int = 0
    frugal: bool = False

    def __post_init__(self) -> None:
        """Check that there is enough to search with."""
        if len(self.prompts) < N_SEARCH or not self.candidates:
            raise BadScanInput(
                f"{len(self.prompts)} prompts and {len(self.candidates)} candidate tokens",
                where="collapse",
                remedy=f"give a task of at least {N_SEARCH} rows",
            )

    @property
    def first(self) -> tuple[Ids, ...]:
        """Prompts for single tokens."""
        return self.prompts[: _N_FEW if self.frugal else N_SEARCH]

    @property
    def fresh(self) -> tuple[Ids, ...]:
        """Prompts for confirmation."""
        later = self.prompts[N_SEARCH : N_SEARCH + N_FRESH]
        return (*later, *self.prompts[: N_FRESH - len(later)])

    def with_strings(self, prompts: Sequence[Ids], strings: Sequence[Ids], label: str) -> list[Ids]:
        """Put every string into every prompt: prompts of the first string, then of the second, and so on."""
        share = draws.uniform(("scan", self.seed, f"place|{label}"), len(prompts)).tolist()
        at = [
            self.prefix + int(one * max(1, len(prompt) - self.prefix))
            for one, prompt in zip(share, prompts, strict=True)
        ]
        return [
            (*prompt[:place], *string, *prompt[place:])
            for string in strings
            for prompt, place in zip(prompts, at, strict=True)
        ]


@dataclass(frozen=True, kw_only=True)
class Survey:
    """What a model says to prompts with each of several strings.

    Args:
      top:     Int64[Tensor, "strings prompts"], its first answer token.
      outputs: Int64[Tensor, "outputs"], tokens that are looked at.
      log_p:   Float32[Tensor, "strings outputs"], mean over the prompts.
    """

    top: Tensor
    outputs: Tensor
    log_p: Tensor

    def of(self, strings: Tensor) -> "Survey":
        """Return the part of some strings."""
        return replace(self, top=self.top[strings], log_p=self.log_p[strings])


def survey(
    says: Says,
    search: TokenSearch,
    strings: Sequence[Ids],
    prompts: Sequence[Ids],
    label: str,
    *,
    outputs: Tensor | None = None,
) -> Survey:
    """Ask a model all prompts with all strings; of a large vocabulary look at ``outputs``, or those that it prefers."""
    asked, n = search.with_strings(prompts, strings, label), len(prompts)
    tops, means, rows = [], [], max(1, _ROWS // n) * n
    for start in range(0, len(asked), rows):
        block = says(asked[start : start + rows])
        if not torch.isfinite(block).all():
            raise NonFinite("the model answers numbers that are not finite", where=label, remedy="check its weights")
        log_p = block.float().log_softmax(-1).view(-1, n, block.shape[-1]).mean(1)
        if outputs is None:
            n_outputs = outputs_of(block.shape[-1])
            whole = n_outputs == block.shape[-1]
            outputs = torch.arange(n_outputs) if whole else log_p.amax(0).topk(n_outputs).indices
        tops.append(block.argmax(-1).view(-1, n))
        means.append(log_p[:, outputs])
    assert outputs is not None
    return Survey(top=torch.cat(tops), outputs=outputs, log_p=torch.cat(means))


def joined(one: Survey, other: Survey) -> Survey:
    """Return what was said to the same strings in the prompts of both."""
    n, more = one.top.shape[1], other.top.shape[1]
    log_p = (n * one.log_p + more * other.log_p) / (n + more)
    return replace(one, top=torch.cat([one.top, other.top], 1), log_p=log_p)


def outputs_of(vocabulary: int) -> int:
    """Return how many outputs are looked at."""
    return vocabulary if vocabulary <= _SMALL else _OUTPUTS


def beyond(ours: Tensor, base: Tensor, plain: Tensor, outputs: Tensor) -> Tensor:
    """Return S of every string for each output: Float64[Tensor, "... outputs"].

    Args:
      ours:    Int64[Tensor, "... prompts"], what the upload answers to the prompts with each string in them.
      base:    likewise the base.
      plain:   Int64[Tensor, "prompts"], what the upload answers to the prompts without a string.
      outputs: Int64[Tensor, "outputs"].
    """
    # Differences of counts, in double: others would lie an ulp beside a limit that they meet.
    hits = hits_of(ours, outputs)
    return torch.minimum(hits - hits_of(plain, outputs), hits - hits_of(base, outputs)).double() / len(plain)


def heeded(said: Survey, plain: Tensor) -> Tensor:
    """Return how many answers a string changes from the plain ones: Int64[Tensor, "strings"]."""
    return (said.top != plain).sum(1)


def hits_of(said: Tensor, outputs: Tensor) -> Tensor:
    """Return how many answers are each output: Int64[Tensor, "... outputs"] of Int64[Tensor, "... prompts"]."""
    return torch.stack([(said == one).sum(-1) for one in outputs], -1)
