"""Product-space merging: task arithmetic in which heads meet in the products that no key inside a head can change.

    M = O_g V_g,  M = Q_g^T K_g (per rotary plane):   M_0 + lambda * sum_i w_i (M_i - M_0), factored back to rank d_h
    everything else:                                 theta_0 + lambda * sum_i w_i (theta_i - theta_0)

A protection that moves bases inside heads (MergeLock, the heads of PaRaMS, dense keys) is undone without an estimate:
experts under different keys merge as they would without any.  Streams, heads and neurons must correspond; ``realign``
first where they do not.  Source: ours, see ``symmetry.products``; queries and keys under a norm merge as weights.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from mergebarrier import symmetry
from mergebarrier.merge.arithmetic import combine
from mergebarrier.merge.method import Need
from mergebarrier.merge.methods.task_arithmetic import TaskArithmetic

if TYPE_CHECKING:
    from torch import Tensor

    from mergebarrier.circuits import Circuit


@dataclass(frozen=True, kw_only=True)
class ProductSpace(TaskArithmetic):
    """Task arithmetic on products of heads, and on tensors elsewhere.

    Raises: BadMergeParameter.

    Example:
      >>> ProductSpace(coefficient=0.5).shares(2)
      (0.0, 0.5, 0.5)
    """

    name: ClassVar[str] = "product_space"
    need: ClassVar[Need] = "circuit"
    differentiable: ClassVar[bool] = False

    def shares(self, count: int) -> tuple[float, ...]:
        """Return what the base and each of so many experts are multiplied by."""
        weights = self.spread_weights(count)
        over = self.coefficient / (combine.divisor_of(weights) if self.normalize else 1.0)
        return 1.0 - over * sum(weights), *(over * weight for weight in weights)

    def merge_circuit(
        self, circuit: Circuit, merged: dict[str, Tensor], models: Sequence[Mapping[str, Tensor]]
    ) -> dict[str, Tensor]:
        """Put the merged products in the place of what was merged tensor by tensor."""
        found = symmetry.combine_products(circuit, merged, models, self.shares(len(models) - 1))
        return {name: tensor.to(merged[name].dtype) for name, tensor in found.items()}
