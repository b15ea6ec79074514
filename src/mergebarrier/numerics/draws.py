"""Keyed random draws: a number depends on the name of its stream, never on when or in which order it is drawn.

    key = SHA-256("room|seed|label")[:16];   word_i = output i of Philox4x64 under key;   uniform = (word >> 11) 2^-53

A stream is named by a tuple that begins with the room that draws: ``("poison", seed, "start|0")``.  Two rooms, seeds or
labels never share a stream, and nothing here reads or writes the random state of a library.

Source: Salmon et al., SC 2011 (Philox).  Differs: nothing; numpy's generator under a key of our own.
"""

from __future__ import annotations

import hashlib
import math
from typing import TYPE_CHECKING, TypeAlias

from mergebarrier.lazy import np, torch

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from torch import Tensor

Stream: TypeAlias = tuple[str | int, ...]


def words(stream: Stream, n: int) -> NDArray[np.uint64]:
    """Return the first ``n`` raw 64-bit words of a stream."""
    name = "|".join(map(str, stream))
    key = int.from_bytes(hashlib.sha256(name.encode()).digest()[:16], "little")
    return np.random.Philox(key=key).random_raw(n)


def uniform(stream: Stream, *shape: int, low: float = 0.0, high: float = 1.0) -> Tensor:
    """Return Float64[Tensor, "*shape"], uniform on [low, high)."""
    drawn = words(stream, math.prod(shape))
    drawn >>= np.uint64(11)
    unit = drawn.astype(np.float64)
    unit *= 2.0**-53
    if (low, high) != (0.0, 1.0):
        unit *= high - low
        unit += low
    return torch.from_numpy(unit).view(shape)


def order(stream: Stream, n: int) -> Tensor:
    """Return a permutation of 0 .. n - 1, Int64[Tensor, "n"]."""
    return torch.from_numpy(np.argsort(words(stream, n), kind="stable").astype(np.int64))


def below(stream: Stream, bound: int, *shape: int, bits: int = 64) -> Tensor:
    """Return Int64[Tensor, "*shape"], uniform on 0 .. bound - 1.

    Args:
      stream: where from.
      bound:  at least 1; the bias of the remainder is below bound / 2^bits.
      shape:  of the result.
      bits:   leading bits of every word that count.
    """
    leading = words(stream, math.prod(shape)) >> np.uint64(64 - bits)
    return torch.from_numpy((leading % np.uint64(bound)).astype(np.int64)).view(shape)
