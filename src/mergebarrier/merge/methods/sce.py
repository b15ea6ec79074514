"""SCE: select the entries on which the experts differ most, weigh experts by energy, erase minority signs.

    keep the floor(select_topk #{var != 0}) entries of largest variance over tau_i;   v_i ~ mean(tau_i^2), sum 1
    e_i = [sign(tau_i) = s],  s = sign(sum_i tau_i), +1 for zero
    merged = theta_0 + sum_i v_i e_i tau_i / max(1e-6, sum_i v_i e_i)

Source: Wan et al., arXiv 2408.07990. Semantics of mergekit 0.1.5: per tensor; energies that sum to less than 1e-6 give
equal weights. Differs: variances in float64, ties among them by flat index.
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
from mergebarrier.parameters import number

_NO_ENERGY = 1e-6
_SMALLEST_DIVISOR = 1e-6


@dataclass(frozen=True, kw_only=True)
class Sce(Merge):
    """Select, calculate, erase.

    Raises: BadMergeParameter.

    Example:
      >>> taus = [torch.tensor([1.0, 2.0]), torch.tensor([1.0, -1.0])]
      >>> Sce().merge(torch.zeros(2), taus, name="w")
      tensor([1., 2.])
    """

    name: ClassVar[str] = "sce"
    need: ClassVar[Need] = "tensor"
    uses_base: ClassVar[bool] = True

    select_topk: float = number(
        1.0, help="Kept share of the entries that vary; 1 keeps all entries.", low=0, high=1, recipe="select_topk"
    )

    def kernel(self, operands: Operands) -> Iterator[torch.Tensor]:
        """Yield the blocks of the weighted mean over the agreeing entries."""
        cut = self._cut(operands) if self.select_topk < 1 else None
        energy = torch.zeros(len(operands.experts), dtype=torch.float64)
        for _, _, taus in _selected(operands, cut):
            energy += taus.square_().sum(1, dtype=torch.float64)
        energy /= operands.size
        weights = energy / energy.sum() if energy.sum() >= _NO_ENERGY else torch.full_like(energy, 1 / len(energy))
        column = weights.to(operands.dtype).unsqueeze(1)
        for _, base, taus in _selected(operands, cut):
            sign = taus.sum(0).ge_(0).mul_(2).sub_(1)
            erased = (taus * sign).gt_(0).mul_(column)
            total = taus.mul_(erased).sum(0)
            yield total.div_(erased.sum(0).clamp_(min=_SMALLEST_DIVISOR)).add_(base)

    def _cut(self, operands: Operands) -> largest.Cut | None:
        varying = sum(int(block.count_nonzero()) for _, block in _variances(operands))
        k = int(varying * self.select_topk)
        if not k:
            return largest.Cut(float("inf"), -1)

        def walk(streams: Collection[int], first: int) -> Iterator[tuple[int, largest.Magnitudes]]:
            return (
                (stream, block.numpy()) for _, block in islice(_variances(operands), first, None) for stream in streams
            )

        _, taus = sparsify.samples(operands)
        ((cut,),) = largest.largest(walk, {0: _variance(taus).numpy()}, operands.size, {0: [k]}).values()
        return cut


def _variance(taus: torch.Tensor) -> torch.Tensor:
    wide = taus.double()
    return (wide - wide.mean(0)).square_().mean(0)


def _variances(operands: Operands) -> Iterator[tuple[int, torch.Tensor]]:
    for start, _, taus in _task_vectors.walk(operands):
        yield start, _variance(taus)


def _selected(operands: Operands, cut: largest.Cut | None) -> Iterator[_task_vectors.Deltas]:
    for deltas in _task_vectors.walk(operands):
        if cut is not None:
            variance = _variance(deltas.taus)
            ties = torch.arange(deltas.start, deltas.start + variance.numel()) <= cut.last
            deltas.taus.mul_((variance > cut.threshold) | ((variance == cut.threshold) & ties))
        yield deltas
