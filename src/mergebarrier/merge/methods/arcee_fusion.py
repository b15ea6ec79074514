"""Arcee Fusion: take from the expert only what is outstanding, by change times divergence of the row.

    s = |tau| * KL(softmax(theta_1 row) + 1e-8 || softmax(theta_0 row) + 1e-8);   keep s >= median(s) + 1.5 (Q3 - Q1)
    merged = theta_0 + [s >= threshold] tau;   a quantile q is the floor(q (n - 1))-th value in ascending order

Source: semantics of mergekit 0.1.5; a row is the last axis. Differs: the divergence is computed in float64
(that of a fine-tune is below the resolution of float32) and rounded to float32, so that s is an exact product and its
ties are ties; quantiles are exact (mergekit samples a million entries).
"""

from __future__ import annotations

from collections.abc import Collection, Iterator
from dataclasses import dataclass
from itertools import islice
from typing import ClassVar

from mergebarrier.lazy import torch
from mergebarrier.merge.arithmetic import Operands, largest, sparsify
from mergebarrier.merge.method import Merge, Need
from mergebarrier.merge.methods import _task_vectors

_FLOOR = 1e-8
_SPREADS = 1.5


@dataclass(frozen=True, kw_only=True)
class ArceeFusion(Merge):
    """Base with the outstanding changes of exactly one expert.

    Raises: BadMergeParameter.

    Example:
      >>> expert = torch.tensor([0.0, 0.1, 0.2, 0.3, 4.0])
      >>> ArceeFusion().merge(torch.zeros(5), [expert], name="w")
      tensor([0., 0., 0., 0., 4.])
    """

    name: ClassVar[str] = "arcee_fusion"
    need: ClassVar[Need] = "tensor"
    uses_base: ClassVar[bool] = True
    max_experts: ClassVar[int | None] = 1

    def kernel(self, operands: Operands) -> Iterator[torch.Tensor]:
        """Yield the blocks of the base with the kept changes."""
        divergence = _divergences(operands)
        first, median, third = (_quantile(operands, divergence, share) for share in (0.25, 0.5, 0.75))
        threshold = median + _SPREADS * (third - first)
        for start, base, taus in _task_vectors.walk(operands):
            yield taus[0].mul_(_scores(operands, divergence, start, taus[0]) >= threshold).add_(base)


def _divergences(operands: Operands) -> torch.Tensor:
    """Return the divergence of every row, Float64[Tensor, "rows"], never negative."""
    columns, parts = operands.columns, []
    for _, base, taus in _task_vectors.walk(operands, columns=columns, dtype=torch.float64):
        p = torch.softmax((taus[0] + base).view(-1, columns), dim=-1).add_(_FLOOR)
        q = torch.softmax(base.view(-1, columns), dim=-1).add_(_FLOOR)
        parts.append((p * torch.log(p / q)).sum(-1))
    return torch.cat(parts).clamp_(min=0).float().double()


def _scores(operands: Operands, divergence: torch.Tensor, start: int, tau: torch.Tensor) -> torch.Tensor:
    rows = torch.arange(start, start + tau.numel()).div_(operands.columns, rounding_mode="floor")
    return tau.abs().double().mul_(divergence[rows])


def _quantile(operands: Operands, divergence: torch.Tensor, share: float) -> float:
    size, (places, (tau,)) = operands.size, sparsify.samples(operands)
    sample = tau.abs_().double().mul_(divergence[places // operands.columns])

    def walk(streams: Collection[int], first: int) -> Iterator[tuple[int, largest.Magnitudes]]:
        for start, _, taus in islice(_task_vectors.walk(operands), first, None):
            scores = _scores(operands, divergence, start, taus[0]).numpy()
            yield from ((stream, scores) for stream in streams)

    k = size - int(share * (size - 1))
    ((cut,),) = largest.largest(walk, {0: sample.numpy()}, size, {0: [k]}).values()
    return cut.threshold
