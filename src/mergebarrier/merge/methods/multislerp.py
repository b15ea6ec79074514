"""Multi-SLERP: the direction of the weighted sum of unit vectors, at the weighted mean length.

    u_i = x_i / (|x_i| + eps),   m = sum_i w_i u_i;   merged = [theta_0 +] m / |m| * sum_i w_i |x_i|

Source: mergekit 0.1.5, which also takes a tangent step at m; that step is zero, because sum_i w_i u_i is parallel to m.
x_i is the expert, or its task vector with ``task_vectors`` (mergekit: when a base is given). Differs: norms in
float64; where all x_i are zero the result is zero, where mergekit stops.
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
from mergebarrier.merge.methods import _task_vectors
from mergebarrier.parameters import flag, number

_CANCELLED = 1e-7  # of sum |w_i|: below, |m| is rounding noise of the Gram matrix


@dataclass(frozen=True, kw_only=True)
class MultiSlerp(Merge):
    """Spherical mean of any number of models, per tensor.

    Raises: BadMergeParameter; three or more directions that cancel each other have no mean.

    Example:
      >>> MultiSlerp().merge(None, [torch.tensor([2.0, 0.0]), torch.tensor([0.0, 2.0])], name="w")
      tensor([1.4142, 1.4142])
    """

    name: ClassVar[str] = "multislerp"
    need: ClassVar[Need] = "tensor"
    optional_base: ClassVar[str] = "task_vectors"
    differentiable: ClassVar[bool] = True

    weights: tuple[float, ...] = declarations.weights()
    normalize: bool = flag(
        True, help="Divide the weights by their sum, which must not be zero.", recipe="normalize_weights"
    )
    eps: float = number(
        1e-8, help="Added to every norm; a sum shorter than this counts as zero.", low=0, high=1, recipe="eps"
    )
    task_vectors: bool = declarations.task_vectors()

    @property
    def uses_base(self) -> bool:
        """With task vectors only."""
        return self.task_vectors

    def check_count(self, count: int) -> None:
        """Check the counts, and that the weights can be normalised."""
        super().check_count(count)
        self._spread(count)

    def _spread(self, count: int) -> list[float]:
        weights = per_expert(self.name, "weights", self.weights, count, 1.0)
        total = sum(weights) if self.normalize else 1.0
        if total == 0:
            raise BadMergeParameter(
                f"the weights {weights} sum to zero",
                where=self.name,
                remedy="set normalize to false, or change a weight",
            )
        return [weight / total for weight in weights]

    def kernel(self, operands: Operands) -> Iterator[torch.Tensor]:
        """Yield the blocks of the mean."""
        weights = self._spread(len(operands.experts))
        if len(weights) == 1:
            return _task_vectors.weigh(operands, [1.0])
        products = _task_vectors.gram(operands)
        norms = _task_vectors.lengths(products)
        weight = torch.tensor(weights, dtype=torch.float64)
        shares = weight / (norms + self.eps).clamp(min=torch.finfo(torch.float64).tiny)
        length = (shares @ products @ shares).clamp(min=0).sqrt()
        if length <= max(self.eps, _CANCELLED * weight.abs().sum().item()):
            if len(weights) > 2 and norms.any():
                raise BadMergeParameter(
                    "the weighted directions of the models cancel each other",
                    where=f"{self.name}, {operands.name}",
                    remedy="change the weights",
                )
            return _task_vectors.weigh(operands, weights)
        return _task_vectors.weigh(operands, shares * ((weight @ norms) / length))
