"""Karcher mean: the point of the unit sphere whose squared angles to all experts sum to the least, at their mean norm.

    u_i = theta_i / |theta_i|,   u <- normalised mean of u_i;   repeat: phi_i = acos <u, u_i>,
    T = mean_i (phi_i / sin phi_i) (u_i - cos phi_i u),   u <- cos|T| u + sin|T| T / |T|;   merged = u mean_i |theta_i|

Source: Karcher, Comm. Pure Appl. Math. 30 (1977); semantics of mergekit 0.1.5. Every iterate lies in the span of the
experts, so ours needs one pass for their Gram matrix (float64), a few steps on N numbers, and one pass to combine;
mergekit iterates on whole tensors in their dtype. An expert shorter than ``tol`` has no direction, only a norm.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import ClassVar

from mergebarrier.lazy import torch
from mergebarrier.merge.arithmetic import Operands
from mergebarrier.merge.method import Merge, Need
from mergebarrier.merge.methods import _task_vectors
from mergebarrier.parameters import number, whole


@dataclass(frozen=True, kw_only=True)
class Karcher(Merge):
    """Mean on the sphere, equal weights, per tensor.

    Raises: BadMergeParameter.

    Example:
      >>> Karcher().merge(None, [torch.tensor([2.0, 0.0]), torch.tensor([0.0, 2.0])], name="w")
      tensor([1.4142, 1.4142])
    """

    name: ClassVar[str] = "karcher"
    need: ClassVar[Need] = "tensor"
    uses_base: ClassVar[bool] = False
    differentiable: ClassVar[bool] = True

    max_iter: int = whole(10, help="Steps at most.", recipe="max_iter")
    tol: float = number(
        1e-5, help="A shorter step ends the iteration; a smaller angle does not pull.", low=0, high=1, recipe="tol"
    )

    def kernel(self, operands: Operands) -> Iterator[torch.Tensor]:
        """Yield the blocks of the mean."""
        if len(operands.experts) == 1:
            return _task_vectors.weigh(operands, [1.0])
        products = _task_vectors.gram(operands)
        norms = _task_vectors.lengths(products)
        valid = norms > self.tol
        coefficients = torch.zeros_like(norms)
        if valid.any():
            lengths = norms[valid]
            cosines = products[valid][:, valid] / torch.outer(lengths, lengths)
            coefficients[valid] = norms.mean() * self._mean(cosines) / lengths
        return _task_vectors.weigh(operands, coefficients)

    def _mean(self, cosines: torch.Tensor) -> torch.Tensor:
        """Return the coefficients of the mean over unit vectors with these inner products; all Float64."""
        count = len(cosines)
        mean = torch.full((count,), 1 / count, dtype=torch.float64)
        length = _length(mean, cosines)
        mean = mean / length if length > self.tol else torch.eye(count, dtype=torch.float64)[0]
        for _ in range(self.max_iter):
            cosine = (cosines @ mean).clamp(-1, 1)
            angle = torch.acos(cosine)
            still = (angle <= self.tol) | (torch.sin(angle) <= self.tol)  # at the vector itself, or opposite to it
            angle = torch.acos(torch.where(still, 0.0, cosine))
            pull = torch.where(still, 0.0, angle / torch.sin(angle)) / count
            tangent = pull - (pull * cosine).sum() * mean
            length = _length(tangent, cosines)
            if length <= self.tol:
                break
            mean = torch.cos(length) * mean + torch.sin(length) / length * tangent
            mean = mean / _length(mean, cosines)
        return mean


def _length(coefficients: torch.Tensor, cosines: torch.Tensor) -> torch.Tensor:
    return (coefficients @ cosines @ coefficients).clamp(min=0).sqrt()
