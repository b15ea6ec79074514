"""Task arithmetic: add the weighted task vectors to the base.

    merged = theta_0 + lambda * sum_i w_i (theta_i - theta_0) [/ sum_i w_i if normalize]

Source: Ilharco et al., arXiv 2212.04089, in the generalised form of mergekit 0.1.5.
Differs: mergekit computes in the dtype of the base (bfloat16!), we in float32; ``arith="input"`` does as it does.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import ClassVar

from mergebarrier.lazy import torch
from mergebarrier.merge import declarations
from mergebarrier.merge.arithmetic import KeepAll, Operands, combine
from mergebarrier.merge.method import Need
from mergebarrier.merge.methods._thinned import TaskVectorMerge


@dataclass(frozen=True, kw_only=True)
class TaskArithmetic(TaskVectorMerge):
    """Sum of weighted task vectors on the base.

    Raises: BadMergeParameter.

    Example:
      >>> TaskArithmetic(coefficient=0.5).merge(torch.tensor([1.0]), [torch.tensor([3.0])], name="w")
      tensor([2.])
    """

    name: ClassVar[str] = "task_arithmetic"
    need: ClassVar[Need] = "elementwise"
    differentiable: ClassVar[bool] = True

    normalize: bool = declarations.normalize()

    def kernel(self, operands: Operands) -> Iterator[torch.Tensor]:
        """Yield the blocks of the sum."""
        weights = self.spread_weights(len(operands.experts))
        parts = [combine.Part(weight, KeepAll(), 1.0) for weight in weights]
        return combine.weighted_sum(operands, parts, normalize=self.normalize, coefficient=self.coefficient)
