"""Model Breadcrumbs: drop the largest entries of each task vector as outliers, keep the next ones, add or elect signs.

    S(tau) = the floor(density n) entries of largest |tau| below the floor(gamma n) outliers, ties by flat index
    merged = theta_0 + lambda * sum_i m_i w_i S(tau_i)

Source: Davari and Belilovsky, arXiv 2312.06795. Semantics of mergekit 0.1.5: per tensor; density 1 drops nothing, and
outliers give way where density and gamma together exceed 1. Differs: ties in a cut go by flat index.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

from mergebarrier.merge.arithmetic import Operands, sparsify
from mergebarrier.merge.method import per_expert
from mergebarrier.merge.methods._thinned import Elected, Summed, ThinnedMerge
from mergebarrier.parameters import numbers, redefault


@dataclass(frozen=True, kw_only=True)
class _Breadcrumbs(ThinnedMerge):
    gamma: float | tuple[float, ...] = numbers(
        0.01,
        help="Share of each task vector that is dropped as outliers, per model or for all.",
        low=0,
        high=1,
        recipe="gamma",
    )

    def check_count(self, count: int) -> None:
        """Check the number of experts, weights, densities and gammas."""
        super().check_count(count)
        self._gammas(count)

    def _gammas(self, count: int) -> tuple[float, ...]:
        return per_expert(self.name, "gamma", self.gamma, count, 0.01)

    def sparsifiers(self, operands: Operands, densities: Sequence[float]) -> list[sparsify.Sparsifier]:
        """Keep the large magnitudes but not the largest."""
        return sparsify.between(operands, densities, self._gammas(len(densities)))


@dataclass(frozen=True, kw_only=True)
class Breadcrumbs(_Breadcrumbs, Summed):
    """Outliers and small entries dropped, then a weighted sum.

    Raises: BadMergeParameter.

    Example:
      >>> import torch
      >>> tau = torch.tensor([1.0, 2.0, 3.0, 9.0])
      >>> Breadcrumbs(density=0.5, gamma=0.25).merge(torch.zeros(4), [tau], name="w")
      tensor([0., 2., 3., 0.])
    """

    name: ClassVar[str] = "breadcrumbs"


@dataclass(frozen=True, kw_only=True)
class BreadcrumbsTies(_Breadcrumbs, Elected):
    """Outliers and small entries dropped, then a sum over the entries that agree with the elected sign.

    Raises: BadMergeParameter.

    Example:
      >>> import torch
      >>> taus = [torch.tensor([-1.0]), torch.tensor([2.0])]
      >>> BreadcrumbsTies().merge(torch.zeros(1), taus, name="w")
      tensor([2.])
    """

    name: ClassVar[str] = "breadcrumbs_ties"

    reduce: str = redefault(Elected, "reduce", "sum")
