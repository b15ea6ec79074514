"""Intervals of shares, and who is declared a parent: never without what an absent candidate would inherit.

    low_j   = c_j - half_j - leak(rho+, 6),   high_j = c_j + half_j + leak(rho-, 1);   c_j -+ .01 where settled
    half_j  = 1.96 sqrt(se_j^2 + ((c0_j - c_j) / 2)^2), at least .01
    leak_j(rho, k) = max(rho excess / |tau_j|, min(k spread_j, excess / (2 |tau_j|)))
    p_j     = upper normal tail of (c_j - leak_j(rho+, 6)) / (half_j / 1.96);   Holm over candidates
    share   = c - G^-1 (rho0 excess |tau|), inside its interval, where neither settled nor of elected signs or masks

``excess`` is the norm of what the replay does not explain.  rho+ is the largest |cosine| among candidates and
references and rho- the largest of a negative one, both at least .06: fine-tunes of one base are never quite orthogonal,
so a test that takes them to be declares parents that are not there.  They mostly agree, so an unknown parent raises
shares rather than lowers them.  Few candidates say little of a cosine with somebody unknown, and drawing tensors again
shows nothing of what all tensors have in common; but what leaks is uneven, so how far single tensors differ bounds it
too.  Six times that was chosen on merges of the experts of one base, and judged on those of others (``bench_parents``).
The interval is about what was fitted; the share that is named first is less what an unknown parent adds most likely,
which is as like each candidate as they are to each other: rho0, their mean cosine.  Where signs are elected its votes
take about as much away, and of random masks that explain the entries nothing is unknown: those stay as fitted.

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
    from numpy.typing import NDArray

    from mergebarrier.provenance.parents.entries import TensorSums

RESOLUTION: Final = 0.01
_LEAST_LIKENESS: Final = 0.06
_Z95: Final = 1.96
#: Of the spread of single tensors, below a share and above it; and of the excess, that an unknown parent leaks at most.
_SPREADS_BELOW, _SPREADS_ABOVE, _MOST_LEAKED = 6.0, 1.0, 0.5


@dataclass(frozen=True, kw_only=True)
class CandidateShare:
    """What is known of one candidate.

    Attributes:
      name:      of the candidate; ``reference`` one that is known to be no parent.
      share:     weight in the merge less what it likely inherited, negative where it was taken away; ``low`` and
                 ``high`` its interval of 95 %.
      least_squares: the share without the replay.
      inherited: what an absent candidate could show of an unknown parent.
      z:         standard errors by which the fitted share is above what it could inherit.
      p:         of no part in the merge; ``adjusted`` by Holm over the candidates.
    """

    name: str
    reference: bool
    share: float
    low: float
    high: float
    least_squares: float
    inherited: float
    z: float
    p: float
    adjusted: float


@dataclass(frozen=True, kw_only=True)
class Unexplained:
    """What is left.

    Attributes:
      change_norm: of suspect - base, over the tensors that were looked at.
      norm:        of what neither candidates nor rounding explain; ``share`` of the change.
      likeness:    rho, the largest |cosine| of two of the candidates and references.
    """

    change_norm: float
    norm: float
    share: float
    likeness: float


def unexplained(sums: TensorSums, fit: LeastSquares, rest_of_replay: float) -> Unexplained:
    """Return what is left of the change once the rest that rounding alone leaves is taken off."""
    energy = float(sums.energy.sum())
    norm = math.sqrt(max(0.0, fit.rest - rest_of_replay) * energy)
    rho = float(np.abs(_cosines(sums)).max())
    change = math.sqrt(energy)
    return Unexplained(change_norm=change, norm=norm, share=norm / change if change else 0.0, likeness=rho)


def _cosines(sums: TensorSums) -> NDArray[np.float64]:
    """Return the cosines of different candidates, and the least that an unknown one may have, of either sign."""
    cosines = likeness(sums)
    return np.append(cosines[~np.eye(len(cosines), dtype=bool)], (-_LEAST_LIKENESS, _LEAST_LIKENESS))


def _leak(cosine: float, spreads: float, sums: TensorSums, fit: LeastSquares, excess: float) -> NDArray[np.float64]:
    """Return how much of a share may come from an unknown parent."""
    most = excess / np.sqrt(np.maximum(np.diag(sums.gram.sum(0)), 1e-300))
    return np.maximum(cosine * most, np.minimum(spreads * fit.spread, _MOST_LEAKED * most))


def _likely(sums: TensorSums, excess: float) -> NDArray[np.float64]:
    """Return how much least squares give each candidate of an unknown parent that is as like them as they are alike."""
    cosines, gram = likeness(sums), sums.gram.sum(0)
    others = cosines[~np.eye(len(cosines), dtype=bool)]
    alike = max(0.0, float(others.mean())) if len(others) else 0.0
    return np.asarray(np.linalg.lstsq(gram, alike * excess * np.sqrt(np.diag(gram)), rcond=None)[0])


def declared(
    names: list[str],
    references: int,
    sums: TensorSums,
    fit: LeastSquares,
    merge: ReplayedMerge,
    left: Unexplained,
    signs: NDArray[np.float64],
) -> tuple[CandidateShare, ...]:
    """Return shares with intervals and p-values; the last ``references`` names are no candidates.

    Changes that were taken away have the sign -1 and were looked at as their opposites.
    """
    from scipy.stats import norm

    # Of a mean only ratios are known, so least squares are read as ratios too.
    scale = max(float(fit.shares.sum()), 1e-9) if merge.recipe.mean else 1.0
    spread = np.sqrt(fit.error**2 + (fit.shares - merge.shares * scale) ** 2 / 4) / scale
    settled = merge.left <= SETTLED
    half = np.full(len(names), RESOLUTION) if settled else np.maximum(_Z95 * spread, RESOLUTION)
    inherited = _leak(left.likeness, _SPREADS_BELOW, sums, fit, left.norm) / scale
    above = _leak(float(-_cosines(sums).min()), _SPREADS_ABOVE, sums, fit, left.norm) / scale
    zs = (merge.shares - inherited) / (half / _Z95)
    ps = [min(1.0, float(norm.sf(z)) * (2 if sign < 0 else 1)) for z, sign in zip(zs, signs, strict=True)]
    low, high = (half, half) if settled else (half + inherited, half + above)
    lowest = np.maximum(merge.shares - low, 0.0)
    ends = np.stack([lowest, merge.shares + high]) * signs
    fits = settled or merge.recipe.elects or merge.recipe.method.startswith("dare")
    likely = 0.0 if fits else _likely(sums, left.norm) / scale
    shares = np.maximum(merge.shares - likely, lowest) * signs
    candidates = len(names) - references
    adjusted = [*holm(ps[:candidates]), *ps[candidates:]]
    return tuple(
        CandidateShare(
            name=name,
            reference=j >= candidates,
            share=float(shares[j]),
            low=float(ends[:, j].min()),
            high=float(ends[:, j].max()),
            least_squares=float(fit.shares[j] * signs[j]),
            inherited=float(inherited[j]),
            z=float(zs[j]),
            p=ps[j],
            adjusted=adjusted[j],
        )
        for j, name in enumerate(names)
    )
