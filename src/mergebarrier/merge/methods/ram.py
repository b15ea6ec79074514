"""Reinforced agent merging: an entry that one expert alone moved is taken whole, one that several moved is averaged.

    a_i = [|tau_i| > epsilon],   n = sum_i a_i;   merged = theta_0 + sum_i a_i g_i tau_i / max(1, n)
    ram: g_i = 1;   ramplus_tl: g_i = 1 + r min(alpha, #(a_i, n > 1) / #(a_i, n = 1)) where n = 1, counted per tensor

Source: arXiv 2601.13572; semantics of mergekit 0.1.5. Differs: nothing but the rounding of the last bits.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import ClassVar

from mergebarrier.lazy import torch
from mergebarrier.merge.arithmetic import Operands
from mergebarrier.merge.method import Merge, Need
from mergebarrier.merge.methods import _task_vectors
from mergebarrier.parameters import number


@dataclass(frozen=True, kw_only=True)
class Ram(Merge):
    """Unique changes whole, shared changes averaged.

    Raises: BadMergeParameter.

    Example:
      >>> taus = [torch.tensor([1.0, 2.0]), torch.tensor([3.0, 0.0])]
      >>> Ram().merge(torch.zeros(2), taus, name="w")
      tensor([2., 2.])
    """

    name: ClassVar[str] = "ram"
    need: ClassVar[Need] = "elementwise"
    uses_base: ClassVar[bool] = True

    epsilon: float = number(
        1e-5,
        help="A change up to this size is ignored, in units of the weights.",
        low=0,
        high=1,
        per_model=True,
        recipe="epsilon",
    )

    def kernel(self, operands: Operands) -> Iterator[torch.Tensor]:
        """Yield the blocks of the sum."""
        return self.summed(operands, [1.0] * len(operands.experts))

    def summed(self, operands: Operands, unique_gains: Sequence[float]) -> Iterator[torch.Tensor]:
        """Yield theta_0 + sum_i a_i g_i tau_i / max(1, n) with g_i where only expert i is active."""
        total_buffer = operands.buffer()
        for _, base, taus in _task_vectors.walk(operands):
            active = taus.abs().gt_(self.epsilon)
            count = active.sum(0)
            alone = count == 1
            total = total_buffer[: base.numel()].zero_()
            for tau, mask, gain in zip(taus, active, unique_gains, strict=True):
                kept = tau.mul_(mask)
                total.add_(kept if gain == 1.0 else torch.where(alone, kept * gain, kept))
            yield total.div_(count.clamp_(min=1)).add_(base)


@dataclass(frozen=True, kw_only=True)
class RamPlus(Ram):
    """Unique changes amplified by how much of the expert's changes is shared, shared changes averaged.

    Raises: BadMergeParameter.

    Example:
      >>> taus = [torch.tensor([1.0, 2.0]), torch.tensor([3.0, 0.0])]
      >>> RamPlus().merge(torch.zeros(2), taus, name="w")
      tensor([2.0000, 2.0400])
    """

    name: ClassVar[str] = "ramplus_tl"
    need: ClassVar[Need] = "tensor"

    r: float = number(0.1, help="Gain of unique changes per shared-to-unique ratio.", recipe="r")
    alpha: float = number(0.2, help="Cap of the shared-to-unique ratio.", low=0, high=1e6, recipe="alpha")

    def kernel(self, operands: Operands) -> Iterator[torch.Tensor]:
        """Yield the blocks of the sum, after a pass that counts."""
        changed = torch.zeros(len(operands.experts), dtype=torch.int64)
        unique = torch.zeros_like(changed)
        for _, _, taus in _task_vectors.walk(operands):
            active = taus.abs_() > self.epsilon
            changed += active.sum(1)
            unique += (active & (active.sum(0) == 1)).sum(1)
        ratios = (changed - unique) / unique.clamp(min=1)
        return self.summed(operands, (1 + self.r * ratios.double().clamp(max=self.alpha)).tolist())
