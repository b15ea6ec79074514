"""The recipe and its weights whose replay comes nearest to the suspect, rounding included.

    Q(c) = |replay(c) - suspect|^2 / |suspect - base|^2,   c >= 0;   same = share of entries equal bit for bit
    c <- least squares with the signs elected at c, until it stays
    one weight at a time by steps .1, .05, .02, .01, .004, .002, on a grid of .002, from that c and from a coarse grid

Every recipe is tried on few entries first, the best on more, and with the last steps on all.  A weight that is exactly
.5 lies on a tie of rounding, where Q jumps, so the search walks a grid that holds it.  Entries on the edge of what is
dropped do not move the shares; how many are equal is counted over all.

Source: ours.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Final

from mergebarrier.lazy import np
from mergebarrier.provenance.parents.recipes import (
    RECIPES,
    ReplayedRecipe,
    kept_taus,
    regressors,
    replay,
    undecided,
)

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from torch import Tensor

    from mergebarrier.provenance.parents.entries import Entries

GRID: Final = 0.002
_STEPS: Final = (0.1, 0.05, 0.02, 0.01, 0.004, 0.002)
_ROUNDS: Final = 4
_FEW, _SOME, _BEST = 12_000, 48_000, 3
#: Steps that are walked on some entries; the last ones are on all.
_COARSE: Final = 4
_FITS, _FEWEST_ENTRIES = 8, 2_000
#: Below it the recipe is settled.
SETTLED: Final = 0.01


@dataclass(frozen=True)
class ReplayedMerge:
    """A recipe with its weights.

    Attributes:
      recipe: without weights.
      shares: weight of every candidate.
      left:   Q; ``same`` share of sampled entries that are equal bit for bit.
    """

    recipe: ReplayedRecipe
    shares: NDArray[np.float64]
    left: float
    same: float


class _Objective:
    """Q of one recipe on some entries."""

    def __init__(self, entries: Entries, recipe: ReplayedRecipe, used: Sequence[int] | None = None) -> None:
        decided, kept = ~undecided(entries, recipe, used or []), kept_taus(entries, recipe)
        entries = entries.unmasked()
        if _FEWEST_ENTRIES <= int(decided.sum()) < len(decided):
            places = decided.nonzero()[:, 0]
            entries, kept = entries.at(places), kept[:, places]
        self._entries, self._recipe, self._kept = entries, recipe, kept
        self._energy = max(float(entries.change.double().square().sum()), 1e-300)

    def fitted(self, shares: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return the best of some rounds of least squares, signs and divisors taken from the round before."""
        best, least = shares, self(shares)
        for _ in range(_FITS):
            parts = regressors(self._kept, self._recipe, [float(share) for share in shares]).double()
            gram, cross = (parts @ parts.T).numpy(), (parts @ self._entries.change.double()).numpy()
            found = np.clip(np.linalg.lstsq(gram, cross, rcond=None)[0], 0, None)
            if self._recipe.mean and found.sum():
                found = found / found.sum()
            stays = bool(np.abs(found - shares).max() < GRID / 100)
            shares, left = found, self(found)
            if left < least:
                best, least = found, left
            if stays:
                break
        return best

    def stored(self, shares: NDArray[np.float64]) -> Tensor:
        return replay(self._entries, self._kept, self._recipe, [float(share) for share in shares])

    def __call__(self, shares: NDArray[np.float64]) -> float:
        return float((self.stored(shares) - self._entries.suspect).double().square().sum()) / self._energy

    def same(self, shares: NDArray[np.float64]) -> float:
        return float((self.stored(shares) == self._entries.suspect).double().mean())


def best_merge(
    entries: Entries, start: NDArray[np.float64], recipes: Sequence[ReplayedRecipe] = RECIPES
) -> ReplayedMerge:
    """Search all recipes.

    Args:
      entries: sampled.
      start:   shares of least squares.
      recipes: that are tried.
    """
    few, some = entries.some(_FEW), entries.some(_SOME)
    tried = []
    for recipe in recipes:
        objective = _Objective(few, recipe)
        shares, left = _walk(objective, start, recipe, steps=_STEPS[:3])
        tried.append((left, recipe, shares))
    tried.sort(key=lambda one: one[0])
    finals = []
    for _, recipe, shares in tried[:_BEST]:
        for stepwise in (False, True):
            chosen = replace(recipe, stepwise=stepwise)
            used = np.flatnonzero(shares > GRID).tolist()
            near, _ = _walk(_Objective(some, chosen, used), shares, chosen, steps=_STEPS[:_COARSE], starts=(1.0,))
            found, left = _walk(_Objective(entries, chosen, used), near, chosen, steps=_STEPS[_COARSE:], starts=())
            scale = found.sum() if chosen.mean and found.sum() else 1.0
            same = _Objective(entries, chosen).same(found)
            finals.append(ReplayedMerge(chosen, found / scale, left, same))
            if same == 1.0:  # nothing comes nearer
                return finals[-1]
    return min(finals, key=lambda one: (-one.same, one.left))


def _walk(
    objective: _Objective,
    start: NDArray[np.float64],
    recipe: ReplayedRecipe,
    *,
    steps: Sequence[float],
    starts: Sequence[float] = (1.0, 1.3, 1.7),
) -> tuple[NDArray[np.float64], float]:
    """Walk from the best start on a grid, and from the fit: rounding and elected signs each hide one of the two."""
    plain = np.clip(start, 0, None)
    if recipe.mean and plain.sum():
        plain = plain / plain.sum()
    grid = [*(np.round(plain * scale / 0.05) * 0.05 for scale in starts), np.round(plain / 0.01) * 0.01, plain]
    begun = (min(grid, key=objective), objective.fitted(plain))
    return min((_descended(objective, one, steps) for one in begun), key=lambda one: one[1])


def _descended(
    objective: _Objective, start: NDArray[np.float64], steps: Sequence[float]
) -> tuple[NDArray[np.float64], float]:
    """Move one weight at a time while that helps."""
    best, left = start, objective(start)
    for step in steps:
        for _ in range(_ROUNDS):
            better = False
            for j in range(len(best)):
                for move in (step, -step):
                    trial = best.copy()
                    trial[j] = max(0.0, round((trial[j] + move) / GRID) * GRID)
                    value = objective(trial)
                    if value < left - 1e-9:
                        best, left, better = trial, value, True
            if not better:
                break
    return best, left
