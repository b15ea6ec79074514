"""Task singular vectors: join the leading singular vectors of all experts and make them orthogonal.

    tau_i ~ U_i S_i V_i^T, the first max(1, floor(r / N)) directions;   U = polar[U_1 | ... | U_N],  V alike
    merged = theta_0 + lambda * U diag(S_1, ..., S_N) V^T

Source: Gargiulo et al., arXiv 2412.00081 (TSV-M), steps as in fusion_bench 0.2.33 (a tensor that is not a matrix: the
mean of the task vectors). Differs: at least one direction per expert; directions in the noise are dropped.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from mergebarrier.lazy import torch
from mergebarrier.merge.methods.spectral import singular


@dataclass(frozen=True, kw_only=True)
class TsvM(singular.MatrixMerge):
    """Task singular vector merging.

    Raises: BadMergeParameter.

    Example:
      >>> TsvM().merge(torch.zeros(2, 2), [torch.tensor([[3.0, 0.0], [0.0, -1.0]])], name="w")
      tensor([[ 3.,  0.],
              [ 0., -1.]])
    """

    name: ClassVar[str] = "tsv_m"

    def combine(self, taus: torch.Tensor) -> torch.Tensor:
        """Return the sum over the orthogonalised directions."""
        each = max(1, min(taus.shape[1:]) // len(taus))
        us, ss, vts = zip(*(singular.svd(tau, each) for tau in taus), strict=True)
        left, right = singular.polar(torch.cat(us, dim=1)), singular.polar(torch.cat(vts, dim=0))
        return (left * torch.cat(ss)) @ right
