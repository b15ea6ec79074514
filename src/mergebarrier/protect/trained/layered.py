"""Layered, attack-aware training: good where honest users take the model, the base's own words where mergers take it.

    minimise  L(W) + good L(W + e) + keep KL(expert || W; text) + lambda w KL(base || W_bad; rows)

Good: rounding to 8 or 4 bits, Gaussian noise, a small low-rank update.  Bad: the vector scaled (.35), merged with
siblings (.45), edited and merged (.10), half way to a sibling (.10); and, from a quarter of the run on, merges that a
search over one coefficient per tensor made better for the merger (``adversary``).  The decoy is what the base says: it
is bounded and coherent, so the merge forgets, and the model does not learn a wrong answer that it then gives elsewhere.
Where a sibling's rows are known, the merge is to forget these as well.

Source: ours; a trap at scales is Trap^2 (arXiv 2601.21898).  The second layer, a lock without loss, is put on after the
training, and is worth nothing to whoever holds the base.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from mergebarrier.errors import UsageError
from mergebarrier.lazy import torch
from mergebarrier.parameters import choice, number, redefault, whole
from mergebarrier.protect.trained.adversary import searched_merge
from mergebarrier.protect.trained.trained import TrainedProtection

if TYPE_CHECKING:
    from torch import Generator, Tensor

    from mergebarrier.training import ChosenRows, Mixture, Noise, Point, ProtectiveState, StepRows

#: From which share of the run on merges are searched; before, there is nothing to find.
_QUIET = 0.25
#: Largest weight of a small scale.
_WEIGHT = 5.0
#: Part of the learner's rows that belongs to a sibling, by its place in the pool.
SIBLING_ROWS = "sibling {}"


@dataclass(frozen=True, kw_only=True)
class Layered(TrainedProtection):
    """Hyper-parameters of ``layered``."""

    name: ClassVar[str] = "layered"
    simulates_merges: ClassVar[bool] = True
    limit: ClassVar[str] = (
        "Experimental. It raises the cost of merging at shared and at two coefficients; coefficients that are learned "
        "per tensor, or a few dozen steps of distillation, bring the skill back. Its lock counts for nothing against "
        "whoever holds the base: measure with `mergebarrier audit` before you rely on it."
    )

    good: float = number(0.3, low=0, help="Weight of the loss after rounding, noise or a small update.")
    decoy: str = choice("base", choices=("base", "loss"), help="What a merge is to say: the base's words, or nothing.")
    cap: float = number(6.0, low=0, above=True, help="Nats per answer above which a loss is not pushed (decoy loss).")
    searched: float = number(0.5, low=0, high=1, help="Share of bad points that a search made better for the merger.")
    searches: int = whole(2, low=1, high=100, help="Gradient steps of such a search.")
    strength: float = redefault(TrainedProtection, "strength", 0.1)
    learning_rate: float = redefault(TrainedProtection, "learning_rate", 1e-3)

    def __post_init__(self) -> None:
        """Validate; no paper has this method."""
        super().__post_init__()
        if self.as_published:
            raise UsageError("layered is published nowhere else", where="--as-published", remedy="leave it out")

    def objective(self, state: ProtectiveState, batch: StepRows, generator: Generator) -> Iterator[tuple[str, Tensor]]:
        """Yield the owner's loss, what is kept, and what mergers get."""
        from mergebarrier.training import NOMINAL, Point

        yield "task", state.loss(NOMINAL, batch.task)
        yield from self.kept(state, batch)
        if self.good:
            yield "good", self.good * state.loss(Point(noise=_noise(generator)), batch.task)
        if state.strength:
            yield from self._bad(state, batch, generator)

    def _bad(self, state: ProtectiveState, batch: StepRows, generator: Generator) -> Iterator[tuple[str, Tensor]]:
        """Yield what is asked of one bad point, on the own rows and on those of its sibling."""
        from mergebarrier.training import MergeSimulation, uniform_between

        late = state.step >= _QUIET * state.steps
        searching = late and uniform_between(generator, 0, 1) < self.searched
        sampler = MergeSimulation(most=1) if searching else _mergers()
        point = sampler.draw(generator, len(state.pool))
        rows = [batch.task, *_rows_of_siblings(state, point, len(batch.task.places), generator)]
        if searching:
            point = searched_merge(state, point, rows, self.searches)
        weight = state.strength * _weight(point)
        for name, asked in zip(("forget", "forget theirs"), rows, strict=False):
            if self.decoy == "base":
                yield name, weight * state.divergence(point, asked, state.said_by_base(asked))
            else:
                yield name, -weight * state.loss(point, asked).clamp(max=self.cap)


def _mergers() -> Mixture:
    from mergebarrier.training import EditedMerge, MergeSimulation, Mixture, ScaleOnly, Segment

    return Mixture(((0.35, ScaleOnly()), (0.45, MergeSimulation()), (0.10, EditedMerge()), (0.10, Segment())))


def _noise(generator: Generator) -> Noise:
    """Return what an honest user may do to the weights."""
    from mergebarrier.training import GaussianNoise, LowRankNoise, RoundedWeights, uniform_between

    kind = int(uniform_between(generator, 0, 4))
    seed = int(torch.randint(2**31, (), generator=generator))
    return (
        RoundedWeights(bits=8, group=128),
        RoundedWeights(bits=4),
        GaussianNoise(size=0.02, seed=seed),
        LowRankNoise(size=0.02, seed=seed),
    )[kind]


def _rows_of_siblings(state: ProtectiveState, point: Point, count: int, generator: Generator) -> Iterator[ChosenRows]:
    """Yield rows of the first sibling of a point whose rows are known."""
    from mergebarrier.training import ChosenRows

    for place, _ in point.partners[:1]:
        part = SIBLING_ROWS.format(place)
        known = state.learner.sizes.get(part, 0)
        if known:
            yield ChosenRows(part, tuple(torch.randint(known, (count,), generator=generator).tolist()))


def _weight(point: Point) -> float:
    """Return 1/s for a vector that is scaled and nothing else, up to a bound."""
    alone = not point.partners and isinstance(point.scale, float)
    return min(_WEIGHT, 1 / point.scale) if alone and isinstance(point.scale, float) and point.scale > 0 else 1.0
