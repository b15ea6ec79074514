"""Isotropic merging: give the summed task vector one singular value in every direction.

    iso_c:    sum_i tau_i = U S V^T;   merged = theta_0 + lambda * mean(S) U V^T
    iso_cts:  the last directions of U, V make room for the leading ones of each tau_i outside the span of the first;
              U, V <- polar factors;   merged = theta_0 + lambda * mean(S) U V^T

Source: Marczak et al., arXiv 2502.04959, steps as in fusion_bench 0.2.33 (a tensor that is not a matrix: the mean of
the task vectors). Differs: directions below 1e-5 of the largest singular value get nothing (there: noise at full size).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from mergebarrier.lazy import torch
from mergebarrier.merge.methods.spectral import singular
from mergebarrier.parameters import number


@dataclass(frozen=True, kw_only=True)
class IsoC(singular.MatrixMerge):
    """Isotropic merging in the common subspace.

    Raises: BadMergeParameter.

    Example:
      >>> IsoC().merge(torch.zeros(2, 2), [torch.tensor([[3.0, 0.0], [0.0, -1.0]])], name="w")
      tensor([[ 2.,  0.],
              [ 0., -2.]])
    """

    name: ClassVar[str] = "iso_c"

    def combine(self, taus: torch.Tensor) -> torch.Tensor:
        """Return mean(S) U V^T of the sum."""
        total = taus.sum(0)
        u, s, vt = singular.svd(total)
        return (s.sum() / min(total.shape)) * (u @ vt)


@dataclass(frozen=True, kw_only=True)
class IsoCts(singular.MatrixMerge):
    """Isotropic merging in the common and the task-specific subspaces.

    Raises: BadMergeParameter.

    Example:
      >>> IsoCts().merge(torch.zeros(2, 2), [torch.tensor([[3.0, 0.0], [0.0, -1.0]])], name="w")
      tensor([[ 2.,  0.],
              [ 0., -2.]])
    """

    name: ClassVar[str] = "iso_cts"

    common_space_fraction: float = number(
        0.8, help="Share of the directions taken from the sum; the rest is divided among the experts.", low=0, high=1
    )

    def combine(self, taus: torch.Tensor) -> torch.Tensor:
        """Return mean(S) U V^T of the joined subspaces."""
        count, full = len(taus), min(taus.shape[1:])
        each = min(round((full - int(full * self.common_space_fraction)) / count), full // count)
        u, s, v = _leading(taus.sum(0), full - each * count)
        # What a sum of few directions leaves of each task vector is rounding noise, at the size of that sum.
        size = float(s[:1].sum())
        parts = [(u, s, v), *(_leading(tau - u @ (u.T @ tau), each, size) for tau in taus)]
        us, ss, vs = (torch.cat(column, dim=-1) for column in zip(*parts, strict=True))
        return (ss.sum() / full) * (singular.polar(us) @ singular.polar(vs).T)


def _leading(matrix: torch.Tensor, count: int, size: float = 0.0) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    u, s, vt = singular.svd(matrix, count, size)
    return u, s, vt.T
