"""DARE: drop entries of each task vector at random, rescale the rest, then add them or elect signs as TIES does.

    S(tau) = f * b * tau,   b_j ~ Bernoulli(density),   f = |tau|_1 / |b tau|_1  ("l1")  or  1 / density  ("inverse")
    merged = theta_0 + lambda * sum_i m_i w_i S(tau_i)

Source: Yu et al., arXiv 2311.03099 ("inverse"); defaults of mergekit 0.1.5 ("l1", no division by the weights).
Differs: the draws belong to (seed, method, model position, tensor, flat index), never to the order of computation.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor

from mergebarrier.merge import _combine, _parameters, _sparsify
from mergebarrier.merge._operands import Operands
from mergebarrier.merge._thinned import ThinnedMerge, check_election


@dataclass(frozen=True, kw_only=True)
class _Dare(ThinnedMerge):
    rescale: str = "l1"
    seed: int = 0

    def __post_init__(self) -> None:
        super().__post_init__()
        _parameters.whole(self.name, "seed", self.seed)

    def sparsifier(self, operands: Operands, index: int, density: float) -> _sparsify.Sparsifier:
        """Keep entries at random."""
        return _sparsify.at_random(operands, index, density, seed=self.seed, method=self.name)


@dataclass(frozen=True, kw_only=True)
class DareLinear(_Dare):
    """Random drop and rescale, then a weighted sum.

    Args:
      weights, coefficient, arith, density, rescale: see ThinnedMerge; rescale is "l1" by default.
      seed:      whole number from 0 to 2^64 - 1.
      normalize: divide by the sum of the weights (a sum below 1e-8 divides by 1).
    Raises: BadMergeParameter.

    Example:
      >>> import torch
      >>> DareLinear().merge(torch.zeros(1), [torch.tensor([1.0]), torch.tensor([2.0])], name="w")
      tensor([3.])
    """

    name: ClassVar[str] = "dare_linear"

    normalize: bool = False

    def __post_init__(self) -> None:
        """Check every parameter."""
        super().__post_init__()
        _parameters.flag(self.name, "normalize", self.normalize)

    def kernel(self, operands: Operands) -> Iterator[Tensor]:
        """Yield the blocks of the sum."""
        return _combine.weighted_sum(
            operands, self.parts(operands), normalize=self.normalize, coefficient=self.coefficient
        )


@dataclass(frozen=True, kw_only=True)
class DareTies(_Dare):
    """Random drop and rescale, then a sum over the entries that agree with the elected sign.

    Args:
      weights, coefficient, arith, density, rescale: see ThinnedMerge; rescale is "l1" by default.
      seed: whole number from 0 to 2^64 - 1.
      elect, elect_zero, reduce: see Ties; reduce is "sum" by default.
    Raises: BadMergeParameter.

    Example:
      >>> import torch
      >>> DareTies().merge(torch.zeros(1), [torch.tensor([-1.0]), torch.tensor([2.0])], name="w")
      tensor([2.])
    """

    name: ClassVar[str] = "dare_ties"

    elect: str = "weighted"
    elect_zero: str = "plus"
    reduce: str = "sum"

    def __post_init__(self) -> None:
        """Check every parameter."""
        super().__post_init__()
        check_election(self.name, self.election)

    @property
    def election(self) -> _combine.Election:
        """The parameters of the election."""
        return _combine.Election(self.elect, self.elect_zero, self.reduce)

    def kernel(self, operands: Operands) -> Iterator[Tensor]:
        """Yield the blocks of the elected sum."""
        return _combine.elected_sum(operands, self.parts(operands), self.election, coefficient=self.coefficient)
