"""Thin a task vector at random by rank: the larger an entry is within its row, the likelier it stays.

    r = rank of |tau_j| in its row, 0 to c - 1, ties by column;   p_r = density - epsilon + 2 epsilon r / (c - 1)

The draw of an entry belongs to (row, rank), so a row needs the order of its columns and no ranks. What stays is kept as
bits, so that a tensor is sorted once. A row of one entry takes p = density.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

from mergebarrier.lazy import np, torch
from mergebarrier.merge.arithmetic.operands import BLOCK, Operands, require_finite
from mergebarrier.merge.arithmetic.sparsify import KeepAll, KeepBits, KeepNone, Sparsifier
from mergebarrier.numerics import aes

if TYPE_CHECKING:
    from numpy.typing import NDArray


_BITS = 8
_PACKED_COLUMNS = 2048  # in longer rows too many bits would be left out


@dataclass(frozen=True)
class KeepScaled:
    """Every entry times a factor of its own, zero for those dropped."""

    kept_frac: float
    scale: torch.Tensor

    def thin(self, block: torch.Tensor, start: int, scratch: torch.Tensor) -> torch.Tensor:
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
    levels = np.clip(np.rint((density - epsilon + 2 * epsilon * place) * aes.LEVELS), 1, aes.LEVELS - 1)
    threshold = (levels - aes.LEVELS // 2).astype(np.int16)
    key = aes.stream_key(seed, method, index, operands.name)
    bits, scales = [], []
    for start, magnitudes in _rows(operands, index):
        order = _ascending(magnitudes)
        drawn = aes.draws(key, start, start + magnitudes.size).reshape(magnitudes.shape)
        stays = drawn < threshold
        if inverse:
            factors = torch.from_numpy(np.where(stays, aes.LEVELS / levels, 0.0).astype(magnitudes.dtype))
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


def _ascending(magnitudes: NDArray[np.floating]) -> torch.Tensor:
    """Return the columns of each row from the smallest to the largest magnitude; equal ones in column order.

    Bits of non-negative floats sort as the floats do. Upper bits and column fit 32 bits together, which sort fastest;
    the rows in which the bits left out would have mattered are sorted again.
    """
    if magnitudes.dtype != np.float32:
        return torch.from_numpy(np.argsort(magnitudes, axis=1, kind="stable"))
    bits, columns = magnitudes.view(np.uint32), magnitudes.shape[1]
    if columns > _PACKED_COLUMNS:
        return _by_counting(bits)
    width = max(1, (columns - 1).bit_length())
    packed = (bits >> (width - 1) << width) | np.arange(columns, dtype=np.uint32)
    packed.sort(axis=1)
    order = torch.from_numpy((packed & ((1 << width) - 1)).astype(np.int64))
    found = torch.from_numpy(bits.view(np.int32)).gather(1, order).numpy()
    wrong = np.flatnonzero((found[:, 1:] < found[:, :-1]).any(axis=1))
    if len(wrong):
        order[torch.from_numpy(wrong)] = _by_counting(bits[wrong])
    return order


def _by_counting(bits: NDArray[np.uint32]) -> torch.Tensor:
    """Sort rows by their lower, then by their upper 16 bits: 16 bits are sorted by counting, in linear time."""
    low = torch.from_numpy(np.argsort(bits.astype(np.uint16), axis=1, kind="stable"))
    high = torch.from_numpy((bits >> 16).astype(np.int16)).gather(1, low)
    return low.gather(1, torch.from_numpy(np.argsort(high.numpy(), axis=1, kind="stable")))
