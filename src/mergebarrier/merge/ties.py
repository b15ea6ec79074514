"""TIES: trim each task vector to its largest entries, elect a sign per entry, merge those that agree.

    S(tau) = the max(1, floor(density n)) entries of largest |tau|;  s = sign(sum_i w_i S(tau_i)), +1 for a zero sum
    merged = theta_0 + lambda * sum_i m_i w_i S(tau_i) / sum_i m_i w_i,   m_i = [sign(w_i S(tau_i)) = s]

Source: Yadav et al., arXiv 2306.01708. Semantics of mergekit 0.1.5: the cut is per tensor and signs are elected after
weighting (the paper cuts the whole model and elects unweighted). Differs: ties in the cut are kept in flat order.
"""

from dataclasses import dataclass
from typing import ClassVar

from mergebarrier.merge import _sparsify
from mergebarrier.merge._operands import Operands
from mergebarrier.merge._thinned import Elected


@dataclass(frozen=True, kw_only=True)
class Ties(Elected):
    """Trim, elect sign, merge.

    Args:
      weights, coefficient, arith, density, rescale: see ThinnedMerge.
      elect, elect_zero, reduce: see Elected.
    Raises: BadMergeParameter.

    Example:
      >>> import torch
      >>> Ties(density=0.5).merge(torch.zeros(2), [torch.tensor([1.0, -3.0])], name="w")
      tensor([ 0., -3.])
    """

    name: ClassVar[str] = "ties"

    def sparsifier(self, operands: Operands, index: int, density: float) -> _sparsify.Sparsifier:
        """Keep the largest magnitudes."""
        return _sparsify.by_magnitude(operands, index, density)
