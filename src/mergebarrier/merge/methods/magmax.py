"""MagMax: per entry the task vector that moved farthest.

    merged = theta_0 + lambda * tau_k,   k = argmax_i |tau_i|, the first model on a tie

Source: Marczak et al., arXiv 2407.06322. Differs: nothing; the tie rule is ours.
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
class MagMax(_task_vectors.DeltaMerge):
    """Entry of largest magnitude.

    Raises: BadMergeParameter.

    Example:
      >>> taus = [torch.tensor([1.0, -2.0]), torch.tensor([-3.0, 2.0])]
      >>> MagMax().merge(torch.zeros(2), taus, name="w")
      tensor([-3., -2.])
    """

    name: ClassVar[str] = "magmax"
    need: ClassVar[Need] = "elementwise"

    def kernel(self, operands: Operands) -> Iterator[torch.Tensor]:
        """Yield the blocks of the largest entries."""
        for _, base, taus in _task_vectors.walk(operands):
            best = taus[0]
            for tau in taus[1:]:
                best.copy_(torch.where(tau.abs() > best.abs(), tau, best))
            yield self.added(base, best)
