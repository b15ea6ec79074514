"""The tensors of one merge, seen as flat blocks: the only place where dtypes are converted.

A kernel never touches a whole float32 copy. It iterates over ``spans()`` and loads each block into a buffer that stays
in cache, so the cost is close to that of reading the input once; results leave through ``store``, rounded once.
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


def compute_dtype(tensors: Sequence[torch.Tensor]) -> torch.dtype:
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


@dataclass(frozen=True)
class Operands:
    """Flat views of the base (or None) and the experts of one tensor.

    Args:
      base:    Float[Tensor, "n"] or None, any float dtype.
      experts: one Float[Tensor, "n"] each.
      name:    the tensor's name: part of the random key and of every message.
      dtype:   dtype of the arithmetic.
      shape:   of the tensor, before it was flattened.
      block:   elements per block.
      survey:    by a survey of the whole model; None when the tensor is all there is.
    """

    base: torch.Tensor | None
    experts: tuple[torch.Tensor, ...]
    name: str
    dtype: torch.dtype
    shape: tuple[int, ...]
    block: int = BLOCK
    survey: SurveyResult | None = None

    @property
    def size(self) -> int:
        """Elements per operand."""
        return self.experts[0].numel()

    def spans(self) -> Iterator[tuple[int, int]]:
        """Yield ``(start, stop)`` of every block in flat order; nothing for an empty tensor."""
        for start in range(0, self.size, self.block):
            yield start, min(start + self.block, self.size)

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
