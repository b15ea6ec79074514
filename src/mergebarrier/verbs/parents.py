"""``provenance parents``: a suspect, its base and candidates read tensor by tensor, brought to the base's coordinates.

A model that lies far from the base, and near it once coordinates are estimated, is realigned in memory, circuit by
circuit; whoever wrote the suspect or a candidate with another key is no obstacle.  Matrices that all models hold in one
shape are looked at, but for the vocabulary; entries are sampled from some of them, spread over the depth.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Final

from torch import Tensor

from mergebarrier.checkpoint import Checkpoint
from mergebarrier.circuits import Circuit, describe, require_same
from mergebarrier.errors import ArchError, BaseMismatch, RealignError
from mergebarrier.identity import matched, spelled_like
from mergebarrier.progress import Progress
from mergebarrier.provenance import MergeAnatomy, ParentsOptions, TensorSums, entries_of, find_parents, joined, sums_of
from mergebarrier.realign import GaugeFix, relation
from mergebarrier.verbs.realign import circuit_in_base_coordinates, fit_in_memory

#: Tensors that entries are sampled from.
_SAMPLED: Final = 48


@dataclass
class _InBaseCoordinates:
    """A model whose tensors are read in the coordinates of the base; the last circuit is kept."""

    model: Checkpoint
    realigned: Callable[[Circuit], dict[str, Tensor]] | None = None
    circuits: dict[str, Circuit] = field(default_factory=dict)
    kept: dict[str, Tensor] = field(default_factory=dict)

    @classmethod
    def of(cls, model: Checkpoint, base: Checkpoint, workers: int) -> "_InBaseCoordinates":
        """Compare a model with the base, and fit its coordinates where they are others."""
        view = spelled_like(base, model)
        try:
            architecture = describe(view)
            anchor = matched(view, base)
            require_same(architecture, describe(anchor), where=base.path)
            related = relation(architecture, view, anchor)
            if related.kind != "protected":
                return cls(view)
            fitted = fit_in_memory(architecture, view, anchor, GaugeFix(), workers)
        except (ArchError, RealignError):
            return cls(view)  # what no table knows is compared as it is
        circuits = {name: circuit for circuit in architecture.circuits for name in circuit.tensors}
        return cls(view, lambda circuit: circuit_in_base_coordinates(circuit, view, anchor, fitted), circuits)

    def read(self, name: str) -> Tensor:
        """Return one tensor."""
        if self.realigned is None or name not in self.circuits:
            return self.model.read(name)
        if name not in self.kept:
            self.kept = self.realigned(self.circuits[name])
        return self.kept[name]


@dataclass(frozen=True)
class FoundParents:
    """What was found, and which models had to be realigned first."""

    anatomy: MergeAnatomy
    realigned: tuple[str, ...]


def parents(
    suspect: Checkpoint,
    base: Checkpoint,
    candidates: Sequence[tuple[str, Checkpoint]],
    references: Sequence[tuple[str, Checkpoint]],
    options: ParentsOptions,
    *,
    workers: int = 1,
    progress: Progress | None = None,
) -> FoundParents:
    """Find what was merged into a suspect.

    Args:
      suspect:    a fine-tune or merge of ``base``.
      base:       of all.
      candidates: (name, model) that may be parents.
      references: (name, model) that are known to be none.
      options:    level and seed.
      workers:    threads of a realignment.
      progress:   called with (tensors done, tensors in all).
    Raises: BaseMismatch where a model has other tensors; NotIdentified; CheckpointError.
    """
    named = [("the suspect", suspect), *candidates, *references]
    sides = [_InBaseCoordinates.of(model, base, workers) for _, model in named]
    names = _comparable(base, sides, [name for name, _ in named])
    sums, entries = list[TensorSums](), []
    step = max(1, len(names) // _SAMPLED)
    for number, name in enumerate(names):
        anchor = base.read(name)
        ours, *others = (side.read(name) for side in sides)
        found = sums_of(anchor, others, ours)
        if found.gram.any():
            sums.append(found)
            if number % step == 0:
                entries.append(entries_of(anchor, others, ours, seed=options.seed, name=name))
        if progress is not None:
            progress(number + 1, len(names))
    if not entries:
        raise BaseMismatch("no candidate differs from the base", where=base.path, remedy="give fine-tunes of this base")
    anatomy = find_parents(
        [name for name, _ in named[1:]], len(references), TensorSums.stacked(sums), joined(entries), options
    )  # fmt: skip
    realigned = [name for (name, _), side in zip(named, sides, strict=True) if side.realigned is not None]
    return FoundParents(anatomy, tuple(realigned))


def _comparable(base: Checkpoint, sides: Sequence[_InBaseCoordinates], names: Sequence[str]) -> list[str]:
    """Return the matrices that all models hold, without the vocabulary."""
    vocabulary = base.config.get("vocab_size")
    found = [
        name for name, info in base.tensors.items()
        if len(info.shape) == 2 and info.role == "weight" and info.shape[0] != vocabulary
    ]  # fmt: skip
    for side, model in zip(sides, names, strict=True):
        for name in found:
            theirs = side.model.tensors.get(name)
            if theirs is None or theirs.shape != base.tensors[name].shape:
                what = "lacks it" if theirs is None else f"has shape {theirs.shape}, not {base.tensors[name].shape}"
                raise BaseMismatch(f"{model} {what}", where=name, remedy="give models that were made from this base")
    return found
