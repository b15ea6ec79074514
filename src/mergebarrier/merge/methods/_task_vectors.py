"""Task vectors of all experts side by side, and what is measured on them: shared by the methods of this folder.

    tau_i = theta_i - theta_0        G_ij = <tau_i, tau_j>, summed in float64        theta_0 + sum_i c_i tau_i

A missing base reads as zero, so a method without one sees the experts themselves in place of the task vectors.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import ClassVar, NamedTuple

from mergebarrier.lazy import torch
from mergebarrier.merge import declarations
from mergebarrier.merge.arithmetic import Operands, add_scaled, factors_of, require_finite
from mergebarrier.merge.method import Merge


class Deltas(NamedTuple):
    """One block: its first flat index, ``base`` (n,) and ``taus`` (experts, n), which are reused buffers."""

    start: int
    base: torch.Tensor
    taus: torch.Tensor


def walk(operands: Operands, *, columns: int | None = None, dtype: torch.dtype | None = None) -> Iterator[Deltas]:
    """Yield the blocks of the base and of every task vector, in flat order.

    Args:
      operands: the tensors.
      columns:  when given, a block holds whole rows of so many elements.
      dtype:    of the blocks; the arithmetic's by default.
    Raises: NonFinite when a task vector is not finite: a rule that selects would drop a NaN without a word.
    """
    spans = list(operands.spans() if columns is None else operands.row_spans(columns))
    width = max((stop - start for start, stop in spans), default=0)
    base_buffer = torch.empty(width, dtype=dtype or operands.dtype)
    buffers = torch.empty(len(operands.experts), width, dtype=dtype or operands.dtype)
    for start, stop in spans:
        base = operands.load_base(start, stop, base_buffer)
        taus = buffers[:, : stop - start]
        for index in range(len(operands.experts)):
            operands.load_task_vector(index, start, stop, base, buffers[index])
        yield Deltas(start, base, require_finite(taus, operands.name, "task vector"))


def gram(operands: Operands) -> torch.Tensor:
    """Return the inner products of the task vectors, Float64[Tensor, "experts experts"]; differences in float64."""
    count = len(operands.experts)
    total = torch.zeros(count, count, dtype=torch.float64)
    for _, _, taus in walk(operands, dtype=torch.float64):
        total.addmm_(taus, taus.T)
    return total


def lengths(products: torch.Tensor) -> torch.Tensor:
    """Return the norms of the task vectors, Float64[Tensor, "... experts"]; the gradient of a zero norm is zero."""
    squares = products.diagonal(dim1=-2, dim2=-1)
    return torch.where(squares > 0, squares, 1.0).sqrt() * (squares > 0)


def weigh(operands: Operands, coefficients: Sequence[float] | torch.Tensor) -> Iterator[torch.Tensor]:
    """Yield the blocks of theta_0 + sum_i c_i tau_i; a yielded block is a buffer."""
    sum_buffer, factors = operands.buffer(), factors_of(coefficients)
    for _, base, taus in walk(operands):
        total = sum_buffer[: base.numel()].zero_()
        for tau, factor in zip(taus, factors, strict=True):
            add_scaled(total, tau, factor)
        yield total.add_(base)


@dataclass(frozen=True, kw_only=True)
class DeltaMerge(Merge):
    """A method that adds one combined task vector to the base.

    Raises: BadMergeParameter.
    """

    uses_base: ClassVar[bool] = True

    coefficient: float = declarations.coefficient()

    def added(self, base: torch.Tensor, tau: torch.Tensor) -> torch.Tensor:
        """Return base + lambda tau, overwriting ``tau``."""
        return (tau if self.coefficient == 1.0 else tau.mul_(self.coefficient)).add_(base)
