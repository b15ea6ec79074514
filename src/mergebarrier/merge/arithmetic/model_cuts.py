"""What a method needs to know about the whole model before it merges one tensor: cuts over all task vectors at once.

    kept = the max(1, floor(density n)) largest |tau| of the n entries of all tensors, ties in the order of the tensors

Bit patterns of magnitudes sort like the magnitudes, so a histogram of their upper 16 bits, then of the next 16 among
those of the bin that holds the cut, gives the threshold exactly in two passes (four in float64); one more pass finds
where the ties end, if not all of them stay. Counts are integers, so neither blocks nor order of reading matter.

Source: the trimming of TIES over a flattened model, arXiv 2306.01708. Differs: streamed, no copy of the model is made.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from mergebarrier.lazy import np, torch
from mergebarrier.merge.arithmetic import sparsify
from mergebarrier.merge.arithmetic.largest import Cut
from mergebarrier.merge.arithmetic.operands import Blocks, Operands, SurveyResult

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from mergebarrier.checkpoint import TensorInfo

_DIGIT = 16
_BINS = 1 << _DIGIT
BLOCK_ELEMENTS = 1 << 21


class _Source(Protocol):
    @property
    def tensors(self) -> Mapping[str, TensorInfo]: ...

    def read(self, name: str) -> torch.Tensor: ...

    def read_rows(self, name: str, start: int, stop: int) -> torch.Tensor: ...


@dataclass
class _CutSearch:
    """The search for the k-th largest magnitude of one expert, digit by digit from the top."""

    left: int  # how many more are to be kept among those with this prefix
    prefix: int = 0
    ties: int = 0


def row_blocks(
    sources: Sequence[_Source], name: str, block_elements: int = BLOCK_ELEMENTS
) -> Iterator[list[torch.Tensor]]:
    """Read a tensor of every source, rows of a large one piece by piece."""
    sources = [source for source in sources if name in source.tensors]
    info = sources[0].tensors[name]
    step = max(1, block_elements * info.rows // max(1, info.numel))
    if not info.shape or step >= info.rows:
        yield [source.read(name) for source in sources]
        return
    for start in range(0, info.rows, step):
        yield [source.read_rows(name, start, min(start + step, info.rows)) for source in sources]


def cuts(
    sizes: Mapping[str, int],
    read: Blocks,
    arithmetic: Callable[[Sequence[torch.Tensor]], torch.dtype],
    densities: Sequence[float],
) -> dict[str, SurveyResult]:
    """Find what is kept of every task vector.

    Args:
      sizes:      tensor -> elements, the tensors in the order of the model.
      read:       gives a fresh pass over a tensor.
      arithmetic: the dtype that task vectors are computed in.
      densities:  kept share, one per expert.
    Returns: tensor -> one cut per expert, None where all or nothing stays.
    Raises:  NonFinite.
    """
    total = sum(sizes.values())
    sought = [i for i, density in enumerate(densities) if 0 < density < 1]
    searches = {i: _CutSearch(max(1, int(densities[i] * total))) for i in sought}

    def patterns(name: str, index: int, blocks: Sequence[torch.Tensor]) -> Iterator[NDArray[np.uint64]]:
        flat = [block.detach().reshape(-1) for block in blocks]
        operands = Operands(flat[0], tuple(flat[1:]), name, arithmetic(blocks), tuple(blocks[0].shape))
        for _, magnitudes in sparsify.magnitudes(operands, [index]):
            yield _pattern(magnitudes, wide)

    wide = any(arithmetic(next(read(name))) == torch.float64 for name in sizes)
    for shift in range((64 if wide else 32) - _DIGIT, -1, -_DIGIT):
        counts = {i: np.zeros(_BINS, np.int64) for i in sought}
        for name in sizes if sought else ():
            for blocks in read(name):
                for i in sought:
                    for found in patterns(name, i, blocks):
                        inside = found[found >> (shift + _DIGIT) == searches[i].prefix]
                        digits = (inside >> shift).astype(np.int64) & (_BINS - 1)
                        counts[i] += np.bincount(digits, minlength=_BINS)
        for i in sought:
            _descend(searches[i], counts[i])
    lasts = {name: {i: size - 1 for i in sought} for name, size in sizes.items()}
    split = [i for i in sought if searches[i].left < searches[i].ties]
    for name in sizes if split else ():
        start = 0
        for blocks in read(name):
            for i in split:
                lasts[name][i] = _last_tie(searches[i], patterns(name, i, blocks), start, lasts[name][i])
            start += blocks[0].numel()
    return {
        name: SurveyResult(
            tuple(
                Cut(_value(searches[i].prefix, wide), lasts[name][i]) if i in searches else None
                for i in range(len(densities))
            )
        )
        for name in sizes
    }


def _pattern(magnitudes: NDArray[np.floating], wide: bool) -> NDArray[np.uint64]:
    """Return the bits of magnitudes, as numbers that sort like them."""
    if wide:
        return np.ascontiguousarray(magnitudes, np.float64).view(np.uint64)
    return np.ascontiguousarray(magnitudes, np.float32).view(np.uint32)


def _value(pattern: int, wide: bool) -> float:
    bits = np.array([pattern], np.uint64 if wide else np.uint32)
    return float(bits.view(np.float64 if wide else np.float32)[0])


def _descend(search: _CutSearch, counts: NDArray[np.int64]) -> None:
    """Step into the bin that holds the cut; what lies above it is kept."""
    above = np.cumsum(counts[::-1])
    place = int(np.searchsorted(above, search.left))
    search.left -= int(above[place - 1]) if place else 0
    search.prefix = (search.prefix << _DIGIT) | (_BINS - 1 - place)
    search.ties = int(counts[_BINS - 1 - place])


def _last_tie(search: _CutSearch, found: Iterator[NDArray[np.uint64]], start: int, last: int) -> int:
    """Count ties of one block; return the flat index of the last that stays, -1 when none of the tensor does."""
    for patterns in found:
        places = np.flatnonzero(patterns == search.prefix)
        if search.left <= 0:
            return min(last, start - 1)
        if len(places) >= search.left:
            last = start + int(places[search.left - 1])
        search.left -= len(places)
        start += len(patterns)
    return last
