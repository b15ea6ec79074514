"""DARE: drop entries of each task vector at random, rescale the rest, then add them or elect signs as TIES does.

    S(tau) = f * b * tau,   b_j ~ Bernoulli(density),   f = |tau|_1 / |b tau|_1  ("l1")  or  1 / density  ("inverse")
    merged = theta_0 + lambda * sum_i m_i w_i S(tau_i)

Source: Yu et al., arXiv 2311.03099 ("inverse"); defaults of mergekit 0.1.5 ("l1", no division by the weights).
Differs: the draws belong to (seed, method, model position, tensor, flat index), never to the order of computation.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

from mergebarrier.merge import declarations
from mergebarrier.merge.arithmetic import Operands, sparsify
from mergebarrier.merge.methods._thinned import Elected, Summed, ThinnedMerge
from mergebarrier.parameters import redefault


@dataclass(frozen=True, kw_only=True)
class _Dare(ThinnedMerge):
    rescale: str = redefault(ThinnedMerge, "rescale", "l1")
    seed: int = declarations.seed()

    def sparsifiers(self, operands: Operands, densities: Sequence[float]) -> list[sparsify.Sparsifier]:
        """Keep entries at random."""
        return sparsify.at_random(operands, densities, seed=self.seed, method=self.name)


@dataclass(frozen=True, kw_only=True)
class DareLinear(_Dare, Summed):
    """Random drop and rescale, then a weighted sum.

    Raises: BadMergeParameter.

    Example:
      >>> import torch
      >>> DareLinear().merge(torch.zeros(1), [torch.tensor([1.0]), torch.tensor([2.0])], name="w")
      tensor([3.])
    """

    name: ClassVar[str] = "dare_linear"


@dataclass(frozen=True, kw_only=True)
class DareTies(_Dare, Elected):
    """Random drop and rescale, then a sum over the entries that agree with the elected sign.

    Raises: BadMergeParameter.

    Example:
      >>> import torch
      >>> DareTies().merge(torch.zeros(1), [torch.tensor([-1.0]), torch.tensor([2.0])], name="w")
      tensor([2.])
    """

    name: ClassVar[str] = "dare_ties"

    reduce: str = redefault(Elected, "reduce", "sum")
