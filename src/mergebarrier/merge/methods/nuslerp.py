"""NuSLERP: SLERP by weights, of whole tensors or vector by vector, of models or of task vectors.

    t = w_2 / (w_1 + w_2);   cos(phi) = <a, b> / (|a| |b|)
    merged = [theta_0 +] [sin((1 - t) phi) a + sin(t phi) b] / sin(phi)
    sin(phi)^2 <= 1e-16, or a vector shorter than 1e-7:   (1 - t) a + t b

Source: semantics of mergekit 0.1.5. a and b are the experts, or their task vectors with ``task_vectors`` (mergekit:
when a base is given). Differs: angles in float64; a zero vector takes the straight line (mergekit treats it as
orthogonal).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import ClassVar

from mergebarrier.lazy import torch
from mergebarrier.merge import declarations
from mergebarrier.merge.arithmetic import Operands
from mergebarrier.merge.method import Merge, Need, per_expert
from mergebarrier.merge.methods import _task_vectors
from mergebarrier.parameters import flag

_NO_WEIGHT = 1e-6  # mergekit 0.1.5: a smaller sum of weights means t = 1/2
_ZERO_NORM = 1e-7
_COLINEAR = 1e-16


@dataclass(frozen=True, kw_only=True)
class NuSlerp(Merge):
    """Spherical interpolation of exactly two models, by weights.

    Raises: BadMergeParameter.

    Example:
      >>> NuSlerp().merge(None, [torch.tensor([2.0, 0.0]), torch.tensor([0.0, 2.0])], name="w")
      tensor([1.4142, 1.4142])
    """

    name: ClassVar[str] = "nuslerp"
    need: ClassVar[Need] = "tensor"
    min_experts: ClassVar[int] = 2
    max_experts: ClassVar[int | None] = 2
    optional_base: ClassVar[str] = "task_vectors"
    differentiable: ClassVar[bool] = True

    weights: tuple[float, ...] = declarations.weights()
    flatten: bool = flag(
        True, help="One angle per tensor; else one per vector along the last axis.", recipe="nuslerp_flatten"
    )
    row_wise: bool = flag(
        False, help="Vectors along the first axis instead.", recipe="nuslerp_row_wise", only="without flatten"
    )
    task_vectors: bool = declarations.task_vectors()

    @property
    def uses_base(self) -> bool:
        """With task vectors only."""
        return self.task_vectors

    def check_count(self, count: int) -> None:
        """Check the number of experts and of weights."""
        super().check_count(count)
        per_expert(self.name, "weights", self.weights, count, 1.0)

    @property
    def t(self) -> float:
        """The place between the first model (0) and the second (1)."""
        first, second = per_expert(self.name, "weights", self.weights, 2, 1.0)
        return 0.5 if abs(first + second) < _NO_WEIGHT else second / (first + second)

    def kernel(self, operands: Operands) -> Iterator[torch.Tensor]:
        """Yield the blocks of the arc's points."""
        if self.flatten:
            products = _task_vectors.gram(operands)
            return _task_vectors.weigh(
                operands, torch.stack(_arc(products[0, 0], products[1, 1], products[0, 1], self.t))
            )
        if self.row_wise and len(operands.shape) > 1:
            return self._down(operands)
        return self._along(operands)

    def _along(self, operands: Operands) -> Iterator[torch.Tensor]:
        for _, base, taus in _task_vectors.walk(operands, columns=operands.columns):
            rows = taus.view(2, -1, operands.columns)
            a, b, wide = rows[0], rows[1], rows.to(torch.float64, copy=True)
            aa, bb, ab = _products(wide[0], wide[1], 1)
            first, second = _arc(aa, bb, ab, self.t)
            a.mul_(first.unsqueeze(1)).add_(b.mul_(second.unsqueeze(1)))
            yield taus[0].add_(base)

    def _down(self, operands: Operands) -> Iterator[torch.Tensor]:
        columns = operands.size // operands.shape[0]
        sums = aa, bb, ab = [torch.zeros(columns, dtype=torch.float64) for _ in range(3)]
        for _, _, taus in _task_vectors.walk(operands, columns=columns, dtype=torch.float64):
            a, b = taus.view(2, -1, columns)
            for total, part in zip(sums, _products(a, b, 0), strict=True):
                total.add_(part)
        first, second = _arc(aa, bb, ab, self.t)
        for _, base, taus in _task_vectors.walk(operands, columns=columns):
            rows = taus.view(2, -1, columns)
            a, b = rows[0], rows[1]
            a.mul_(first).add_(b.mul_(second))
            yield taus[0].add_(base)


def _products(a: torch.Tensor, b: torch.Tensor, axis: int) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    return (a * a).sum(axis), (b * b).sum(axis), (a * b).sum(axis)


def _arc(aa: torch.Tensor, bb: torch.Tensor, ab: torch.Tensor, t: float) -> tuple[torch.Tensor, torch.Tensor]:
    """Return the coefficients of a and b; all Float64[Tensor, "..."]."""
    straight = (aa.sqrt() < _ZERO_NORM) | (bb.sqrt() < _ZERO_NORM)
    cosine = (ab / torch.where(straight, 1.0, aa * bb).sqrt()).clamp(-1, 1)
    straight = straight | (1 - cosine.square() <= _COLINEAR)
    angle = torch.acos(torch.where(straight, 0.0, cosine))
    sine = torch.sin(angle)
    first, second = torch.sin((1 - t) * angle) / sine, torch.sin(t * angle) / sine
    return torch.where(straight, 1 - t, first), torch.where(straight, t, second)
