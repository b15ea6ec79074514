"""Representation surgery: a small correction of the merged model's features for each task, learned without labels.

    z' = z - Up relu(Down z),   minimise mean |z'_merged(x) - z_expert(x)| over unlabelled x, by Adam
    Down (rank, d), Up (d, rank), Up = 0 at the start: the first z' is z

The merged weights stay as they are, so the features of both models are computed once and the fit sees tensors only.

Source: Yang et al., arXiv 2402.02705. Differs: no bias; the rows of a step are drawn by a keyed counter.
"""

import functools
import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn

from mergebarrier.errors import BadMergeData, NonFinite, ShapeMismatch
from mergebarrier.merge.method import refuse
from mergebarrier.numerics import aes
from mergebarrier.parameters import check, number, whole


class Correction(nn.Module):
    """Subtracts Up relu(Down z) from features Float[Tensor, "rows d"]."""

    def __init__(self, down: Tensor, up: Tensor) -> None:
        """Take Float[Tensor, "rank d"] and Float[Tensor, "d rank"]."""
        super().__init__()
        self.down, self.up = nn.Parameter(down), nn.Parameter(up)

    def forward(self, features: Tensor) -> Tensor:
        """Return corrected features."""
        return features - torch.relu(features @ self.down.T) @ self.up.T


@dataclass(frozen=True, kw_only=True)
class Surgery:
    """Learn a correction.

    Raises: BadMergeParameter.

    Example:
      >>> merged = torch.ones(4, 2)
      >>> correction = Surgery(steps=400, learning_rate=0.01).fit(merged, torch.zeros(4, 2))
      >>> bool(correction(merged).abs().max() < 0.1)
      True
    """

    name = "surgery"

    rank: int = whole(16, help="Inner width.", low=1)
    steps: int = whole(1000, help="Steps of Adam; 0 gives the identity.")
    learning_rate: float = number(1e-3, help="Of Adam.", low=0, high=1)
    batch_size: int = whole(16, help="Rows per step.", low=1)
    seed: int = whole(0, help="Of the start of Down and of the order of rows.")

    def __post_init__(self) -> None:
        """Check every declared parameter."""
        check(self, functools.partial(refuse, self.name))

    def fit(self, merged: Tensor, expert: Tensor, *, task: str = "") -> Correction:
        """Fit one task; the head that follows is not asked for.

        Args:
          merged: Float[Tensor, "n d"], features of the merged model, as from ``outputs_of``.
          expert: Float[Tensor, "n d"], features of the task's own expert on the same inputs.
          task:   name, for messages and the random key.
        Returns: Correction in float32, in evaluation mode.
        Raises:  ShapeMismatch, BadMergeData without rows, NonFinite.
        Numerics: float32; the same bits for the same seed, machine and number of threads.
        """
        where = f"{self.name}: {task}" if task else self.name
        if merged.shape != expert.shape or merged.dim() != 2:
            raise ShapeMismatch(
                f"features of shape {tuple(merged.shape)} against {tuple(expert.shape)}",
                where=where,
                remedy="give (rows, width) of the same inputs",
            )
        if not len(merged):
            raise BadMergeData("holds no row", where=where, remedy="give data")
        given, wanted = merged.detach().float(), expert.detach().float()
        if not (torch.isfinite(given).all() and torch.isfinite(wanted).all()):
            raise NonFinite("the features are not finite", where=where, remedy="check the models and the data")
        width = given.shape[1]
        correction = Correction(self._start(task, width), torch.zeros(width, self.rank))
        optimizer = torch.optim.Adam(correction.parameters(), lr=self.learning_rate)
        for step in range(self.steps):
            rows = self._rows(task, step, len(given))
            optimizer.zero_grad()
            loss = (correction(given[rows]) - wanted[rows]).abs().mean()
            torch.autograd.backward(loss)
            optimizer.step()
        return correction.eval().requires_grad_(False)

    def _start(self, task: str, width: int) -> Tensor:
        """Uniform on +-1/sqrt(width), as a linear map of torch starts, but keyed."""
        words = aes.draws(aes.stream_key(self.seed, self.name, 0, task), 0, self.rank * width).astype(np.float32)
        return torch.from_numpy(words).view(self.rank, width) / (aes.LEVELS / 2) / math.sqrt(width)

    def _rows(self, task: str, step: int, n: int) -> Sequence[int]:
        """Take turns: a fresh permutation per epoch, cut into batches; a batch may end an epoch and begin the next."""
        first, rows = step * self.batch_size, []
        for epoch in range(first // n, (first + self.batch_size - 1) // n + 1):
            order = np.argsort(aes.draws(aes.stream_key(self.seed, self.name, epoch + 1, task), 0, n), kind="stable")
            begin, end = max(first - epoch * n, 0), min(first + self.batch_size - epoch * n, n)
            rows += order[begin:end].tolist()
        return rows
