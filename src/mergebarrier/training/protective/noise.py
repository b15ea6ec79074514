"""What happens to honest weights on their way to a user: rounding to few bits, small noise, a small low-rank update.

    W + e,   e = round(W) - W  |  size * |W| * g / |g|            a constant: gradients pass straight through

A protection must leave the model good at these points.  Source: straight-through estimator, arXiv 1308.3432; rounding
to the nearest in groups with one scale each.
"""

import math
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import torch
from torch import Tensor

from mergebarrier.numerics import draws


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
    """Return Float32 standard normal numbers that belong to a seed and a label.

    Box and Muller, two numbers of a word: halves of it are a radius, up to 5.7, and an angle.  A model asks for as many
    as it has weights, so all is done in float32 and in place.
    """
    count = math.prod(shape)
    drawn = draws.words(("training", seed, f"noise|{label}"), (count + 1) // 2)
    halves = (drawn >> np.uint64(40), (drawn & np.uint64(0xFFFFFFFF)) >> np.uint64(8))
    radius, angle = (torch.from_numpy(half.astype(np.float32)).mul_(2.0**-24) for half in halves)
    radius, angle = radius.neg_().log1p_().mul_(-2).sqrt_(), angle.mul_(2 * math.pi)
    return torch.cat([radius * angle.cos(), radius.mul_(angle.sin_())])[:count].view(shape)


def _sized(noise: Tensor, weights: Tensor, size: float) -> Tensor:
    return torch.mul(noise, size * weights.norm() / noise.norm().clamp_min(torch.finfo(noise.dtype).tiny))
