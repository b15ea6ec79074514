"""Linear merging ("model soup"): the weighted mean of the experts.

    merged = sum_i w_i theta_i / sum_i w_i     (normalize, the default);     sum_i w_i theta_i     (otherwise)

Source: Wortsman et al., arXiv 2203.05482. Semantics of mergekit 0.1.5, where the base is ignored.
Differs: nothing but the rounding of the last bit.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import ClassVar

from mergebarrier.errors import BadMergeParameter
from mergebarrier.lazy import torch
from mergebarrier.merge import declarations
from mergebarrier.merge.arithmetic import Operands
from mergebarrier.merge.method import Merge, Need, per_expert
from mergebarrier.parameters import flag


@dataclass(frozen=True, kw_only=True)
class Linear(Merge):
    """Weighted mean of the experts.

    Raises: BadMergeParameter.

    Example:
      >>> import torch
      >>> Linear().merge(None, [torch.tensor([1.0]), torch.tensor([3.0])], name="w")
      tensor([2.])
    """

    name: ClassVar[str] = "linear"
    need: ClassVar[Need] = "elementwise"
    uses_base: ClassVar[bool] = False
    differentiable: ClassVar[bool] = True

    weights: tuple[float, ...] = declarations.weights()
    normalize: bool = flag(True, help="Divide by the sum of the weights, which must not be zero.", recipe="normalize")

    def check_count(self, count: int) -> None:
        """Check the counts, and that the weights can be normalised."""
        super().check_count(count)
        weights = per_expert(self.name, "weights", self.weights, count, 1.0)
        if self.normalize and sum(weights) == 0:
            raise BadMergeParameter(
                f"the weights {weights} sum to zero",
                where=self.name,
                remedy="set normalize to false, or change a weight",
            )

    def kernel(self, operands: Operands) -> Iterator[torch.Tensor]:
        """Yield the weighted means."""
        weights = per_expert(self.name, "weights", self.weights, len(operands.experts), 1.0)
        # Weights are rounded before they are summed, so that their errors cancel in the quotient.
        rounded = torch.tensor(weights, dtype=operands.dtype)
        weights = tuple(rounded.tolist())
        divisor = rounded.sum().item() if self.normalize else 1.0
        sum_buffer, expert_buffer = operands.buffer(), operands.buffer()
        for start, stop in operands.spans():
            total = operands.load(0, start, stop, sum_buffer)
            if weights[0] != 1.0:
                total.mul_(weights[0])
            for index, weight in enumerate(weights[1:], start=1):
                total.add_(operands.load(index, start, stop, expert_buffer), alpha=weight)
            yield total if divisor == 1.0 else total.div_(divisor)
