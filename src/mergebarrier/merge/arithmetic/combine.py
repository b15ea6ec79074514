"""Add thinned task vectors to the base: a weighted sum, or a sum over those that agree with an elected sign.

    merged = theta_0 + lambda * [sum_i m_i w_i S(tau_i)] / D
    no election: m_i = 1, D = sum_i w_i if normalised, else 1
    election:    s = sign(sum_j v_j), m_i = [sign(v_i) = s], v_i = w_i S(tau_i) ("weighted") or S(tau_i) ("unweighted")

Order of operations as in mergekit 0.1.5 (subtract, thin, rescale, weigh, sum in model order, divide, scale, add), so
that float32 inputs agree with it to the last bits; ours always computes in float32, unless ``arith`` says "input".
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from mergebarrier.lazy import torch
from mergebarrier.merge.arithmetic.operands import Operands, head
from mergebarrier.merge.arithmetic.sparsify import Sparsifier

ELECTS = ("weighted", "unweighted")
ELECT_ZEROS = ("plus", "majority")
REDUCES = ("weighted_mean", "mean", "sum", "max")
_NO_WEIGHT = 1e-8  # mergekit 0.1.5: a smaller sum of weights divides by 1


@dataclass(frozen=True)
class Part:
    """How one task vector enters the sum."""

    weight: float
    sparsifier: Sparsifier
    factor: float


@dataclass(frozen=True)
class Election:
    """How signs are elected and the agreeing entries reduced; values as in ELECTS, ELECT_ZEROS, REDUCES."""

    elect: str
    elect_zero: str
    reduce: str


def _thinned(
    operands: Operands, index: int, part: Part, base: torch.Tensor, start: int, out: torch.Tensor, scratch: torch.Tensor
) -> torch.Tensor:
    tau = operands.load_task_vector(index, start, start + base.numel(), base, out)
    tau = part.sparsifier.thin(tau, start, scratch)
    return tau if part.factor == 1.0 else tau.mul_(part.factor)


def divisor_of(weights: Sequence[float]) -> float:
    """Return the sum of the weights, 1 where they cancel."""
    total = sum(weights)
    return total if abs(total) >= _NO_WEIGHT else 1.0


def weighted_sum(
    operands: Operands, parts: Sequence[Part], *, normalize: bool, coefficient: float
) -> Iterator[torch.Tensor]:
    """Yield the blocks of theta_0 + lambda * sum_i w_i S(tau_i) [/ sum_i w_i].

    The yielded block is a buffer: use it before asking for the next one.
    """
    divisor = divisor_of([part.weight for part in parts]) if normalize else 1.0
    base_buffer, tau_buffer, sum_buffer, scratch = (operands.buffer() for _ in range(4))
    for start, stop in operands.spans():
        base = operands.load_base(start, stop, base_buffer)
        total = head(sum_buffer, stop - start).zero_()
        for index, part in enumerate(parts):
            tau = _thinned(operands, index, part, base, start, tau_buffer, scratch)
            total.add_(tau if part.weight == 1.0 else tau.mul_(part.weight))
        if divisor != 1.0:
            total.div_(divisor)
        if coefficient != 1.0:
            total.mul_(coefficient)
        yield total.add_(base)


def _votes(
    operands: Operands, parts: Sequence[Part], election: Election
) -> Callable[[int, int], tuple[torch.Tensor, list[torch.Tensor], torch.Tensor]]:
    """Return a loader of one block: the base, the votes v_i and their sum, in buffers that it reuses."""
    base_buffer, total_buffer, scratch = (operands.buffer() for _ in range(3))
    vote_buffers = [operands.buffer() for _ in parts]

    def load(start: int, stop: int) -> tuple[torch.Tensor, list[torch.Tensor], torch.Tensor]:
        base = operands.load_base(start, stop, base_buffer)
        total = head(total_buffer, stop - start).zero_()
        votes = []
        for index, part in enumerate(parts):
            vote = _thinned(operands, index, part, base, start, vote_buffers[index], scratch)
            if election.elect == "weighted" and part.weight != 1.0:
                vote.mul_(part.weight)
            total.add_(vote)
            votes.append(vote)
        return base, votes, total

    return load


def balance(operands: Operands, parts: Sequence[Part], election: Election) -> float:
    """Return how many entries have a positive sum of votes, less those that have a negative one."""
    load = _votes(operands, parts, election)
    signs = (load(start, stop)[2].sign_().sum(dtype=torch.float64).item() for start, stop in operands.spans())
    return sum(signs)


def elected_sum(
    operands: Operands, parts: Sequence[Part], election: Election, *, coefficient: float, tie_sign: float | None = None
) -> Iterator[torch.Tensor]:
    """Yield the blocks of theta_0 + lambda * reduce{w_i S(tau_i) : v_i agrees with the elected sign}.

    An entry whose votes sum to zero takes the sign +1 ("plus"), or the sign that most entries of the tensor have
    ("majority"), or ``tie_sign`` where a survey of the model gave one. Exact zeros agree with no sign.
    ``weighted_mean`` divides by the sum of the agreeing weights, ``mean`` by their count, ``sum`` by nothing; ``max``
    takes the largest agreeing magnitude.
    The yielded block is a buffer: use it before asking for the next one.
    """
    load = _votes(operands, parts, election)
    if tie_sign is None:
        majority = election.elect_zero == "majority"
        tie_sign = -1.0 if majority and balance(operands, parts, election) < 0 else 1.0
    outer = [1.0 if election.elect == "weighted" else part.weight for part in parts]
    counted = [part.weight if election.reduce == "weighted_mean" else 1.0 for part in parts]
    divides = election.reduce in ("weighted_mean", "mean")
    sum_buffer, divisor_buffer, mask_buffer = (operands.buffer() for _ in range(3))
    for start, stop in operands.spans():
        base, votes, sign = load(start, stop)
        compare = torch.ge if tie_sign > 0 else torch.gt
        compare(sign, 0, out=sign).mul_(2).sub_(1)
        total, divisor, mask = (head(buffer, stop - start) for buffer in (sum_buffer, divisor_buffer, mask_buffer))
        total.zero_()
        divisor.zero_()
        for vote, weight, count in zip(votes, outer, counted, strict=True):
            agreeing = vote.mul_(sign).clamp_(min=0)  # |v_i| where it agrees, else 0
            if divides:
                divisor.add_(torch.gt(agreeing, 0, out=mask), alpha=count)
            if weight != 1.0:
                agreeing.mul_(weight)
            if election.reduce == "max":
                total.copy_(torch.where(agreeing.abs() > total.abs(), agreeing, total))
            else:
                total.add_(agreeing)
        if divides:
            total.div_(divisor.add_(torch.eq(divisor, 0, out=mask)))
        total.mul_(sign)
        if coefficient != 1.0:
            total.mul_(coefficient)
        yield total.add_(base)
