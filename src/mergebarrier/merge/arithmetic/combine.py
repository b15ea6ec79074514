"""Add thinned task vectors to the base: a weighted sum, or a sum over those that agree with an elected sign.

    merged = theta_0 + lambda * [sum_i m_i w_i S(tau_i)] / D
    no election: m_i = 1, D = sum_i w_i if normalised, else 1
    election:    s = sign(sum_j v_j), m_i = [sign(v_i) = s], v_i = w_i S(tau_i) ("weighted") or S(tau_i) ("unweighted")

Order of operations as in mergekit 0.1.5 (subtract, thin, rescale, weigh, sum in model order, divide, scale, add), so
that float32 inputs agree with it to the last bits; ours always computes in float32, unless ``arith`` says "input".
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from mergebarrier.lazy import np, torch
from mergebarrier.merge.arithmetic.operands import Operands, head
from mergebarrier.merge.arithmetic.sparsify import Sparsifier

ELECTS = ("weighted", "unweighted")
ELECT_ZEROS = ("plus", "majority")
REDUCES = ("weighted_mean", "mean", "sum", "max")
_VOTES, _FEWEST = 1 << 21, 1 << 17  # votes that fit a cache; entries that are worth a call
_FEW = 1 << 8
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


class _Ballot:
    """The votes of a few entries after the others, in buffers that are used again and stay in the cache."""

    def __init__(self, operands: Operands, parts: Sequence[Part], election: Election) -> None:
        self._operands, self._parts, self._weighted = operands, parts, election.elect == "weighted"
        size = min(max(_VOTES >> (len(parts) - 1).bit_length(), _FEWEST), operands.block, operands.size)
        self.spans = [(start, min(start + size, operands.size)) for start in range(0, operands.size, size)]
        self._votes = torch.empty(len(parts), size, dtype=operands.dtype)
        self._base, self._total, self._scratch = torch.empty(3, size, dtype=operands.dtype)

    def load(self, start: int, stop: int) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """Return the base, the votes v_i, (experts, entries), and their sum."""
        base = self._operands.load_base(start, stop, self._base)
        votes = self._votes[:, : stop - start]
        for index, part in enumerate(self._parts):
            vote = _thinned(self._operands, index, part, base, start, votes[index], self._scratch)
            if self._weighted and part.weight != 1.0:
                vote.mul_(part.weight)
        return base, votes, _added(votes, head(self._total, stop - start))


def _added(rows: torch.Tensor, out: torch.Tensor) -> torch.Tensor:
    """Add rows to zero, one after the other: their order is part of the result."""
    if rows.dtype in (torch.float32, torch.float64):
        np.add.reduce(rows.numpy(), axis=0, out=out.numpy(), initial=0)
        return out
    out.zero_()
    for row in rows:
        out.add_(row)
    return out


class _Divisor:
    """The sum of the weights of those that agree, 1 where it is zero; equal weights need only be counted."""

    def __init__(self, weights: Sequence[float], dtype: torch.dtype) -> None:
        self._weights = weights
        self._sums: torch.Tensor | None = None
        if dtype in (torch.float32, torch.float64) and len({*weights}) == 1 and len(weights) < _FEW:
            self._sums = self._by_row(torch.ones(len(weights), len(weights) + 1, dtype=dtype).triu(1))

    def of(self, agreeing: torch.Tensor) -> torch.Tensor:
        """Return the divisor of every entry; what agrees is above zero."""
        if self._sums is None:
            return self._by_row(agreeing)
        agree = np.greater(agreeing.numpy(), 0).view(np.uint8)
        count = np.add.reduce(agree, axis=0, dtype=np.uint8)
        return self._sums.index_select(0, torch.from_numpy(count).int())

    def _by_row(self, agreeing: torch.Tensor) -> torch.Tensor:
        divisor, mask = torch.zeros(2, agreeing.shape[1], dtype=agreeing.dtype).unbind()
        for row, weight in zip(agreeing, self._weights, strict=True):
            divisor.add_(torch.gt(row, 0, out=mask), alpha=weight)
        return divisor.add_(torch.eq(divisor, 0, out=mask))


def balance(operands: Operands, parts: Sequence[Part], election: Election) -> float:
    """Return how many entries have a positive sum of votes, less those that have a negative one."""
    ballot = _Ballot(operands, parts, election)
    signs = (ballot.load(*span)[2].sign_().sum(dtype=torch.float64).item() for span in ballot.spans)
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
    ballot = _Ballot(operands, parts, election)
    if tie_sign is None:
        majority = election.elect_zero == "majority"
        tie_sign = -1.0 if majority and balance(operands, parts, election) < 0 else 1.0
    compare = torch.ge if tie_sign > 0 else torch.gt
    outer = [1.0 if election.elect == "weighted" else part.weight for part in parts]
    counted = [part.weight if election.reduce == "weighted_mean" else 1.0 for part in parts]
    divisors = _Divisor(counted, operands.dtype) if election.reduce in ("weighted_mean", "mean") else None
    sum_buffer = operands.buffer()
    for start, stop in ballot.spans:
        base, votes, sign = ballot.load(start, stop)
        compare(sign, 0, out=sign).mul_(2).sub_(1)
        agreeing = votes.mul_(sign).clamp_(min=0)  # |v_i| where it agrees, else 0
        divisor = None if divisors is None else divisors.of(agreeing)
        for row, weight in zip(agreeing, outer, strict=True):
            if weight != 1.0:
                row.mul_(weight)
        total = head(sum_buffer, stop - start)
        if election.reduce == "max":
            total.zero_()
            for row in agreeing:
                total.copy_(torch.where(row.abs() > total.abs(), row, total))
        else:
            _added(agreeing, total)
        if divisor is not None:
            total.div_(divisor)
        total.mul_(sign)
        if coefficient != 1.0:
            total.mul_(coefficient)
        yield total.add_(base)
