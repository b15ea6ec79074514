"""What mergers do to a task vector before they add it: keep the largest entries, cut its rank, drop entries at random.

    edit(tau) = mask * tau,  or  Q Q^T tau        mask and Q are constants, so gradients reach what is left of tau

Source: TIES (arXiv 2306.01708), DARE (arXiv 2311.03099), SVD merging (arXiv 2412.00081).  Differs: the space of a rank
cut is found by two passes over random columns, since an exact one would cost more than the step.
"""

from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

from mergebarrier.training.batches import uniform


class Edit(Protocol):
    """A change of a task vector, tensor by tensor."""

    def edited(self, tau: Tensor, name: str) -> Tensor:
        """Return the changed tensor, with its graph."""
        ...


@dataclass(frozen=True, kw_only=True)
class LargestKept:
    """Keep the largest ``share`` of the entries of each tensor."""

    share: float

    def edited(self, tau: Tensor, name: str) -> Tensor:
        """Mask the smallest entries."""
        del name
        sizes = tau.detach().abs().flatten()
        kept = max(1, round(self.share * sizes.numel()))
        return tau * (tau.detach().abs() >= sizes.topk(kept).values[-1])


@dataclass(frozen=True, kw_only=True)
class RankCut:
    """Keep ``rank`` directions of each matrix."""

    rank: int
    seed: int

    def edited(self, tau: Tensor, name: str) -> Tensor:
        """Project the columns; a vector stays."""
        if tau.dim() != 2:
            return tau
        fixed = tau.detach()
        rank = min(self.rank, *fixed.shape)
        start = (uniform(self.seed, f"rank|{name}", fixed.shape[1], rank) - 0.5).to(fixed)
        space = torch.linalg.qr(fixed @ (fixed.T @ torch.linalg.qr(fixed @ start).Q)).Q
        return torch.matmul(space, space.T @ tau)


@dataclass(frozen=True, kw_only=True)
class Dropped:
    """Drop ``share`` of the entries and scale up the rest."""

    share: float
    seed: int

    def edited(self, tau: Tensor, name: str) -> Tensor:
        """Mask entries by a coin."""
        kept = (uniform(self.seed, f"drop|{name}", *tau.shape) >= self.share).to(tau)
        return tau * kept / (1 - self.share)
