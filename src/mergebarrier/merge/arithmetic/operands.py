"""The tensors of one merge, seen as flat blocks: the only place where dtypes are converted.

A kernel never touches a whole float32 copy. It iterates over ``spans()`` and loads each block into a buffer that stays
in cache, so the cost is close to that of reading the input once; results leave through ``store``, rounded once. Where
even the stored tensors of all models are too much, they are ``Streamed``: rows are read, in every pass, as a block asks
for them, and ``store_rows`` gives rows back; no bit depends on it.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import TypeAlias

from mergebarrier.errors import NonFinite
from mergebarrier.lazy import torch
from mergebarrier.merge.arithmetic.largest import Cut

BLOCK = 1 << 18
"""Elements per block: a megabyte of float32, small enough for the caches, large enough that calls cost nothing."""


#: Gives a fresh pass over a tensor: row blocks in flat order, for each the base's tensor, then those of the experts.
Blocks: TypeAlias = "Callable[[str], Iterator[Sequence[torch.Tensor]]]"


def compute_dtype(tensors: Sequence[Operand]) -> torch.dtype:
    """Return the dtype of the arithmetic: float64 if any operand is, else float32."""
    return torch.float64 if any(t.dtype == torch.float64 for t in tensors) else torch.float32


@dataclass(frozen=True)
class SurveyResult:
    """What a survey of the whole model says about one tensor.

    Args:
      cuts:     per expert, what of its task vector stays; None where the density is 0 or 1.
      tie_sign: the sign of a zero sum of votes; None when it is not asked for.
    """

    cuts: tuple[Cut | None, ...]
    tie_sign: float | None = None


class Streamed:
    """A tensor that stays where it is stored: rows are read when a block of it is asked for, and those of one are kept.

    Args:
      shape: at least one axis.
      dtype: as it is read.
      read:  (first row, row after the last) -> those rows.
    """

    def __init__(self, shape: tuple[int, ...], dtype: torch.dtype, read: Callable[[int, int], torch.Tensor]) -> None:
        """Read nothing yet."""
        self.shape, self.dtype, self._read = shape, dtype, read
        self._width = max(1, math.prod(shape[1:]))
        self._nothing = torch.empty(0, dtype=dtype)
        self._start, self._kept = 0, self._nothing

    def numel(self) -> int:
        """Return the number of elements."""
        return math.prod(self.shape)

    def __getitem__(self, span: slice) -> torch.Tensor:
        """Return the elements of a flat span."""
        start, stop = span.start - self._start, span.stop - self._start
        if start < 0 or stop > self._kept.numel():
            first = span.start // self._width
            self._kept = self._nothing  # its memory serves for the next
            self._kept = self._read(first, -(-span.stop // self._width)).reshape(-1)
            self._start = first * self._width
            start, stop = span.start - self._start, span.stop - self._start
        return self._kept[start:stop]


Operand: TypeAlias = "torch.Tensor | Streamed"


@dataclass(frozen=True)
class Operands:
    """Flat views of the base (or None) and the experts of one tensor.

    Args:
      base:    Float[Tensor, "n"] or None, any float dtype; this and the experts may be streamed.
      experts: one Float[Tensor, "n"] each.
      name:    the tensor's name: part of the random key and of every message.
      dtype:   dtype of the arithmetic.
      shape:   of the tensor, before it was flattened.
      block:   elements per block.
      survey:    by a survey of the whole model; None when the tensor is all there is.
      device:  where decompositions and products of whole matrices are computed; blocks stay on the processor.
    """

    base: Operand | None
    experts: tuple[Operand, ...]
    name: str
    dtype: torch.dtype
    shape: tuple[int, ...]
    block: int = BLOCK
    survey: SurveyResult | None = None
    device: str = "cpu"

    @property
    def size(self) -> int:
        """Elements per operand."""
        return self.experts[0].numel()

    def spans(self) -> Iterator[tuple[int, int]]:
        """Yield ``(start, stop)`` of every block in flat order; nothing for an empty tensor."""
        for start in range(0, self.size, self.block):
            yield start, min(start + self.block, self.size)

    @property
    def streamed(self) -> bool:
        """Whether the tensors are read pass by pass."""
        return isinstance(self.experts[0], Streamed)

    def sample(self, places: torch.Tensor) -> torch.Tensor:
        """Return task vectors at places that ``largest.places`` chose, (experts, runs, length of a run)."""
        base, *taus = (self._sample(side, places) for side in (self.base, *self.experts))
        return torch.stack([tau if self.base is None else tau.sub_(base) for tau in taus])

    def _sample(self, side: Operand | None, places: torch.Tensor) -> torch.Tensor:
        if isinstance(side, torch.Tensor):
            if not places.numel():
                return torch.empty(places.shape, dtype=self.dtype)
            runs = side.as_strided((self.size - places.shape[1] + 1, places.shape[1]), (1, 1), side.storage_offset())
            return runs[places[:, 0]].to(self.dtype)
        found = torch.zeros(places.shape, dtype=self.dtype)
        if side is not None:
            for run, row in zip(places.tolist(), found, strict=True):
                row.copy_(side[run[0] : run[-1] + 1])
        return found

    @property
    def columns(self) -> int:
        """Length of a row: the last axis; a tensor without axes is one row of one element."""
        return self.shape[-1] if self.shape else 1

    def row_spans(self, columns: int) -> Iterator[tuple[int, int]]:
        """Yield ``(start, stop)`` of whole rows of ``columns`` elements, about a block at a time."""
        step = max(1, self.block // columns) * columns
        for start in range(0, self.size, step):
            yield start, min(start + step, self.size)

    def buffer(self) -> torch.Tensor:
        """Return an uninitialised block of the arithmetic's dtype."""
        return torch.empty(min(self.block, self.size), dtype=self.dtype)

    def load_base(self, start: int, stop: int, out: torch.Tensor) -> torch.Tensor:
        """Copy the base's block into ``out`` and return the filled part; a missing base reads as zero."""
        part = head(out, stop - start)
        return part.zero_() if self.base is None else part.copy_(self.base[start:stop])

    def load(self, index: int, start: int, stop: int, out: torch.Tensor) -> torch.Tensor:
        """Copy a block of expert ``index`` into ``out`` and return the filled part."""
        return head(out, stop - start).copy_(self.experts[index][start:stop])

    def load_task_vector(
        self, index: int, start: int, stop: int, base: torch.Tensor, out: torch.Tensor
    ) -> torch.Tensor:
        """Put a block of ``expert - base`` into ``out``; ``base`` is the block already loaded."""
        return self.load(index, start, stop, out).sub_(base)


def head(buffer: torch.Tensor, length: int) -> torch.Tensor:
    """Return the first ``length`` elements of a buffer; all of it without a view, since calls cost, too."""
    return buffer if buffer.numel() == length else buffer[:length]


def factors_of(coefficients: Sequence[float] | torch.Tensor) -> Sequence[float | torch.Tensor]:
    """Return coefficients as numbers, or as tensors where gradients are to pass through them."""
    if isinstance(coefficients, torch.Tensor):
        return tuple(coefficients) if coefficients.requires_grad else coefficients.tolist()
    return coefficients


def add_scaled(total: torch.Tensor, part: torch.Tensor, factor: float | torch.Tensor) -> torch.Tensor:
    """Add ``factor * part`` to ``total`` in place."""
    return total.add_(part * factor) if isinstance(factor, torch.Tensor) else total.add_(part, alpha=factor)


def require_finite(part: torch.Tensor, name: str, what: str) -> torch.Tensor:
    """Return ``part``; NonFinite when it holds NaN or Inf. A finite sum proves that every term is finite."""
    wide = torch.float32 if part.dtype == torch.float16 else None
    if not math.isfinite(part.sum(dtype=wide).item()) and not torch.isfinite(part).all():
        raise NonFinite(
            f"the {what} is not finite in {part.dtype}",
            where=name,
            remedy="check the inputs, or merge in a wider dtype",
        )
    return part


def store(blocks: Iterable[torch.Tensor], out: torch.Tensor, name: str) -> None:
    """Round the blocks, in flat order, into the 1-D tensor ``out``.

    Raises: NonFinite when an input was not finite or a value does not fit the output's dtype.
    """
    start = 0
    for block in blocks:
        require_finite(out[start : start + block.numel()].copy_(block), name, "merged tensor")
        start += block.numel()


def store_rows(blocks: Iterable[torch.Tensor], like: Streamed, name: str, block: int = BLOCK) -> Iterator[torch.Tensor]:
    """Round the blocks, in flat order, and yield whole rows ``like`` an input's, about ``block`` elements at a time.

    Raises: as ``store``.
    """
    width = max(1, math.prod(like.shape[1:]))
    size, filled = min(-(-block // width), like.shape[0]) * width, 0
    rows = torch.empty(size, dtype=like.dtype)
    for part in blocks:
        while part.numel():
            taken, part = part[: size - filled], part[size - filled :]
            store([taken], rows[filled:], name)
            filled += taken.numel()
            if filled == size:
                yield rows.view(-1, *like.shape[1:])
                rows, filled = torch.empty(size, dtype=like.dtype), 0
    if filled:
        yield rows[:filled].view(-1, *like.shape[1:])
