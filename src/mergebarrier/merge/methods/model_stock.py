"""Model Stock: go from the base towards the mean of the experts as far as the angle between them suggests.

    c = mean_{i<j} cos(tau_i, tau_j);   t = N c / (1 + (N - 1) c);   merged = theta_0 + t * mean_i tau_i
    1 + (N - 1) c below 1e-6 in size:  t = 0

Source: Jang et al., arXiv 2403.19522. Semantics of mergekit 0.1.5 (products of norms below 1e-6 count as 1e-6, so a
tensor that hardly moved stays nearer to the base). Differs: products in float64.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from dataclasses import dataclass
from typing import ClassVar

from mergebarrier.lazy import torch
from mergebarrier.merge.arithmetic import Operands
from mergebarrier.merge.method import Merge, Need
from mergebarrier.merge.methods import _task_vectors
from mergebarrier.parameters import flag

_SMALLEST_PRODUCT = 1e-6
_SINGULAR = 1e-6


@dataclass(frozen=True, kw_only=True)
class ModelStock(Merge):
    """Interpolation between the base and the mean of two or more experts.

    Raises: BadMergeParameter.

    Example:
      >>> taus = [torch.tensor([1.0, 0.0]), torch.tensor([1.0, 1.0])]
      >>> ModelStock().merge(torch.zeros(2), taus, name="w")
      tensor([0.8284, 0.4142])
    """

    name: ClassVar[str] = "model_stock"
    need: ClassVar[Need] = "tensor"
    uses_base: ClassVar[bool] = True
    min_experts: ClassVar[int] = 2
    differentiable: ClassVar[bool] = True

    filter_wise: bool = flag(
        False, help="One angle per row (last axis) instead of one per tensor.", recipe="filter_wise"
    )

    def kernel(self, operands: Operands) -> Iterator[torch.Tensor]:
        """Yield the blocks of the interpolation."""
        count = len(operands.experts)
        if not self.filter_wise:
            share = _share(_task_vectors.gram(operands).unsqueeze(0))
            yield from _task_vectors.weigh(operands, (share / count).expand(count))
            return
        columns = operands.columns
        for _, base, taus in _task_vectors.walk(operands, columns=columns):
            rows = taus.view(count, -1, columns)
            wide = rows.double().movedim(0, 1)
            mean = rows.mean(0).mul_(_share(wide @ wide.mT).unsqueeze(1))
            yield mean.reshape(-1).add_(base)


def _share(products: torch.Tensor) -> torch.Tensor:
    """Return t for each Gram matrix of Float64[Tensor, "rows experts experts"]."""
    count = products.shape[-1]
    norms = _task_vectors.lengths(products)
    cosines = [
        (products[:, i, j] / (norms[:, i] * norms[:, j]).clamp(min=_SMALLEST_PRODUCT)).clamp(-1, 1)
        for i, j in itertools.combinations(range(count), 2)
    ]
    cosine = torch.stack(cosines).mean(0)
    divisor = 1 + (count - 1) * cosine
    singular = divisor.abs() < _SINGULAR
    return torch.where(singular, 0.0, count * cosine / torch.where(singular, 1.0, divisor))
