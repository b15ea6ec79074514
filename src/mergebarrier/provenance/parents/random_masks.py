"""Merges that drop at random (DARE): the mask is unknown, so shares are fitted by moments and checked entry by entry.

    c <- c + (c0 - LS(replay(c), fresh mask)) / (1 + k / 3),  14 rounds, mean of the last 6;  density by the rest of LS
    possible = share of entries that some choice of masks gives, to 3 % of what is summed and one unit of rounding;
               by chance: with the changes shuffled

A mask makes each entry one of 2^m values, and a merge that keeps the norm of each tensor scales them by a per cent or
two.  A suspect all of whose entries are possible was made like this, or by a recipe that gives the same values; an
unknown parent leaves entries that no choice gives.

Source: DARE arXiv 2311.03099.  DELLA (arXiv 2406.11617) drops at random too, with another chance per entry.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import product
from typing import TYPE_CHECKING, Final

from mergebarrier.lazy import np, torch
from mergebarrier.numerics import draws
from mergebarrier.provenance.parents.recipes import ReplayedRecipe, replay

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from torch import Tensor

    from mergebarrier.provenance.parents.entries import Entries

_ROUNDS, _KEPT_ROUNDS = 14, 6
_DENSITIES: Final = (0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9)
_FEW: Final = 60_000
_SLACK: Final = 0.03
#: Most parents whose masks are enumerated.
_MOST_PARENTS: Final = 6


@dataclass(frozen=True)
class RandomMerge:
    """A merge whose mask is unknown.

    Attributes:
      recipe:   "dare_linear" or "dare_ties", with its density.
      shares:   of every candidate.
      rest, rest_of_replay: shares of the squared change that least squares leave, of the suspect and of the replay.
      possible: share of entries that some mask gives; ``by_chance`` with the changes shuffled.
    """

    recipe: ReplayedRecipe
    shares: NDArray[np.float64]
    rest: float
    rest_of_replay: float
    possible: float
    by_chance: float


def best_random_merge(entries: Entries, seed: int) -> RandomMerge:
    """Fit both kinds at every density, and return the one whose entries are possible and whose rest agrees."""
    few = entries.some(_FEW)
    start, rest = sampled_fit(few, few.change)
    found = []
    for method in ("dare_linear", "dare_ties"):
        for density in _DENSITIES:
            recipe = ReplayedRecipe(method=method, density=density)
            shares, replayed = _by_moments(few, recipe, start, seed)
            found.append((abs(replayed - rest), recipe, shares, replayed))
    found.sort(key=lambda one: one[0])
    judged = []
    for _, recipe, shares, replayed in found[:4]:
        possible = _possible(few, recipe, shares, few.change)
        shuffled = few.change[draws.order(("provenance", seed, "shuffle"), len(few.base))]
        chance = _possible(few, recipe, shares, shuffled)
        judged.append(RandomMerge(recipe, shares, rest, replayed, possible, chance))
    return max(judged, key=lambda one: one.possible - one.by_chance - abs(one.rest - one.rest_of_replay))


def sampled_fit(entries: Entries, change: Tensor) -> tuple[NDArray[np.float64], float]:
    """Return shares, and the share of the squared change that they leave."""
    taus = entries.taus.double()
    gram, cross = (taus @ taus.T).numpy(), (taus @ change.double()).numpy()
    energy = max(float(change.double().square().sum()), 1e-300)
    shares = np.linalg.lstsq(gram, cross, rcond=None)[0]
    return shares, max(0.0, 1 - float(shares @ cross) / energy)


def _by_moments(
    entries: Entries, recipe: ReplayedRecipe, start: NDArray[np.float64], seed: int
) -> tuple[NDArray[np.float64], float]:
    """Return the shares whose replay has the least squares of the suspect, and the rest of that replay."""
    shares, history, rests = start.copy(), [], []
    for number in range(_ROUNDS):
        stored = _random_replay(entries, recipe, np.clip(shares, 0, None), seed + number)
        seen, rest = sampled_fit(entries, stored - entries.base)
        shares = shares + (start - seen) / (1 + number / 3)
        history.append(shares)
        rests.append(rest)
    kept = np.mean(history[-_KEPT_ROUNDS:], axis=0)
    return np.clip(kept, 0, None), float(np.mean(rests[-_KEPT_ROUNDS:]))


def _random_replay(entries: Entries, recipe: ReplayedRecipe, shares: NDArray[np.float64], seed: int) -> Tensor:
    drawn = draws.uniform(("provenance", seed, "masks"), *entries.taus.shape)
    kept = entries.taus * (drawn < recipe.density) / recipe.density
    return replay(entries, kept, recipe, [float(share) for share in shares])


def _possible(entries: Entries, recipe: ReplayedRecipe, shares: NDArray[np.float64], change: Tensor) -> float:
    """Return the share of entries whose change some mask gives, of those that some candidate would change."""
    used = [j for j, share in enumerate(shares) if share > 0.02][:_MOST_PARENTS]
    wanted = entries.base + change
    hit, unit = torch.zeros(len(wanted), dtype=torch.bool), torch.finfo(entries.dtype).eps
    for stored, summed in _all_masks(entries, recipe, shares, used):
        slack = _SLACK * summed + unit * wanted.abs()
        hit |= (stored - wanted).abs() <= slack
    moved = (entries.taus[used] != 0).any(0) | (change != 0)
    return float(hit[moved].double().mean()) if bool(moved.any()) else 0.0


def _all_masks(
    entries: Entries, recipe: ReplayedRecipe, shares: NDArray[np.float64], used: list[int]
) -> Iterator[tuple[Tensor, Tensor]]:
    """Give what each choice of masks stores, and the sizes of what it sums."""
    weights = torch.from_numpy(shares).float()[:, None]
    for choice in product((0.0, 1.0), repeat=len(used)):
        mask = torch.zeros(len(entries.taus), 1)
        mask[used, 0] = torch.tensor(choice) / recipe.density
        kept = entries.taus * mask
        yield replay(entries, kept, recipe, [float(share) for share in shares]), (kept * weights).abs().sum(0)
