"""Passthrough: one model unchanged, or scaled.

    merged = scale * theta_1

Source: mergekit 0.1.5, whose building block for stacks of layers it is. Differs: nothing.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import ClassVar

from mergebarrier.lazy import torch
from mergebarrier.merge.arithmetic import Operands
from mergebarrier.merge.method import Merge, Need
from mergebarrier.parameters import number


@dataclass(frozen=True, kw_only=True)
class Passthrough(Merge):
    """Copy of exactly one model.

    Raises: BadMergeParameter.

    Example:
      >>> import torch
      >>> Passthrough(scale=0.5).merge(None, [torch.tensor([3.0])], name="w")
      tensor([1.5000])
    """

    name: ClassVar[str] = "passthrough"
    need: ClassVar[Need] = "elementwise"
    uses_base: ClassVar[bool] = False
    max_experts: ClassVar[int | None] = 1
    differentiable: ClassVar[bool] = True

    scale: float | None = number(
        None, help="Multiplies every tensor; without it the bits are copied.", per_model=True, recipe="scale"
    )

    def kernel(self, operands: Operands) -> Iterator[torch.Tensor]:
        """Yield the scaled blocks."""
        buffer = operands.buffer()
        for start, stop in operands.spans():
            block = operands.load(0, start, stop, buffer)
            yield block if self.scale is None else block.mul_(self.scale)
