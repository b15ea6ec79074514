"""What was merged into a suspect, with which shares: least squares, then the recipe replayed with its rounding.

    1  c0 by least squares over whole tensors                                                            (``shares``)
    2  every recipe and density replayed on sampled entries, compared bit for bit                        (``search``)
    3  where no recipe is settled, random masks by moments                                         (``random_masks``)
    4  what nothing explains, as a norm; intervals; who is declared, against what an absent one inherits (``declare``)

Two things no method can tell are said and not guessed: weights of a merge that divides by its weights are known up to a
common factor, so they are given with sum 1; and an unknown parent has a norm and no share.

Source: ours.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Final

from mergebarrier.errors import BaseMismatch, NotIdentified
from mergebarrier.lazy import np
from mergebarrier.numerics import LEAST_TAIL
from mergebarrier.parameters import check_values, number, whole
from mergebarrier.provenance.parents.declare import CandidateShare, Unexplained, declared, unexplained
from mergebarrier.provenance.parents.random_masks import RandomMerge, best_random_merge, sampled_fit
from mergebarrier.provenance.parents.recipes import ReplayedRecipe, kept_taus, replay
from mergebarrier.provenance.parents.search import SETTLED, ReplayedMerge, best_merge
from mergebarrier.provenance.parents.shares import fitted, likeness

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from torch import Tensor

    from mergebarrier.provenance.parents.entries import Entries, TensorSums

_FEWEST_TENSORS: Final = 10
#: Correlation with others from which a candidate has no share of its own.
_PARALLEL: Final = 0.9
_LEAST: Final = 1e-9
#: Share by least squares below which a change was taken away; rounding and unknown parents hardly give one.
_TAKEN_AWAY: Final = -0.05
#: Of the base, along itself: strangers of one data set keep a hundredth at most, and what 99 of 100 are pruned of more.
_LEAST_KEPT: Final = 0.05
#: Of the entries that random masks must be able to give, and more than chance gives.
_POSSIBLE, _ABOVE_CHANCE = 0.95, 0.05


@dataclass(frozen=True, kw_only=True)
class ParentsOptions:
    """How the parents of a merge are looked for."""

    level: float = number(1e-3, low=LEAST_TAIL, high=0.5, help="Level at which a candidate is declared a parent.")
    seed: int = whole(0, help="Seed of the entries that are sampled and of the bootstrap.")

    def __post_init__(self) -> None:
        """Validate."""
        check_values(self)


@dataclass(frozen=True, kw_only=True)
class MergeAnatomy:
    """How a suspect is made of candidates.

    Attributes:
      candidates:  shares, intervals, p-values.
      recipe:      the one whose replay comes nearest.
      settled:     whether the replay leaves so little that the recipe is as good as known.
      same_frac:   share of sampled entries that the replay gives bit for bit; of random masks, that some mask gives.
      by_chance_frac: the same of a model that changed nothing (for random masks: with changes shuffled).
      left:        |replay - suspect|^2 over |suspect - base|^2.
      unexplained: what is left.
      by_depth:    shares in the first, second and last third of the tensors.
      dtype:       that the suspect is stored in.
      tensors, entries: how many were looked at.
    """

    candidates: tuple[CandidateShare, ...]
    recipe: ReplayedRecipe
    settled: bool
    same_frac: float
    by_chance_frac: float
    left: float
    unexplained: Unexplained
    by_depth: tuple[tuple[float, ...], ...]
    dtype: str
    tensors: int
    entries: int


def find_parents(
    names: Sequence[str], references: int, sums: TensorSums, entries: Entries, options: ParentsOptions
) -> MergeAnatomy:
    """Take a merge apart.

    Args:
      names:      of the candidates, then of ``references`` models that are known to be no parents.
      references: how many.
      sums:       of whole tensors.
      entries:    sampled.
      options:    level and seed.
    Raises: NotIdentified when the inputs do not determine shares; BaseMismatch for a model of another start.
    """
    _check(names, sums)
    _check_base(names, entries)
    fit = fitted(sums, options.seed)
    signs = np.where(fit.shares < _TAKEN_AWAY, -1.0, 1.0)
    if (signs < 0).any():  # less a change is more of its opposite, by every recipe
        sums, entries = sums.signed(signs), entries.signed(signs)
        fit = fitted(sums, options.seed)
    merge = best_merge(entries, fit.shares)
    chance = float((entries.base == entries.suspect).double().mean())
    stored = replay(entries, kept_taus(entries, merge.recipe), merge.recipe, [float(c) for c in merge.shares])
    rest = _rest_of(entries, stored - entries.base)
    if merge.left > SETTLED:
        masked = best_random_merge(entries, options.seed)
        if masked.possible >= _POSSIBLE and masked.possible - masked.by_chance >= _ABOVE_CHANCE:
            merge, rest, chance = _of_masks(masked, merge), masked.rest_of_replay, masked.by_chance
    left = unexplained(sums, fit, rest)
    return MergeAnatomy(
        candidates=declared(list(names), references, sums, fit, merge, left, signs),
        recipe=merge.recipe,
        settled=merge.left <= SETTLED,
        same_frac=merge.same,
        by_chance_frac=chance,
        left=merge.left,
        unexplained=left,
        by_depth=_by_depth(entries, merge, signs),
        dtype=str(entries.dtype).removeprefix("torch."),
        tensors=len(sums.energy),
        entries=len(entries.base),
    )


def _check(names: Sequence[str], sums: TensorSums) -> None:
    if not sums.energy.sum():
        raise NotIdentified(
            "the suspect is the base", where="SUSPECT", remedy="give a model that differs from its base"
        )
    if len(sums.energy) < _FEWEST_TENSORS:
        raise NotIdentified(
            f"{len(sums.energy)} tensors are too few for intervals", where="SUSPECT",
            remedy=f"give models with at least {_FEWEST_TENSORS} matrices that some candidate changes",
        )  # fmt: skip
    silent = [name for name, energy in zip(names, np.diag(sums.gram.sum(0)), strict=True) if not energy]
    if silent:
        raise NotIdentified("this candidate is the base", where=silent[0], remedy="leave it out")
    cosines = likeness(sums)
    # 1 / (1 - R^2), R the correlation of each candidate with the best mix of all others.
    sizes, directions = np.linalg.eigh(cosines)
    inflation = (directions**2 / np.maximum(sizes, _LEAST)).sum(1)
    worst = int(inflation.argmax())
    if inflation[worst] > 1 / (1 - _PARALLEL**2):
        alike = [0.0 if place == worst else abs(float(one)) for place, one in enumerate(cosines[worst])]
        nearest = max(range(len(names)), key=alike.__getitem__)
        mix = f"all but a mix of the others, which leave {1 / inflation[worst]:.1%} of it"
        same = f"all but the same as {names[nearest]} (cosine {alike[nearest]:.3f})"
        raise NotIdentified(
            f"it is {same if alike[nearest] > _PARALLEL else mix}, so their shares cannot be told apart",
            where=names[worst],
            remedy="leave it out, or what it is made of",
        )


def _check_base(names: Sequence[str], entries: Entries) -> None:
    """Refuse a model of another start: less the base, any two of them have half of their change in common."""
    size = max(float(entries.base.double().square().sum()), _LEAST)
    for name, change in zip(("the suspect", *names), (entries.change, *entries.taus), strict=True):
        kept = 1 + float((change.double() * entries.base.double()).sum()) / size
        model = max(float((change + entries.base).double().square().sum()), _LEAST)
        # A base that is next to nothing beside the model is kept by anybody, and is no base.
        kept *= min(1.0, size / model)
        if kept < _LEAST_KEPT:
            raise BaseMismatch(
                f"it keeps {max(0.0, kept):.0%} of the base, so it was not made from it",
                where=name, remedy="give the base that suspect and candidates were made from",
            )  # fmt: skip


def _rest_of(entries: Entries, change: Tensor) -> float:
    """Return what least squares leave of a replay, as a share of the squared change of the suspect.

    A replay without much of a change rounds most of it away: next to nothing, though all of its own.
    """
    replayed, seen = (float(one.double().square().sum()) for one in (change, entries.change))
    return sampled_fit(entries, change)[1] * replayed / max(seen, 1e-300)


def _of_masks(masked: RandomMerge, merge: ReplayedMerge) -> ReplayedMerge:
    """Return a merge by random masks in the form of one that was replayed."""
    return replace(merge, recipe=masked.recipe, shares=masked.shares, same=masked.possible)


def _by_depth(entries: Entries, merge: ReplayedMerge, signs: NDArray[np.float64]) -> tuple[tuple[float, ...], ...]:
    """Return the shares of every third of the tensors, searched from those of all."""
    if merge.recipe.method.startswith("dare"):
        return ()
    thirds = (entries.slice(part, 3) for part in range(3))
    found = (best_merge(third, merge.shares, [merge.recipe]) for third in thirds)
    return tuple(tuple(float(share) for share in one.shares * signs) for one in found)
