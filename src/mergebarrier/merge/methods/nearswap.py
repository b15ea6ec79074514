"""NearSwap: take the expert where it is near the base, and less of it the farther it went.

    w = min(1, t / |theta_1 - theta_0|);   merged = theta_0 + w (theta_1 - theta_0)

So no entry moves by more than t. Source: mergekit 0.1.5. Differs: nothing; a distance below 1e-6 counts as 1e-6.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import ClassVar

from mergebarrier.lazy import torch
from mergebarrier.merge.arithmetic import Operands
from mergebarrier.merge.method import Merge, Need
from mergebarrier.merge.methods import _task_vectors
from mergebarrier.parameters import number

_NEAREST = 1e-6
_FARTHEST_T = 3e38  # a float32


@dataclass(frozen=True, kw_only=True)
class NearSwap(Merge):
    """Move from the base to exactly one expert by at most ``t`` per entry.

    Raises: BadMergeParameter.

    Example:
      >>> NearSwap(t=0.5).merge(torch.zeros(2), [torch.tensor([0.25, -2.0])], name="w")
      tensor([ 0.2500, -0.5000])
    """

    name: ClassVar[str] = "nearswap"
    need: ClassVar[Need] = "elementwise"
    uses_base: ClassVar[bool] = True
    max_experts: ClassVar[int | None] = 1

    t: float = number(
        help="Largest step of an entry, in units of the weights.",
        low=0,
        high=_FARTHEST_T,
        recipe="t",
        flag="-t",
        noun="a step",
    )

    def kernel(self, operands: Operands) -> Iterator[torch.Tensor]:
        """Yield the blocks of the bounded step."""
        share_buffer = operands.buffer()
        for _, base, taus in _task_vectors.walk(operands):
            share = torch.abs(taus[0], out=share_buffer[: base.numel()])
            share.clamp_(min=_NEAREST).reciprocal_().mul_(self.t).clamp_(max=1)
            yield taus[0].mul_(share).add_(base)
