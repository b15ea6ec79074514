"""The task vector that is trained: every entry of it, or two thin factors per matrix.

    full       tau = trained                      the expert published as a whole
    low rank   tau = B A,  B [rows r], A [r cols]  the expert published as an adapter; scaling B scales tau

Both start at the owner's expert: an adapter from the r largest directions of its task vector.  Source: LoRA, arXiv
2106.09685.
"""

import math
from collections.abc import Mapping
from typing import Protocol

import torch
from torch import Tensor

from mergebarrier.training.batches import uniform


class TrainedVector(Protocol):
    """What the optimiser moves.

    Attributes:
      leaves: name -> Float32 tensor that requires a gradient.
    """

    leaves: dict[str, Tensor]

    def task_vector(self) -> dict[str, Tensor]:
        """Return the task vector, name -> Float32 tensor in the shape of the weight, with its graph."""
        ...


class FullVector:
    """Every entry."""

    def __init__(self, tau: Mapping[str, Tensor]) -> None:
        """Start at a task vector."""
        self.leaves = {name: value.detach().float().clone().requires_grad_() for name, value in tau.items()}

    def task_vector(self) -> dict[str, Tensor]:
        """Return what is trained."""
        return dict(self.leaves)


class LowRankVector:
    """Two factors per matrix.

    Args:
      tau:  the task vector of the expert, matrices alone; one that is zero starts with B = 0.
      rank: of the factors.
      seed: of A where nothing says what it should be.
    """

    def __init__(self, tau: Mapping[str, Tensor], *, rank: int, seed: int) -> None:
        """Split the start into factors of equal size."""
        self.leaves = {}
        for name, value in tau.items():
            rows, columns = value.shape
            left, right = torch.zeros(rows, rank), (2 * uniform(seed, name, rank, columns) - 1) / math.sqrt(columns)
            if bool(value.any()):
                u, sizes, v = torch.linalg.svd(value.detach().float().cpu(), full_matrices=False)
                kept = min(rank, len(sizes))
                root = sizes[:kept].sqrt()
                left[:, :kept], right[:kept] = u[:, :kept] * root, (root[:, None] * v[:kept]).double()
            self.leaves[f"{name}|B"] = left.to(value.device).requires_grad_()
            self.leaves[f"{name}|A"] = right.float().to(value.device).requires_grad_()
        self._names = tuple(tau)

    def task_vector(self) -> dict[str, Tensor]:
        """Return the products."""
        return {name: self.leaves[f"{name}|B"] @ self.leaves[f"{name}|A"] for name in self._names}

    def factors(self) -> dict[str, tuple[Tensor, Tensor]]:
        """Return name -> (B, A), detached."""
        return {name: (self.leaves[f"{name}|B"].detach(), self.leaves[f"{name}|A"].detach()) for name in self._names}
