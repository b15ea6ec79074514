"""Recipes that a merge may have been made by, replayed on sampled entries with the rounding of the stored dtype.

    linear       b + sum_j c_j tau_j                                     task_arithmetic, and slerp to first order
    ties         largest entries of every tau_j, a sign elected after weighting, the sum of those that agree
    ..., mean    the same over the sum of the weights that agree (``normalize``): only ratios of c are known then
    breadcrumbs  entries that are neither small nor the very largest, summed;   breadcrumbs_ties  with elected signs

Two arithmetics: float32 with one rounding at the end, and that of mergekit, which rounds every step to the dtype.

Source: TIES arXiv 2306.01708, breadcrumbs arXiv 2312.06795, in the semantics of mergekit 0.1.5.  Differs: nothing; a
replay that differs by one rounding is told apart.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from mergebarrier.lazy import torch
from mergebarrier.provenance.parents.entries import DENSITIES, EDGE, KEPT

if TYPE_CHECKING:
    from collections.abc import Sequence

    from torch import Tensor

    from mergebarrier.provenance.parents.entries import Entries


_NO_WEIGHT: Final = 1e-8


@dataclass(frozen=True, kw_only=True)
class ReplayedRecipe:
    """One way to merge, without its weights.

    Attributes:
      method:   as mergekit calls it.
      density:  of what is kept; 1 for all.
      mean:     whether sums are divided by the weights that take part.
      stepwise: whether every step rounds to the stored dtype.
    """

    method: str
    density: float = 1.0
    mean: bool = False
    stepwise: bool = False

    @property
    def elects(self) -> bool:
        """Whether a sign is elected per entry."""
        return self.method.endswith("ties")


#: Every recipe with its densities, without the arithmetic.
RECIPES: Final = (
    ReplayedRecipe(method="task_arithmetic"),
    *(
        ReplayedRecipe(method=method, density=density, mean=mean)
        for method in ("ties", "breadcrumbs", "breadcrumbs_ties")
        for mean in (False, True)
        for density in (*DENSITIES, 1.0)
        if (method == "ties" or density < 1.0) and (method.endswith("ties") or not mean)
    ),
)


def kept_taus(entries: Entries, recipe: ReplayedRecipe) -> Tensor:
    """Return the task vectors after what a recipe drops, Float32[Tensor, "m n"]."""
    taus = entries.taus.to(entries.dtype).float() if recipe.stepwise else entries.taus
    if recipe.density == 1.0:
        return taus
    return taus * (_masks(entries, recipe) & KEPT)


def undecided(entries: Entries, recipe: ReplayedRecipe, used: Sequence[int]) -> Tensor:
    """Say which entries some candidate has on the edge of what is dropped, Bool[Tensor, "n"]."""
    if recipe.density == 1.0:
        return torch.zeros(len(entries.base), dtype=torch.bool)
    return (_masks(entries, recipe)[list(used)] & EDGE).bool().any(0)


def _masks(entries: Entries, recipe: ReplayedRecipe) -> Tensor:
    return entries.mask(recipe.density, middle=recipe.method != "ties", rounded=recipe.stepwise)


def regressors(kept: Tensor, recipe: ReplayedRecipe, shares: Sequence[float]) -> Tensor:
    """Return what a recipe sums, each to be weighted by its share, with signs and divisors as at some shares.

    Args:
      kept:   of ``kept_taus``.
      recipe: that is replayed.
      shares: at which signs are elected.
    """
    if not recipe.elects:
        return kept
    weights = torch.tensor(shares, dtype=torch.float32)[:, None]
    agree = kept.sign() == torch.where((kept * weights).sum(0) < 0, -1.0, 1.0)
    summed = kept * agree
    if not recipe.mean:
        return summed
    taking = (agree * weights).sum(0)
    return summed / torch.where(taking.abs() < _NO_WEIGHT, 1.0, taking)


def replay(entries: Entries, kept: Tensor, recipe: ReplayedRecipe, shares: Sequence[float]) -> Tensor:
    """Return what a recipe would have stored, Float32[Tensor, "n"].

    Args:
      entries: of base and suspect.
      kept:    of ``kept_taus``, so that a search pays for it once.
      recipe:  to replay.
      shares:  weight of every candidate.
    """
    used = [j for j, share in enumerate(shares) if share]
    if not used:
        return entries.base

    def step(tensor: Tensor) -> Tensor:
        return tensor.to(entries.dtype).float() if recipe.stepwise else tensor

    weights = step(torch.tensor([shares[j] for j in used], dtype=torch.float32))
    weighted = step(kept[used] * weights[:, None])
    if not recipe.elects:
        return (entries.base + step(weighted.sum(0))).to(entries.dtype).float()
    agree = weighted.sign() == torch.where(step(weighted.sum(0)) < 0, -1.0, 1.0)
    total = step((weighted * agree).sum(0))
    if recipe.mean:
        taking = step((agree * weights[:, None]).sum(0))
        total = step(total / torch.where(taking.abs() < _NO_WEIGHT, 1.0, taking))
    return (entries.base + total).to(entries.dtype).float()
