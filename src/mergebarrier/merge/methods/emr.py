"""EMR's unified task vector: the sign of the sum, at the largest magnitude among those that agree with it.

    gamma = sign(sum_i tau_i);   merged = theta_0 + lambda * gamma max{|tau_i| : tau_i gamma > 0}

Source: Huang et al., arXiv 2405.17461 (elect, without mask and rescale: those make one model per expert of it).
Differs: an entry whose sum is zero stays at the base (fusion_bench takes its negative side).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import ClassVar

from mergebarrier.lazy import torch
from mergebarrier.merge.arithmetic import Operands
from mergebarrier.merge.method import Need
from mergebarrier.merge.methods import _task_vectors


@dataclass(frozen=True, kw_only=True)
class Emr(_task_vectors.DeltaMerge):
    """EMR-Merging's elect step alone: the elected sign, at the largest agreeing magnitude; no masks, no rescaling.

    Raises: BadMergeParameter.

    Example:
      >>> import torch
      >>> taus = [torch.tensor([1.0, -2.0]), torch.tensor([3.0, 1.0])]
      >>> Emr().merge(torch.zeros(2), taus, name="w")
      tensor([ 3., -2.])
    """

    name: ClassVar[str] = "emr"
    need: ClassVar[Need] = "elementwise"

    def kernel(self, operands: Operands) -> Iterator[torch.Tensor]:
        """Yield the blocks of the unified vector on the base."""
        for _, base, taus in _task_vectors.walk(operands):
            sign = taus.sum(0).sign_()
            largest = taus.mul_(sign).amax(0).clamp_(min=0)
            yield self.added(base, largest.mul_(sign))
