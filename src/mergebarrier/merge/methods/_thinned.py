"""What TIES, DARE, DELLA and Breadcrumbs share: task vectors thinned to a density, rescaled, then combined."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import ClassVar

from mergebarrier.lazy import torch
from mergebarrier.merge.arithmetic import Operands, checks, combine, sparsify
from mergebarrier.merge.method import Need
from mergebarrier.merge.methods.task_arithmetic import TaskVectorMerge


@dataclass(frozen=True, kw_only=True)
class ThinnedMerge(TaskVectorMerge):
    """A method on thinned task vectors.

    Args:
      weights, coefficient, arith: see TaskVectorMerge.
      density: kept fraction of each task vector, 0 to 1, one per expert or one for all.
      rescale: "l1" (restore the L1 norm; "l2" and "linf" theirs), "inverse" (divide by the density) or "none".
    Raises: BadMergeParameter.
    """

    need: ClassVar[Need] = "tensor"

    density: float | tuple[float, ...] = 1.0
    rescale: str = "none"

    def __post_init__(self) -> None:
        """Check every parameter."""
        super().__post_init__()
        object.__setattr__(self, "density", checks.one_or_each(self.name, "density", self.density, 0, 1))
        checks.choice(self.name, "rescale", self.rescale, sparsify.RESCALES)

    def check_count(self, count: int) -> None:
        """Check the number of experts, weights and densities."""
        super().check_count(count)
        self.spread_densities(count)

    def spread_densities(self, count: int) -> tuple[float, ...]:
        """Return one density per expert."""
        return checks.per_expert(self.name, "density", self.density, count, 1.0)

    @abstractmethod
    def sparsifier(self, operands: Operands, index: int, density: float) -> sparsify.Sparsifier:
        """Choose the entries of task vector ``index`` that stay."""

    def parts(self, operands: Operands) -> list[combine.Part]:
        """Prepare every task vector: which entries stay, and by what they are rescaled."""
        densities = self.spread_densities(len(operands.experts))
        sparsifiers = [self.sparsifier(operands, index, density) for index, density in enumerate(densities)]
        weights = self.spread_weights(len(operands.experts))
        return [
            combine.Part(*part) for part in zip(weights, sparsifiers, self.factors(operands, sparsifiers), strict=True)
        ]

    def factors(self, operands: Operands, sparsifiers: Sequence[sparsify.Sparsifier]) -> list[float]:
        """Return what the kept entries of each task vector are multiplied with."""
        return sparsify.factors(operands, sparsifiers, self.rescale)


@dataclass(frozen=True, kw_only=True)
class Summed(ThinnedMerge):
    """A weighted sum of thinned task vectors.

    Args:
      normalize: divide by the sum of the weights (a sum below 1e-8 divides by 1).
    """

    normalize: bool = False

    def __post_init__(self) -> None:
        """Check every parameter."""
        super().__post_init__()
        checks.flag(self.name, "normalize", self.normalize)

    def kernel(self, operands: Operands) -> Iterator[torch.Tensor]:
        """Yield the blocks of the sum."""
        return combine.weighted_sum(
            operands, self.parts(operands), normalize=self.normalize, coefficient=self.coefficient
        )


@dataclass(frozen=True, kw_only=True)
class Elected(ThinnedMerge):
    """A sum of thinned task vectors over the entries that agree with an elected sign.

    Args:
      elect:      "weighted" (mergekit) or "unweighted" (the TIES paper, PEFT): what the sign is elected over.
      elect_zero: "plus" (mergekit) or "majority" (the sign most entries of the tensor have), for a zero sum.
      reduce:     "weighted_mean", "mean" (PEFT: by count), "sum" or "max", over the agreeing entries.
    """

    elect: str = "weighted"
    elect_zero: str = "plus"
    reduce: str = "weighted_mean"

    def __post_init__(self) -> None:
        """Check every parameter."""
        super().__post_init__()
        checks.choice(self.name, "elect", self.elect, combine.ELECTS)
        checks.choice(self.name, "elect_zero", self.elect_zero, combine.ELECT_ZEROS)
        checks.choice(self.name, "reduce", self.reduce, combine.REDUCES)

    def kernel(self, operands: Operands) -> Iterator[torch.Tensor]:
        """Yield the blocks of the elected sum."""
        tie_sign = operands.survey.tie_sign if operands.survey is not None else None
        return combine.elected_sum(
            operands, self.parts(operands), self.election, coefficient=self.coefficient, tie_sign=tie_sign
        )

    @property
    def election(self) -> combine.Election:
        """How signs are elected."""
        return combine.Election(self.elect, self.elect_zero, self.reduce)
