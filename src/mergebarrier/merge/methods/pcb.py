"""PCB merging: balance the task vectors entry by entry, by their own magnitude and by their agreement with the others.

    b_i = exp(N norm(|tau_i|)^2) tanh(tau_i sum_j tau_j);   s_i = norm(max(b_i, its (1 - top)-quantile))
    merged = theta_0 + lambda * sum_i s_i clip(tau_i) / sum_i s_i

clip limits |tau_i| to its ``outliers`` and 1 - ``outliers`` quantiles, norm maps to 0..1 by minimum and maximum.
Source: Du et al., NeurIPS 2024, arXiv 2410.02396. Differs: quantiles and norms per tensor (theirs: over the whole
model); an entry that no expert claims stays at the base.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import ClassVar

from mergebarrier.lazy import np, torch
from mergebarrier.merge.arithmetic import Operands
from mergebarrier.merge.method import Need
from mergebarrier.merge.methods import _task_vectors
from mergebarrier.parameters import number, redefault

_NO_CLAIM = 1e-12


@dataclass(frozen=True, kw_only=True)
class Pcb(_task_vectors.DeltaMerge):
    """Parameter competition balancing; holds one tensor of magnitudes in memory at a time.

    Raises: BadMergeParameter.

    Example:
      >>> Pcb(coefficient=1.0, top=1.0).merge(torch.zeros(2), [torch.tensor([1.0, 2.0])], name="w")
      tensor([0., 2.])
    """

    name: ClassVar[str] = "pcb"
    need: ClassVar[Need] = "tensor"

    coefficient: float = redefault(_task_vectors.DeltaMerge, "coefficient", 1.2)
    top: float = number(0.1, help="Share of the entries that each expert may claim.", low=0, high=1, above=True)
    outliers: float = number(1e-4, help="Share of the magnitudes clipped at either end.", low=0, high=0.49)

    def kernel(self, operands: Operands) -> Iterator[torch.Tensor]:
        """Yield the blocks of the balanced sum."""
        experts = range(len(operands.experts))
        limits = torch.tensor([self._limits(operands, index) for index in experts], dtype=operands.dtype)
        claims = torch.tensor([self._claims(operands, index, limits) for index in experts], dtype=operands.dtype)
        for _, base, taus in _task_vectors.walk(operands):
            shares = _normed(_balance(taus, taus.sum(0), limits, len(experts)), claims)
            total = (shares * taus.sign() * _clipped(taus, limits)).sum(0)
            divisor = shares.sum(0)
            yield self.added(base, torch.where(divisor > _NO_CLAIM, total / divisor.clamp(min=_NO_CLAIM), 0.0))

    def _limits(self, operands: Operands, index: int) -> tuple[float, float]:
        values = np.concatenate([taus[index].abs().numpy() for _, _, taus in _task_vectors.walk(operands)])
        low = int(len(values) * self.outliers)
        high = len(values) - 1 - low
        values.partition([low, high])
        return float(values[low]), float(values[high])

    def _claims(self, operands: Operands, index: int, limits: torch.Tensor) -> tuple[float, float]:
        own, count = slice(index, index + 1), len(operands.experts)
        parts = (_balance(taus[own], taus.sum(0), limits[own], count)[0] for _, _, taus in _task_vectors.walk(operands))
        values = np.concatenate([part.numpy() for part in parts])
        low = min(int(len(values) * (1 - self.top)), len(values) - 1)
        values.partition(low)
        return float(values[low]), float(values.max())


def _clipped(taus: torch.Tensor, limits: torch.Tensor) -> torch.Tensor:
    return torch.minimum(torch.maximum(taus.abs(), limits[:, :1]), limits[:, 1:])


def _normed(values: torch.Tensor, limits: torch.Tensor) -> torch.Tensor:
    low, high = limits[:, :1], limits[:, 1:]
    return ((values - low) / torch.where(high > low, high - low, 1.0)).clamp_(0, 1)


def _balance(taus: torch.Tensor, total: torch.Tensor, limits: torch.Tensor, count: int) -> torch.Tensor:
    own = _normed(_clipped(taus, limits), limits).square_().sub_(1).mul_(count).exp_()  # norm() cancels exp(-N)
    return own.mul_(torch.tanh(taus * total))
