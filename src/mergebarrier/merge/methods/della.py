"""DELLA: drop entries at random, small ones of a row more often, rescale the rest, then elect signs or add.

    S(tau) = f * b * tau,   b_j ~ Bernoulli(p_j),   p_j = density - epsilon + 2 epsilon (rank of |tau_j| in its row)
    f = |tau|_1 / |b tau|_1  ("l1")  or  1 / p_j  ("inverse"), rank from 0 (smallest) to 1;  a vector is one row
    merged = theta_0 + lambda * sum_i m_i w_i S(tau_i) [/ sum_i m_i w_i]

Source: Deep et al., arXiv 2406.11617 ("inverse"); defaults of mergekit 0.1.5 ("l1"). Differs: the draws belong to
(seed, method, model position, tensor, row, rank); a row is the last axis also with more than two axes (mergekit: the
second); a row of one entry takes p = density (mergekit divides 0 by 0).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import ClassVar

from mergebarrier.errors import BadMergeParameter
from mergebarrier.merge import declarations
from mergebarrier.merge.arithmetic import Operands, Sparsifier, ranks
from mergebarrier.merge.method import per_expert
from mergebarrier.merge.methods._thinned import Elected, Summed, ThinnedMerge
from mergebarrier.parameters import numbers, redefault


@dataclass(frozen=True, kw_only=True)
class _Della(ThinnedMerge):
    rescale: str = redefault(ThinnedMerge, "rescale", "l1")
    epsilon: float | tuple[float, ...] = numbers(
        0.15, help="Half the range of the probability to stay, per model or for all.", low=0, high=0.5, recipe="epsilon"
    )
    seed: int = declarations.seed()

    def check_count(self, count: int) -> None:
        """Check the counts, and that every probability lies between 0 and 1."""
        super().check_count(count)
        for density, epsilon in zip(self.spread_densities(count), self._epsilons(count), strict=True):
            if 0 < density < 1 and not (density - epsilon > 0 and density + epsilon < 1):
                raise BadMergeParameter(
                    f"density {density:g} and epsilon {epsilon:g} give probabilities from {density - epsilon:g} to "
                    f"{density + epsilon:g}",
                    where=self.name,
                    remedy="give density - epsilon above 0 and density + epsilon below 1",
                )

    def _epsilons(self, count: int) -> tuple[float, ...]:
        return per_expert(self.name, "epsilon", self.epsilon, count, 0.15)

    def sparsifiers(self, operands: Operands, densities: Sequence[float]) -> list[Sparsifier]:
        """Keep entries at random, by rank."""
        rule = partial(ranks.by_rank, operands, seed=self.seed, method=self.name, inverse=self.rescale == "inverse")
        pairs = zip(densities, self._epsilons(len(densities)), strict=True)
        return [rule(index, density, epsilon) for index, (density, epsilon) in enumerate(pairs)]

    def factors(self, operands: Operands, sparsifiers: Sequence[Sparsifier]) -> list[float]:
        """Return the common factors; "inverse" has one per entry, applied with the mask."""
        return super().factors(operands, sparsifiers) if self.rescale != "inverse" else [1.0] * len(sparsifiers)


@dataclass(frozen=True, kw_only=True)
class Della(_Della, Elected):
    """Drop by rank and rescale, then a weighted mean over the entries that agree with the elected sign.

    Raises: BadMergeParameter.

    Example:
      >>> import torch
      >>> Della().merge(torch.zeros(1), [torch.tensor([-1.0]), torch.tensor([2.0])], name="w")
      tensor([2.])
    """

    name: ClassVar[str] = "della"


@dataclass(frozen=True, kw_only=True)
class DellaLinear(_Della, Summed):
    """Drop by rank and rescale, then a weighted sum.

    Raises: BadMergeParameter.

    Example:
      >>> import torch
      >>> DellaLinear().merge(torch.zeros(1), [torch.tensor([1.0]), torch.tensor([2.0])], name="w")
      tensor([3.])
    """

    name: ClassVar[str] = "della_linear"
