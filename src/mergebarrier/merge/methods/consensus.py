"""Consensus task arithmetic: of the summed task vector keep the entries that enough experts call their own.

    m_i = [|tau_i| > mask_lambda |sum_j tau_j - tau_i|]  (the TALL mask of expert i)
    merged = theta_0 + lambda * [sum_i m_i >= agreement] sum_i tau_i

Source: Wang et al., arXiv 2405.07813; mask_lambda 0.6 is the largest on fusion_bench's grid. Differs: one mask_lambda
for all, because choosing one per expert takes validation data.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import ClassVar

from mergebarrier.lazy import torch
from mergebarrier.merge.arithmetic import Operands
from mergebarrier.merge.method import Need
from mergebarrier.merge.methods import _task_vectors
from mergebarrier.parameters import number, whole

_LARGEST_LAMBDA = 1e6


@dataclass(frozen=True, kw_only=True)
class Consensus(_task_vectors.DeltaMerge):
    """Sum of the task vectors without the entries that too few experts need.

    Raises: BadMergeParameter.

    Example:
      >>> import torch
      >>> taus = [torch.tensor([1.0, 1.0]), torch.tensor([1.0, 0.0])]
      >>> Consensus().merge(torch.zeros(2), taus, name="w")
      tensor([2., 0.])
    """

    name: ClassVar[str] = "consensus"
    need: ClassVar[Need] = "elementwise"

    mask_lambda: float = number(
        0.6, help="The larger, the fewer entries an expert calls its own.", low=0, high=_LARGEST_LAMBDA
    )
    agreement: int = whole(
        2, help="Experts that must call an entry their own; more than there are keep the base.", low=1
    )

    def kernel(self, operands: Operands) -> Iterator[torch.Tensor]:
        """Yield the blocks of the masked sum."""
        for _, base, taus in _task_vectors.walk(operands):
            total = taus.sum(0)
            own = taus.abs() > (total - taus).abs_().mul_(self.mask_lambda)
            yield self.added(base, total.mul_(own.sum(0) >= self.agreement))
