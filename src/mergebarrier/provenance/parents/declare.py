"""Intervals of shares, and who is declared a parent: never without what an absent candidate would inherit.

    half_j  = 1.96 sqrt(se_j^2 + ((c0_j - c_j) / 2)^2) + delta_j, at least .01; .01 where a replay settles the recipe
    delta_j = rho excess / |tau_j|,   excess = norm of what the replay does not explain
    p_j     = upper normal tail of (c_j - delta_j) / (half_j / 1.96);   Holm over candidates

rho is the largest cosine among candidates and references, at least .06: fine-tunes of one base are never quite
orthogonal, so a test that takes them to be declares parents that are not there.

Source: ours.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from mergebarrier.lazy import np
from mergebarrier.numerics import holm
from mergebarrier.provenance.parents.search import SETTLED, ReplayedMerge
from mergebarrier.provenance.parents.shares import LeastSquares, likeness

if TYPE_CHECKING:
    from mergebarrier.provenance.parents.entries import TensorSums

RESOLUTION: Final = 0.01
_LEAST_LIKENESS: Final = 0.06
_Z95: Final = 1.96


@dataclass(frozen=True, kw_only=True)
class CandidateShare:
    """What is known of one candidate.

    Attributes:
      name:      of the candidate; ``reference`` one that is known to be no parent.
      share:     weight in the merge; ``low`` and ``high`` its interval of 95 %.
      least_squares: the share without the replay.
      inherited: what an absent candidate could show of an unknown parent.
      p:         of no part in the merge; ``adjusted`` by Holm over the candidates.
    """

    name: str
    reference: bool
    share: float
    low: float
    high: float
    least_squares: float
    inherited: float
    p: float
    adjusted: float


@dataclass(frozen=True, kw_only=True)
class Unexplained:
    """What is left.

    Attributes:
      change_norm: of suspect - base, over the tensors that were looked at.
      norm:        of what neither candidates nor rounding explain; ``share`` of the change.
      likeness:    rho.
    """

    change_norm: float
    norm: float
    share: float
    likeness: float


def unexplained(sums: TensorSums, fit: LeastSquares, rest_of_replay: float) -> Unexplained:
    """Return what is left of the change once the rest that rounding alone leaves is taken off."""
    energy = float(sums.energy.sum())
    norm = math.sqrt(max(0.0, fit.rest - rest_of_replay) * energy)
    cosines = np.abs(likeness(sums))
    np.fill_diagonal(cosines, 0.0)
    rho = max(_LEAST_LIKENESS, float(cosines.max(initial=0.0)))
    change = math.sqrt(energy)
    return Unexplained(change_norm=change, norm=norm, share=norm / change if change else 0.0, likeness=rho)


def declared(
    names: list[str], references: int, sums: TensorSums, fit: LeastSquares, merge: ReplayedMerge, left: Unexplained
) -> tuple[CandidateShare, ...]:
    """Return shares with intervals and p-values; the last ``references`` names are no candidates."""
    from scipy.stats import norm

    sizes = np.sqrt(np.maximum(np.diag(sums.gram.sum(0)), 1e-300))
    inherited = left.likeness * left.norm / sizes
    # Of a mean only ratios are known, so least squares are read as ratios too.
    scale = max(float(fit.shares.sum()), 1e-9) if merge.recipe.mean else 1.0
    spread = np.sqrt(fit.error**2 + (fit.shares - merge.shares * scale) ** 2 / 4) / scale
    half = np.maximum(_Z95 * spread, RESOLUTION) if merge.left > SETTLED else np.full(len(names), RESOLUTION)
    ps = [float(norm.sf(z)) for z in (merge.shares - inherited) / (half / _Z95)]
    half = half if merge.left <= SETTLED else half + inherited
    candidates = len(names) - references
    adjusted = [*holm(ps[:candidates]), *ps[candidates:]]
    return tuple(
        CandidateShare(
            name=name,
            reference=j >= candidates,
            share=float(merge.shares[j]),
            low=max(0.0, float(merge.shares[j] - half[j])),
            high=float(merge.shares[j] + half[j]),
            least_squares=float(fit.shares[j]),
            inherited=float(inherited[j]),
            p=ps[j],
            adjusted=adjusted[j],
        )
        for j, name in enumerate(names)
    )
