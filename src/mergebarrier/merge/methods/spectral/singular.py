"""Singular value decompositions and polar factors of task vectors, in float64, without their noise directions.

    X X^T = U S^2 U^T,  V^T = S^-1 U^T X   (of the smaller side: five times faster than a full SVD)
    polar(X) = U V^T over the singular values above 1e-5 of the largest

A fine-tune by adapters moves few directions; the others hold rounding noise that spectral methods would blow up, so
they are dropped. Bits may depend on the number of torch threads; the executor of this package uses one.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterator
from dataclasses import dataclass
from typing import ClassVar

from mergebarrier.lazy import torch
from mergebarrier.merge.arithmetic import Operands
from mergebarrier.merge.method import Need
from mergebarrier.merge.methods import _task_vectors

_NOISE = 1e-5


def svd(
    matrix: torch.Tensor, leading: int | None = None, size: float = 0.0
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Return U (m, r), S (r,) descending, V^T (r, n) of a Float64[Tensor, "m n"]; r <= ``leading`` above the noise.

    ``size`` is the largest singular value of what the matrix is left over from, where it is a remainder.
    """
    if matrix.shape[0] > matrix.shape[1]:
        u, s, vt = svd(matrix.T, leading, size)
        return vt.T, s, u.T
    squares, vectors = torch.linalg.eigh(matrix @ matrix.T)
    values = squares.clamp(min=0).sqrt().flip(0)
    rank = int((values > _NOISE * values[:1].clamp(min=size))[:leading].sum())
    u, s = vectors.flip(1)[:, :rank], values[:rank]
    return u, s, (u.T @ matrix) / s.unsqueeze(1)


def polar(matrix: torch.Tensor) -> torch.Tensor:
    """Return the nearest matrix with orthonormal rows or columns, within the directions above the noise."""
    u, _, vt = svd(matrix)
    return u @ vt


def matrices(operands: Operands, dtype: torch.dtype) -> torch.Tensor:
    """Return the task vectors of a matrix, Float[Tensor, "experts m n"], where they are going to be decomposed."""
    held = torch.empty(len(operands.experts), operands.size, dtype=dtype, device=operands.device)
    for start, base, taus in _task_vectors.walk(operands, dtype=dtype):
        held[:, start : start + base.numel()] = taus
    return held.view(-1, *operands.shape)


@dataclass(frozen=True, kw_only=True)
class MatrixMerge(_task_vectors.DeltaMerge):
    """A method on the task vectors of one matrix; a tensor that is not a matrix takes their mean."""

    need: ClassVar[Need] = "tensor"
    dense: ClassVar[bool] = True

    @abstractmethod
    def combine(self, taus: torch.Tensor) -> torch.Tensor:
        """Return the combined task vector Float[Tensor, "m n"] of Float[Tensor, "experts m n"]."""

    def precision(self, operands: Operands) -> torch.dtype:
        """Return the dtype that ``combine`` computes in; decompositions need float64."""
        del operands
        return torch.float64

    def kernel(self, operands: Operands) -> Iterator[torch.Tensor]:
        """Yield the blocks of the base with the combined task vector."""
        if len(operands.shape) != 2:
            for _, base, taus in _task_vectors.walk(operands):
                yield self.added(base, taus.mean(0))
            return
        combined = self.combine(matrices(operands, self.precision(operands))).cpu().reshape(-1)
        base_buffer = operands.buffer()
        for start, stop in operands.spans():
            base = operands.load_base(start, stop, base_buffer)
            yield self.added(base, combined[start:stop].to(operands.dtype))
