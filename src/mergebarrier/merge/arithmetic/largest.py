"""The k largest magnitudes of a streamed tensor, exactly, with ties kept in flat order.

A sample brackets the k-th largest value between two of its own values; one pass, for several k and several tensors at
once, counts what lies above, on and between them, and only the few values between are looked at again, by the same
rule. Where single entries are dear to read, runs of them are sampled: the bracket is as wide as the runs differ.
bfloat16 task vectors tie massively (a few thousand distinct values): sorting is unstable there and ``numpy.partition``
ten times slower than on random data, while counting decides at once. Among entries equal to the threshold those of
smallest flat index stay:

    kept = {i : |x_i| > threshold} | {i : |x_i| = threshold, i <= last},     #kept = k

Source: the bracket is Floyd and Rivest's SELECT (CACM 18(3), 1975). Differs: streamed, and ties are counted apart.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, NamedTuple, TypeAlias

from mergebarrier.lazy import np

if TYPE_CHECKING:
    from numpy.typing import NDArray


SAMPLE = 1 << 13
RUNS = 64
_RUN = 32
_SHARE = 128  # of a large tensor, one entry in so many is sampled
_SPREAD = 3.0  # standard deviations of the sampled rank; a miss costs a second pass, never the result
_GOLDEN, _CURVE = 0.6180339887498949, 31

Magnitudes: TypeAlias = "NDArray[np.floating]"
Walk: TypeAlias = "Callable[[Collection[int], int], Iterator[tuple[int, Magnitudes]]]"


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
    above: int = 0
    at_high: list[int] = field(default_factory=list)
    at_low: list[int] = field(default_factory=list)
    between: list[Magnitudes] = field(default_factory=list)

    def count(self, block: Magnitudes, masks: NDArray[np.bool_]) -> None:
        """Count one block; masks are reused, since memory of this size that is fresh costs more than a comparison."""
        self.length = self.length or len(block)
        first, second = masks[:, : len(block)]
        above = int(np.count_nonzero(np.greater(block, self.high, out=first)))
        from_low = int(np.count_nonzero(np.greater_equal(block, self.low, out=second)))
        self.above += above
        if self.low == self.high:
            self.at_high.append(from_low - above)
            self.at_low.append(0)
            self.between.append(block[:0])
            return
        above_low = int(np.count_nonzero(np.greater(block, self.low, out=second)))
        inside = block[np.flatnonzero(np.logical_xor(first, second, out=first))]
        at_high = inside == self.high
        self.at_high.append(int(np.count_nonzero(at_high)))
        self.at_low.append(from_low - above_low)
        self.between.append(inside[~at_high] if self.at_high[-1] else inside)


def places(size: int, runs: int = 0) -> NDArray[np.int64]:
    """Return well-spread indices to sample, (runs, length), none of a small tensor; a stride could meet one column.

    Args:
      size: of the tensor.
      runs: how many there are at most; by default so many that a run fills a line of the cache.
    """
    count = max(SAMPLE, size // _SHARE) if size > SAMPLE else 0
    length = max(_RUN, count // runs) if runs else _RUN
    number = np.arange(count // length)
    first = (number * (int(size * _GOLDEN) | 1) + _CURVE * number**2) % (size - length + 1)
    return first[:, None] + np.arange(length)


def _bracket(sample: Magnitudes, ordered: Magnitudes, size: int, k: int) -> tuple[float, float]:
    """Return two values of the sample between which the k-th largest lies, almost surely."""
    share, n = k / size, len(ordered)
    middle = ordered[min(n - 1, max(0, n - round(share * n)))]
    shares = np.count_nonzero(sample >= middle, axis=1) / sample.shape[1]
    deviation = max(math.sqrt(share * (1 - share) / n), float(shares.std()) / math.sqrt(len(sample)))
    margin = _SPREAD * n * deviation + 2
    low, high = n - math.ceil(share * n + margin), n - math.floor(share * n - margin)
    return float(ordered[low]) if low >= 0 else 0.0, float(ordered[high]) if high < n else math.inf


def _by_sorting(walk: Walk, stream: int, k: int) -> _Found:
    blocks = [block.copy() for _, block in walk([stream], 0)]
    values = np.concatenate(blocks)
    threshold = float(np.sort(values)[len(values) - k])
    quota = k - int(np.count_nonzero(values > threshold))
    return _Found(threshold, quota, [int(np.count_nonzero(block == threshold)) for block in blocks], len(blocks[0]))


def _find(
    walk: Walk, samples: Mapping[int, Magnitudes], size: int, ks: Mapping[int, Sequence[int]]
) -> dict[int, list[_Found]]:
    if size <= SAMPLE:
        return {stream: [_by_sorting(walk, stream, k) for k in sought] for stream, sought in ks.items()}
    searches: dict[tuple[int, int], _LargestSearch] = {}
    for stream, sought in ks.items():
        ordered = np.sort(samples[stream], axis=None)
        for i, k in enumerate(sought):
            searches[stream, i] = _LargestSearch(k, *_bracket(samples[stream], ordered, size, k))
    found: dict[tuple[int, int], _Found] = {}
    masks = np.empty((2, 0), bool)
    while searches:
        for stream, block in walk([*dict.fromkeys(stream for stream, _ in searches)], 0):
            masks = masks if masks.shape[1] >= len(block) else np.empty((2, len(block)), bool)
            for (of, _), search in searches.items():
                if of == stream:
                    search.count(block, masks)
        for key, search in list(searches.items()):
            result = _settled(search)
            if isinstance(result, _LargestSearch):
                searches[key] = result
            else:
                found[key] = result
                del searches[key]
    return {stream: [found[stream, i] for i in range(len(sought))] for stream, sought in ks.items()}


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

    def walk(streams: Collection[int], first: int) -> Iterator[tuple[int, Magnitudes]]:
        return ((stream, values) for stream in streams if not first)

    ((found,),) = _find(walk, {0: values[places(len(values))]}, len(values), {0: [k]}).values()
    ties = [int(np.count_nonzero(part == found.threshold)) for part in search.between]
    return found._replace(ties=ties, length=search.length)


def largest(
    walk: Walk, samples: Mapping[int, Magnitudes], size: int, ks: Mapping[int, Sequence[int]]
) -> dict[int, list[Cut]]:
    """Find the cuts that keep exactly ``k`` of ``size`` magnitudes, for every k of several streams in the same passes.

    Args:
      walk:    (streams, number) gives a fresh pass over the magnitudes from a block of that number on, as pairs of
        stream and block: in flat order, float32 or float64, finite, non-negative; a yielded array may be a reused
        buffer; all blocks but the last have one length.
      samples: per stream the magnitudes at ``places(size)``; only speed depends on their values.
      size:    number of magnitudes of a stream, >= 1.
      ks:      per stream how many to keep, 1 <= k <= size each.
    """
    found = _find(walk, samples, size, ks)
    return {stream: [_cut(walk, stream, one) for one in cuts] for stream, cuts in found.items()}


def _cut(walk: Walk, stream: int, found: _Found) -> Cut:
    quota = found.quota
    for number, count in enumerate(found.ties):
        if count >= quota:
            _, block = next(walk([stream], number))
            last = int(np.flatnonzero(block == found.threshold)[quota - 1])
            return Cut(found.threshold, number * found.length + last)
        quota -= count
    raise AssertionError("two walks over the same tensor differ")
