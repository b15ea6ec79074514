"""Thin a task vector at random by rank: the larger an entry is within its row, the likelier it stays.

    r = rank of |tau_j| in its row, 0 to c - 1, ties by column;   p_r = density - epsilon + 2 epsilon r / (c - 1)

The draw of an entry belongs to (row, rank), so a row needs one sort of |tau| and column packed into 64 bits, and no
lookup. What stays is kept as bits, so that a tensor is sorted once. A row of one entry takes p = density.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from mergebarrier.merge import _random
from mergebarrier.merge._operands import BLOCK, Operands, require_finite
from mergebarrier.merge._sparsify import KeepAll, KeepBits, KeepNone, Sparsifier

_BITS = 8


@dataclass(frozen=True)
class KeepScaled:
    """Every entry times a factor of its own, zero for those dropped."""

    kept_frac: float
    scale: Tensor

    def thin(self, block: Tensor, start: int, scratch: Tensor) -> Tensor:
        """Multiply by the factors."""
        del scratch
        return block.mul_(self.scale[start : start + block.numel()])


def by_rank(
    operands: Operands, index: int, density: float, epsilon: float, *, seed: int, method: str, inverse: bool
) -> Sparsifier:
    """Keep each entry of task vector ``index`` with the probability of its rank, rounded to 16 bits.

    Args:
      operands: the tensors; a row is their last axis.
      index:    of the expert.
      density:  mean probability; 1 keeps all, 0 nothing.
      epsilon:  half the range of the probability, 0 < density - epsilon, density + epsilon < 1.
      seed:     part of the random key.
      method:   part of the random key.
      inverse:  also divide what stays by its probability, at four bytes of memory per entry.
    """
    if density >= 1:
        return KeepAll()
    if density <= 0:
        return KeepNone()
    columns = operands.columns
    place = np.linspace(0, 1, columns) if columns > 1 else np.array([0.5])
    levels = np.clip(np.rint((density - epsilon + 2 * epsilon * place) * _random.LEVELS), 1, _random.LEVELS - 1)
    threshold = (levels - _random.LEVELS // 2).astype(np.int16)
    key = _random.stream_key(seed, method, index, operands.name)
    bits, scales = [], []
    packed = np.empty((0, columns, 2), dtype="<u4")
    for start, magnitudes in _rows(operands, index):
        if len(packed) < len(magnitudes):
            packed = np.empty((len(magnitudes), columns, 2), dtype="<u4")
        order = torch.from_numpy(_ascending(magnitudes, packed[: len(magnitudes)]))
        drawn = _random.draws(key, start, start + magnitudes.size).reshape(magnitudes.shape)
        stays = drawn < threshold
        if inverse:
            factors = torch.from_numpy(np.where(stays, _random.LEVELS / levels, 0.0).astype(magnitudes.dtype))
            scales.append(torch.empty_like(factors).scatter_(1, order, factors).reshape(-1))
        else:
            mask = torch.empty(order.shape, dtype=torch.bool).scatter_(1, order, torch.from_numpy(stays))
            bits.append(np.packbits(mask.numpy()))
    return KeepScaled(density, torch.cat(scales)) if inverse else KeepBits(density, np.concatenate(bits))


def _rows(operands: Operands, index: int) -> Iterator[tuple[int, NDArray[np.floating]]]:
    """Yield ``(start, magnitudes)`` of whole rows, by eights, so that packed bits of two steps never share a byte."""
    columns = operands.columns
    step = max(_BITS, BLOCK // columns // _BITS * _BITS) * columns
    width = min(step, operands.size)
    base_buffer, tau_buffer = (torch.empty(width, dtype=operands.dtype) for _ in range(2))
    for start in range(0, operands.size, step):
        stop = min(start + step, operands.size)
        base = operands.load_base(start, stop, base_buffer)
        tau = operands.load_task_vector(index, start, stop, base, tau_buffer).abs_()
        require_finite(tau, operands.name, "task vector")
        yield start, (tau if tau.dtype == torch.float64 else tau.float()).numpy().reshape(-1, columns)


def _ascending(magnitudes: NDArray[np.floating], packed: NDArray[np.uint32]) -> NDArray[np.int64]:
    """Return the columns of each row from the smallest to the largest magnitude; equal ones in column order.

    ``packed`` is memory for the sort, Int["rows columns 2"] in little-endian order.
    """
    if magnitudes.dtype != np.float32:
        return np.argsort(magnitudes, axis=1, kind="stable")
    packed[..., 0] = np.arange(magnitudes.shape[1])
    packed[..., 1] = magnitudes.view(np.uint32)  # bits of non-negative floats sort as the floats do
    packed.view("<u8")[..., 0].sort(axis=1)
    return packed[..., 0].astype(np.int64)
