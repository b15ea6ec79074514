"""The task vector that is trained: every entry of it, or two thin factors per matrix.

    full       tau = trained                      the expert published as a whole
    low rank   tau = B A,  B [rows r], A [r cols]  the expert published as an adapter; scaling B scales tau

Both start at the owner's expert: an adapter from the r largest directions of its task vector.  Source: LoRA, arXiv
2106.09685.
"""

import math
from collections.abc import Collection, Mapping
from typing import Final, Protocol

import torch
from torch import Tensor

from mergebarrier.training.batches import uniform

_SPARE: Final = 8
_PASSES: Final = 3


class TrainedVector(Protocol):
    """What the optimiser moves.

    Attributes:
      leaves: name -> Float32 tensor that requires a gradient.
    """

    leaves: dict[str, Tensor]

    @property
    def names(self) -> Collection[str]:
        """Which weights are moved."""
        ...

    def leaves_of(self, name: str) -> list[Tensor]:
        """Return the leaves behind one weight."""
        ...

    def factors_of(self, name: str) -> tuple[Tensor, Tensor] | None:
        """Return B and A of one weight, where its task vector is their product."""
        ...

    def entry(self, name: str) -> Tensor:
        """Return the task vector of one weight, Float32 in its shape, with its graph."""
        ...


class FullVector:
    """Every entry."""

    def __init__(self, tau: Mapping[str, Tensor]) -> None:
        """Start at a task vector."""
        self.leaves = {name: value.detach().float().clone().requires_grad_() for name, value in tau.items()}

    @property
    def names(self) -> Collection[str]:
        """Return those of the leaves."""
        return self.leaves.keys()

    def leaves_of(self, name: str) -> list[Tensor]:
        """Return the one there is."""
        return [self.leaves[name]]

    def factors_of(self, name: str) -> None:
        """Return none."""
        del name

    def entry(self, name: str) -> Tensor:
        """Return what is trained."""
        return self.leaves[name]


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
                kept, (u, sizes, v) = min(rank, rows, columns), _largest(value.detach().float().cpu(), rank, seed, name)
                root = sizes[:kept].sqrt()
                left[:, :kept], right[:kept] = u[:, :kept] * root, (root[:, None] * v[:kept]).double()
            self.leaves[f"{name}|B"] = left.to(value.device).requires_grad_()
            self.leaves[f"{name}|A"] = right.float().to(value.device).requires_grad_()
        self.names: Collection[str] = tuple(tau)

    def leaves_of(self, name: str) -> list[Tensor]:
        """Return B and A."""
        return list(self.factors_of(name))

    def factors_of(self, name: str) -> tuple[Tensor, Tensor]:
        """Return B and A."""
        return self.leaves[f"{name}|B"], self.leaves[f"{name}|A"]

    def entry(self, name: str) -> Tensor:
        """Return the product."""
        b, a = self.factors_of(name)
        return b @ a

    def factors(self) -> dict[str, tuple[Tensor, Tensor]]:
        """Return name -> (B, A), detached."""
        return {name: (b.detach(), a.detach()) for name in self.names for b, a in (self.factors_of(name),)}


def _largest(value: Tensor, rank: int, seed: int, name: str) -> tuple[Tensor, Tensor, Tensor]:
    """Return (U, sizes, V^T) of the largest directions, by passes over a few more random columns than are asked for.

    Exact for an expert that was trained as an adapter of no higher rank, at a fiftieth of the time of all directions.
    """
    wide = min(rank + _SPARE, *value.shape)
    space = value @ uniform(seed, f"{name}|largest", value.shape[1], wide).float()
    for _ in range(_PASSES):
        space = value @ (value.T @ torch.linalg.qr(space).Q)
    space = torch.linalg.qr(space).Q
    u, sizes, v = torch.linalg.svd(space.T @ value, full_matrices=False)
    return space @ u, sizes, v
