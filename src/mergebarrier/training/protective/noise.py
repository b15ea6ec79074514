"""What happens to honest weights on their way to a user: rounding to few bits, small noise, a small low-rank update.

    W + e,   e = round(W) - W  |  size * |W| * g / |g|            a constant: gradients pass straight through

A protection must leave the model good at these points.  Source: straight-through estimator, arXiv 1308.3432; rounding
to the nearest in groups with one scale each.
"""

import math
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

from mergebarrier.training.batches import uniform


class Noise(Protocol):
    """A small change of finished weights, matrix by matrix."""

    def added(self, weights: Tensor, name: str) -> Tensor:
        """Return what is added."""
        ...


@dataclass(frozen=True, kw_only=True)
class RoundedWeights:
    """Round to ``bits`` bits, ``group`` neighbours of a row sharing a scale."""

    bits: int
    group: int = 32

    def added(self, weights: Tensor, name: str) -> Tensor:
        """Return the rounding error; a row that groups do not divide has one scale."""
        del name
        group = self.group if weights.shape[-1] % self.group == 0 else weights.shape[-1]
        cells = weights.reshape(-1, group)
        largest = cells.abs().amax(-1, keepdim=True).clamp_min(torch.finfo(weights.dtype).tiny)
        step = largest / (2.0 ** (self.bits - 1) - 1)
        return ((cells / step).round() * step - cells).reshape(weights.shape)


@dataclass(frozen=True, kw_only=True)
class GaussianNoise:
    """Noise of norm ``size`` times that of the matrix."""

    size: float
    seed: int

    def added(self, weights: Tensor, name: str) -> Tensor:
        """Return the noise."""
        return _sized(_normal(self.seed, name, *weights.shape).to(weights), weights, self.size)


@dataclass(frozen=True, kw_only=True)
class LowRankNoise:
    """A random update of rank ``rank`` and norm ``size`` times that of the matrix."""

    size: float
    seed: int
    rank: int = 8

    def added(self, weights: Tensor, name: str) -> Tensor:
        """Return the update; of a tensor of more axes the first stands against the rest."""
        flat = weights.flatten(1)
        left, right = (
            _normal(self.seed, f"{name}|{side}", n, self.rank).to(weights) for side, n in enumerate(flat.shape)
        )
        return _sized((left @ right.T).view(weights.shape), weights, self.size)


def _normal(seed: int, label: str, *shape: int) -> Tensor:
    """Return standard normal numbers that belong to a seed and a label (Box and Muller)."""
    radius, angle = uniform(seed, f"noise|{label}", 2, *shape)
    # In place: a model has as many numbers as weights, and every new table of them costs as much as a function of it.
    normal: Tensor = radius.neg_().log1p_().mul_(-2).sqrt_().mul_(angle.mul_(2 * math.pi).cos_())
    return normal


def _sized(noise: Tensor, weights: Tensor, size: float) -> Tensor:
    return torch.mul(noise, size * weights.norm() / noise.norm().clamp_min(torch.finfo(noise.dtype).tiny))
