"""The k largest magnitudes of a streamed tensor, exactly, with ties kept in flat order.

A sample brackets the k-th largest value between two of its own values; one pass, for several k at once, counts what
lies above, on and between them, and only the few values strictly between are looked at again, by the same rule.
bfloat16 task vectors tie massively (a few thousand distinct values): sorting is unstable there and ``numpy.partition``
ten times slower than on random data, while counting decides at once. Among entries equal to the threshold those of
smallest flat index stay:

    kept = {i : |x_i| > threshold} | {i : |x_i| = threshold, i <= last},     #kept = k

Source: the bracket is Floyd and Rivest's SELECT (CACM 18(3), 1975). Differs: streamed, and ties are counted apart.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, NamedTuple, TypeAlias

from mergebarrier.lazy import np

if TYPE_CHECKING:
    from numpy.typing import NDArray


SAMPLE = 1 << 13
_SHARE = 256  # of a large tensor, one entry in so many is sampled
_SPREAD = 4.0  # standard deviations of the sampled rank; a miss costs a second pass, never the result
_GOLDEN = 0.6180339887498949

Magnitudes: TypeAlias = "NDArray[np.floating]"
Walk: TypeAlias = "Callable[[int], Iterator[Magnitudes]]"


@dataclass(frozen=True)
class Cut:
    """Keep what is above ``threshold``, and what equals it up to flat index ``last``."""

    threshold: float
    last: int


class _Found(NamedTuple):
    threshold: float
    quota: int  # how many of the entries equal to the threshold stay
    ties: list[int]  # how many of them each block holds
    length: int  # of a block


@dataclass
class _LargestSearch:
    """One cut that is looked for, and what a pass has counted for it."""

    k: int
    low: float
    high: float
    length: int = 0
    masks: NDArray[np.bool_] = field(default_factory=lambda: np.empty((2, 0), bool))
    above: int = 0
    at_high: list[int] = field(default_factory=list)
    at_low: list[int] = field(default_factory=list)
    between: list[Magnitudes] = field(default_factory=list)

    def count(self, block: Magnitudes) -> None:
        if not self.length:
            # Masks are reused: memory of this size that is fresh costs more than the comparison.
            self.length, self.masks = len(block), np.empty((2, len(block)), bool)
        first, second = self.masks[:, : len(block)]
        above = int(np.count_nonzero(np.greater(block, self.high, out=first)))
        from_low = int(np.count_nonzero(np.greater_equal(block, self.low, out=first)))
        from_high = int(np.count_nonzero(np.greater_equal(block, self.high, out=first)))
        inside = block[:0]
        if self.low < self.high:
            np.greater(block, self.low, out=second)
            inside = block[np.flatnonzero(np.logical_xor(first, second, out=first))]
        self.above += above
        self.at_high.append(from_high - above)
        self.at_low.append(from_low - from_high - len(inside))
        self.between.append(inside)


def places(size: int) -> NDArray[np.int64]:
    """Return well-spread indices to sample, none for a small tensor; a stride could meet one column only."""
    count = max(SAMPLE, size // _SHARE) if size > SAMPLE else 0
    return (np.arange(count) * (int(size * _GOLDEN) | 1)) % size


def _bracket(ordered: Magnitudes, size: int, k: int) -> tuple[float, float]:
    """Return two values of the sorted sample between which the k-th largest lies, almost surely."""
    share, n = k / size, len(ordered)
    margin = _SPREAD * math.sqrt(n * share * (1 - share)) + 2
    low, high = n - math.ceil(share * n + margin), n - math.floor(share * n - margin)
    return float(ordered[low]) if low >= 0 else 0.0, float(ordered[high]) if high < n else math.inf


def _by_sorting(walk: Walk, k: int) -> _Found:
    blocks = [block.copy() for block in walk(0)]
    values = np.concatenate(blocks)
    threshold = float(np.sort(values)[len(values) - k])
    quota = k - int(np.count_nonzero(values > threshold))
    return _Found(threshold, quota, [int(np.count_nonzero(block == threshold)) for block in blocks], len(blocks[0]))


def _find(walk: Walk, sample: Magnitudes, size: int, ks: Sequence[int]) -> list[_Found]:
    if size <= SAMPLE:
        return [_by_sorting(walk, k) for k in ks]
    ordered = np.sort(sample)
    searches = {i: _LargestSearch(k, *_bracket(ordered, size, k)) for i, k in enumerate(ks)}
    found: dict[int, _Found] = {}
    while searches:
        for block in walk(0):
            for search in searches.values():
                search.count(block)
        for i, search in list(searches.items()):
            result = _settled(search)
            if isinstance(result, _LargestSearch):
                searches[i] = result
            else:
                found[i] = result
                del searches[i]
    return [found[i] for i in range(len(ks))]


def _settled(search: _LargestSearch) -> _Found | _LargestSearch:
    """Return what the counts tell, or where to look next when the sample misled."""
    rest = search.k - search.above
    at_high, at_low, inside = sum(search.at_high), sum(search.at_low), sum(map(len, search.between))
    if rest <= 0:
        return _LargestSearch(search.k, search.high, math.inf)
    if rest <= at_high:
        return _Found(search.high, rest, search.at_high, search.length)
    if rest <= at_high + inside:
        return _find_inside(search, rest - at_high)
    if rest <= at_high + inside + at_low:
        return _Found(search.low, rest - at_high - inside, search.at_low, search.length)
    return _LargestSearch(search.k, 0.0, search.low)


def _find_inside(search: _LargestSearch, k: int) -> _Found:
    values = np.concatenate(search.between)
    (found,) = _find(lambda first: iter([values][first:]), values[places(len(values))], len(values), [k])
    ties = [int(np.count_nonzero(part == found.threshold)) for part in search.between]
    return found._replace(ties=ties, length=search.length)


def largest(walk: Walk, sample: Magnitudes, size: int, ks: Sequence[int]) -> list[Cut]:
    """Find the cuts that keep exactly ``k`` of ``size`` magnitudes, for every k at once.

    Args:
      walk:   gives a fresh pass over the magnitudes in flat order from a block of that number on, float32 or float64,
        finite, non-negative; a yielded array may be a reused buffer; all blocks but the last have one length.
      sample: the magnitudes at ``places(size)``; only speed depends on their values.
      size:   number of magnitudes, >= 1.
      ks:     how many to keep, 1 <= k <= size each.
    """
    return [_cut(walk, found) for found in _find(walk, sample, size, ks)]


def _cut(walk: Walk, found: _Found) -> Cut:
    quota = found.quota
    for number, count in enumerate(found.ties):
        if count >= quota:
            block = next(walk(number))
            last = int(np.flatnonzero(block == found.threshold)[quota - 1])
            return Cut(found.threshold, number * found.length + last)
        quota -= count
    raise AssertionError("two walks over the same tensor differ")
