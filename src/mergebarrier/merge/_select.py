"""The k largest magnitudes of a streamed tensor, exactly, with ties kept in flat order.

A sample brackets the k-th largest value between two of its own values; one pass counts what lies above, on and between
them, and only the few values strictly between are looked at again, by the same rule. bfloat16 task vectors tie
massively (a few thousand distinct values): sorting is unstable there and ``numpy.partition`` ten times slower than on
random data, while counting decides at once. Among entries equal to the threshold those of smallest flat index stay:

    kept = {i : |x_i| > threshold} | {i : |x_i| = threshold, i <= last},     #kept = k

Source: the bracket is Floyd and Rivest's SELECT (CACM 18(3), 1975). Differs: streamed, and ties are counted apart.
"""

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

SAMPLE = 1 << 13
_SPREAD = 4.0  # standard deviations of the sampled rank; a miss costs a second pass, never the result
_GOLDEN = 0.6180339887498949

Magnitudes = NDArray[np.floating]
Walk = Callable[[], Iterator[Magnitudes]]


@dataclass(frozen=True)
class Cut:
    """Keep what is above ``threshold``, and what equals it up to flat index ``last``."""

    threshold: float
    last: int


class _Found(NamedTuple):
    threshold: float
    quota: int  # how many of the entries equal to the threshold stay
    ties: list[int]  # how many of them each block holds


def places(size: int) -> NDArray[np.int64]:
    """Return well-spread indices to sample, none for a small tensor; a stride could meet one column only."""
    return (np.arange(SAMPLE if size > SAMPLE else 0) * (int(size * _GOLDEN) | 1)) % size


def _bracket(sample: Magnitudes, size: int, k: int) -> tuple[float, float]:
    share = k / size
    rank = share * len(sample)
    margin = _SPREAD * math.sqrt(len(sample) * share * (1 - share)) + 2
    low, high = len(sample) - math.ceil(rank + margin), len(sample) - math.floor(rank - margin)
    ordered = np.sort(sample)
    return (
        float(ordered[low]) if low >= 0 else 0.0,
        float(ordered[high]) if high < len(sample) else math.inf,
    )


def _by_sorting(walk: Walk, k: int) -> _Found:
    blocks = [block.copy() for block in walk()]
    values = np.concatenate(blocks)
    threshold = float(np.sort(values)[len(values) - k])
    quota = k - int(np.count_nonzero(values > threshold))
    return _Found(threshold, quota, [int(np.count_nonzero(block == threshold)) for block in blocks])


def _find(walk: Walk, sample: Magnitudes, size: int, k: int) -> _Found:
    if size <= SAMPLE:
        return _by_sorting(walk, k)
    low, high = _bracket(sample, size, k)
    while True:
        above, at_high, at_low = 0, [], []
        between: list[Magnitudes] = []
        for block in walk():
            above += int(np.count_nonzero(block > high))
            at_high.append(int(np.count_nonzero(block == high)))
            at_low.append(int(np.count_nonzero(block == low)))
            between.append(block[np.flatnonzero((block > low) & (block < high))])
        rest = k - above
        inside = sum(map(len, between))
        if rest <= 0:
            low, high = high, math.inf
        elif rest <= sum(at_high):
            return _Found(high, rest, at_high)
        elif rest <= sum(at_high) + inside:
            return _find_inside(between, rest - sum(at_high))
        elif rest <= sum(at_high) + inside + sum(at_low):
            return _Found(low, rest - sum(at_high) - inside, at_low)
        else:
            low, high = 0.0, low


def _find_inside(parts: list[Magnitudes], k: int) -> _Found:
    values = np.concatenate(parts)
    found = _find(lambda: iter([values]), values[places(len(values))], len(values), k)
    return found._replace(ties=[int(np.count_nonzero(part == found.threshold)) for part in parts])


def largest(walk: Walk, sample: Magnitudes, size: int, k: int) -> Cut:
    """Find the cut that keeps exactly ``k`` of ``size`` magnitudes.

    Args:
      walk:   gives a fresh pass over the magnitudes in flat order, float32 or float64, finite, non-negative; a yielded
        array may be a reused buffer.
      sample: the magnitudes at ``places(size)``; only speed depends on their values.
      size:   number of magnitudes, >= 1.
      k:      how many to keep, 1 <= k <= size.
    """
    threshold, quota, ties = _find(walk, sample, size, k)
    start = 0
    for block, count in zip(walk(), ties, strict=True):
        if count >= quota:
            return Cut(threshold, start + int(np.flatnonzero(block == threshold)[quota - 1]))
        quota -= count
        start += len(block)
    raise AssertionError("two walks over the same tensor differ")
