"""Shares by least squares over whole tensors, how sure they are, and what no candidate explains.

    c0 = (sum G)^-1 sum h;   se by drawing tensors again;   rest^2 = e - 2 c0 h + c0 G c0
    spread_j^2 = sum_t w_t (c_t - c0)_j^2 / sum_t w_t,   c_t of one tensor,  w_t = 1 / (G_t^-1)_jj

An unknown parent that is like a candidate adds to its share in every tensor, in some more than in others: a common part
that no drawing of tensors shows, so how far tensors differ is kept beside the error of their mean.

Where the suspect was stored in a short dtype this is biased: most updates of a small fine-tune are one unit in the last
place, and rounding swallows or doubles them.  It is the start of the search, and the answer in float32.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from mergebarrier.lazy import np
from mergebarrier.numerics import draws

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from mergebarrier.provenance.parents.entries import TensorSums

_BOOTSTRAPS: Final = 200
_RIDGE: Final = 1e-12


@dataclass(frozen=True)
class LeastSquares:
    """A fit of all tensors together.

    Attributes:
      shares: of every candidate; ``error`` standard errors, ``spread`` deviations of single tensors.
      rest:   share of the squared change that is left.
    """

    shares: NDArray[np.float64]
    error: NDArray[np.float64]
    spread: NDArray[np.float64]
    rest: float


def solved(sums: TensorSums) -> NDArray[np.float64]:
    """Return c0 of some tensors."""
    gram, cross = sums.gram.sum(0), sums.cross.sum(0)
    ridge = _RIDGE * max(float(np.trace(gram)), 1e-300) / len(cross)
    return np.asarray(np.linalg.solve(gram + ridge * np.eye(len(cross)), cross))


def rest_of(sums: TensorSums, shares: NDArray[np.float64]) -> float:
    """Return the share of the squared change that shares leave."""
    energy, cross = float(sums.energy.sum()), sums.cross.sum(0)
    left = energy - 2 * float(shares @ cross) + float(shares @ sums.gram.sum(0) @ shares)
    return max(0.0, left / energy) if energy else 0.0


def fitted(sums: TensorSums, seed: int) -> LeastSquares:
    """Fit all tensors, and draw them again for the errors."""
    count = len(sums.energy)
    picks = draws.below(("provenance", seed, "bootstrap"), count, _BOOTSTRAPS, count).numpy()
    again = [solved(type(sums)(sums.gram[pick], sums.cross[pick], sums.energy[pick])) for pick in picks]
    shares = solved(sums)
    return LeastSquares(shares, np.std(again, axis=0), _spread(sums, shares), rest_of(sums, shares))


def _spread(sums: TensorSums, shares: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return how far the shares of single tensors lie from those of all, by what each tensor says of a candidate."""
    sizes = np.trace(sums.gram, axis1=1, axis2=2)
    told = sizes > 0
    ridge = _RIDGE * sizes[told, None, None] * np.eye(len(shares))
    inverse = np.linalg.inv(sums.gram[told] + ridge)
    alone = np.einsum("tij,tj->ti", inverse, sums.cross[told])
    weight = 1 / np.diagonal(inverse, axis1=1, axis2=2)
    return np.asarray(np.sqrt((weight * (alone - shares) ** 2).sum(0) / weight.sum(0)))


def likeness(sums: TensorSums) -> NDArray[np.float64]:
    """Return the cosines of the candidates' task vectors with each other."""
    gram = sums.gram.sum(0)
    size = np.sqrt(np.maximum(np.diag(gram), 1e-300))
    return np.asarray(gram / np.outer(size, size))
