"""What TIES and DARE share: task vectors thinned to a density and rescaled before they are combined."""

from abc import abstractmethod
from dataclasses import dataclass
from typing import ClassVar

from mergebarrier.merge import _combine, _parameters, _sparsify
from mergebarrier.merge._merge import Need
from mergebarrier.merge._operands import Operands
from mergebarrier.merge.task_arithmetic import TaskVectorMerge


@dataclass(frozen=True, kw_only=True)
class ThinnedMerge(TaskVectorMerge):
    """A method on thinned task vectors.

    Args:
      weights, coefficient, arith: see TaskVectorMerge.
      density: kept fraction of each task vector, 0 to 1, one per expert or one for all.
      rescale: "l1" (restore the L1 norm), "inverse" (divide by the density) or "none".
    Raises: BadMergeParameter.
    """

    need: ClassVar[Need] = "tensor"

    density: float | tuple[float, ...] = 1.0
    rescale: str = "none"

    def __post_init__(self) -> None:
        """Check every parameter."""
        super().__post_init__()
        if isinstance(self.density, int | float):
            object.__setattr__(self, "density", _parameters.number(self.name, "density", self.density, 0, 1))
        else:
            object.__setattr__(self, "density", _parameters.numbers(self.name, "density", self.density, 0, 1))
        _parameters.choice(self.name, "rescale", self.rescale, _sparsify.RESCALES)

    def check_count(self, count: int) -> None:
        """Check the number of experts, weights and densities."""
        super().check_count(count)
        self.spread_densities(count)

    def spread_densities(self, count: int) -> tuple[float, ...]:
        """Return one density per expert."""
        values = self.density if isinstance(self.density, tuple) else (self.density,)
        return _parameters.per_expert(self.name, "density", values, count, 1.0)

    @abstractmethod
    def sparsifier(self, operands: Operands, index: int, density: float) -> _sparsify.Sparsifier:
        """Choose the entries of task vector ``index`` that stay."""

    def parts(self, operands: Operands) -> list[_combine.Part]:
        """Prepare every task vector: which entries stay, and by what they are rescaled."""
        count = len(operands.experts)
        parts = []
        for index, (weight, density) in enumerate(
            zip(self.spread_weights(count), self.spread_densities(count), strict=True)
        ):
            sparsifier = self.sparsifier(operands, index, density)
            factor = _sparsify.factor(operands, index, sparsifier, self.rescale)
            parts.append(_combine.Part(weight, sparsifier, factor))
        return parts


def check_election(method: str, election: _combine.Election) -> None:
    """Refuse unknown values of the election's parameters."""
    _parameters.choice(method, "elect", election.elect, _combine.ELECTS)
    _parameters.choice(method, "elect_zero", election.elect_zero, _combine.ELECT_ZEROS)
    _parameters.choice(method, "reduce", election.reduce, _combine.REDUCES)
