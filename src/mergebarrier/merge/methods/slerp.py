"""SLERP: move along the great circle between two tensors, each seen as one long vector.

    cos(phi) = <a, b> / (|a| |b|);   merged = [sin((1 - t) phi) a + sin(t phi) b] / sin(phi)
    |cos(phi)| > 0.9995, or a zero tensor:  merged = (1 - t) a + t b

Source: Shoemake, SIGGRAPH 1985; semantics of mergekit 0.1.5 (per tensor, unnormalised ends).
Differs: the angle is computed in float64; a zero tensor takes the straight line (mergekit treats it as orthogonal).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import ClassVar

from mergebarrier.lazy import torch
from mergebarrier.merge.arithmetic import Operands, add_scaled, factors_of
from mergebarrier.merge.method import Merge, Need
from mergebarrier.parameters import number

_ZERO_NORM = 1e-8
_ZERO_SINE = 1e-8  # opposite vectors have no shortest arc


@dataclass(frozen=True, kw_only=True)
class Slerp(Merge):
    """Spherical interpolation of exactly two models.

    Raises: BadMergeParameter.

    Example:
      >>> a, b = torch.tensor([1.0, 0.0]), torch.tensor([0.0, 1.0])
      >>> Slerp(t=0.5).merge(None, [a, b], name="w")
      tensor([0.7071, 0.7071])
    """

    name: ClassVar[str] = "slerp"
    need: ClassVar[Need] = "tensor"
    uses_base: ClassVar[bool] = False
    min_experts: ClassVar[int] = 2
    max_experts: ClassVar[int | None] = 2
    differentiable: ClassVar[bool] = True

    t: float = number(
        help="Place between the first model (0) and the second (1).",
        low=0,
        high=1,
        recipe="t",
        flag="-t",
        noun="a place between the two models",
    )
    max_cosine: float = number(
        0.9995, help="Above this cosine the straight line is taken.", low=0, high=1, gradient=False
    )

    def kernel(self, operands: Operands) -> Iterator[torch.Tensor]:
        """Yield the blocks of the arc's point."""
        first, second = factors_of(self._coefficients(operands))
        a_buffer, b_buffer = operands.buffer(), operands.buffer()
        for start, stop in operands.spans():
            a = operands.load(0, start, stop, a_buffer).mul_(first)
            yield add_scaled(a, operands.load(1, start, stop, b_buffer), second)

    def _coefficients(self, operands: Operands) -> torch.Tensor:
        straight = torch.tensor([1.0 - self.t, self.t], dtype=torch.float64)
        aa, bb, ab = torch.zeros(3, dtype=torch.float64)
        a_buffer, b_buffer = (torch.empty(min(operands.block, operands.size), dtype=torch.float64) for _ in range(2))
        for start, stop in operands.spans():
            a, b = operands.load(0, start, stop, a_buffer), operands.load(1, start, stop, b_buffer)
            aa, bb, ab = aa + torch.dot(a, a), bb + torch.dot(b, b), ab + torch.dot(a, b)
        norms = aa.sqrt(), bb.sqrt()
        if min(norms) <= _ZERO_NORM:
            return straight
        cosine = (ab / (norms[0] * norms[1])).clamp(-1, 1)
        angle = torch.acos(cosine)
        sine = torch.sin(angle)
        if abs(cosine) > self.max_cosine or sine < _ZERO_SINE:
            return straight
        return torch.sin(torch.stack([(1.0 - self.t) * angle, self.t * angle])) / sine
