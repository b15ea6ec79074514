"""What the methods on task vectors share: weights, and for TIES, DARE, DELLA and Breadcrumbs how each is thinned first.

    weighted  lambda, w_i per expert, and the precision of the arithmetic
    thinned   cut to a density and rescaled; then summed, or summed where the entries agree with an elected sign

A method is one of these with a rule of its own for what stays.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import ClassVar

from mergebarrier.lazy import torch
from mergebarrier.merge import declarations
from mergebarrier.merge.arithmetic import Operand, Operands, combine, sparsify
from mergebarrier.merge.method import Merge, Need, per_expert
from mergebarrier.parameters import choice, numbers

ARITHS = ("fp32", "input")


@dataclass(frozen=True, kw_only=True)
class TaskVectorMerge(Merge):
    """What the methods on task vectors share.

    Raises: BadMergeParameter.
    """

    uses_base: ClassVar[bool] = True

    weights: tuple[float, ...] = declarations.weights()
    coefficient: float = declarations.coefficient()
    arith: str = choice(
        "fp32",
        choices=ARITHS,
        help="Precision of the arithmetic; input rounds every step to the dtype of the base.",
        gradient=False,
    )

    def check_count(self, count: int) -> None:
        """Check the number of experts and of weights."""
        super().check_count(count)
        self.spread_weights(count)

    def spread_weights(self, count: int) -> tuple[float, ...]:
        """Return one weight per expert."""
        return per_expert(self.name, "weights", self.weights, count, 1.0)

    def arithmetic(self, used: Sequence[Operand]) -> torch.dtype:
        """Return the base's dtype for arith "input"."""
        return used[0].dtype if self.arith == "input" else super().arithmetic(used)


@dataclass(frozen=True, kw_only=True)
class ThinnedMerge(TaskVectorMerge):
    """A method on thinned task vectors.

    Raises: BadMergeParameter.
    """

    need: ClassVar[Need] = "tensor"

    density: float | tuple[float, ...] = numbers(
        1.0, help="Kept share of each task vector, per model or for all.", low=0, high=1, recipe="density"
    )
    rescale: str = choice(
        "none",
        choices=sparsify.RESCALES,
        help="What thinning must not change: the norm named, the expected value (inverse), or nothing.",
        recipe="rescale",
        words=("l1", "none"),
    )

    def check_count(self, count: int) -> None:
        """Check the number of experts, weights and densities."""
        super().check_count(count)
        self.spread_densities(count)

    def spread_densities(self, count: int) -> tuple[float, ...]:
        """Return one density per expert."""
        return per_expert(self.name, "density", self.density, count, 1.0)

    @abstractmethod
    def sparsifiers(self, operands: Operands, densities: Sequence[float]) -> list[sparsify.Sparsifier]:
        """Choose the entries of every task vector that stay."""

    def parts(self, operands: Operands) -> list[combine.Part]:
        """Prepare every task vector: which entries stay, and by what they are rescaled."""
        sparsifiers = self.sparsifiers(operands, self.spread_densities(len(operands.experts)))
        weights = self.spread_weights(len(operands.experts))
        return [
            combine.Part(*part) for part in zip(weights, sparsifiers, self.factors(operands, sparsifiers), strict=True)
        ]

    def factors(self, operands: Operands, sparsifiers: Sequence[sparsify.Sparsifier]) -> list[float]:
        """Return what the kept entries of each task vector are multiplied with."""
        return sparsify.factors(operands, sparsifiers, self.rescale)


@dataclass(frozen=True, kw_only=True)
class Summed(ThinnedMerge):
    """A weighted sum of thinned task vectors."""

    normalize: bool = declarations.normalize()

    def kernel(self, operands: Operands) -> Iterator[torch.Tensor]:
        """Yield the blocks of the sum."""
        return combine.weighted_sum(
            operands, self.parts(operands), normalize=self.normalize, coefficient=self.coefficient
        )


@dataclass(frozen=True, kw_only=True)
class Elected(ThinnedMerge):
    """A sum of thinned task vectors over the entries that agree with an elected sign."""

    elect: str = choice(
        "weighted",
        choices=combine.ELECTS,
        help="What signs are elected over: weighted task vectors (mergekit) or bare ones (the TIES paper, PEFT).",
        gradient=False,
    )
    elect_zero: str = choice(
        "plus",
        choices=combine.ELECT_ZEROS,
        help="Sign of a zero sum: plus (mergekit), or the sign that most entries of the tensor have.",
        gradient=False,
    )
    reduce: str = choice(
        "weighted_mean",
        choices=combine.REDUCES,
        help="What is made of the entries that agree; mean divides by their count (PEFT).",
        recipe="normalize",
        words=("weighted_mean", "sum"),
    )

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
