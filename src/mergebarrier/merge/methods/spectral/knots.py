"""KnOTS: write all task vectors of a matrix in one basis of outputs, merge them there, and go back.

    [tau_1 | ... | tau_N] = U S [V_1 | ... | V_N]^T  (joined along the inputs, s <= 1e-5 dropped)
    merged = theta_0 + lambda * U M(S V_1^T, ..., S V_N^T),   M: TIES, DARE or a weighted sum;   S V_i^T = U^T tau_i

Source: Stoica et al., arXiv 2410.19735. Differs: the last axis of a tensor counts as its inputs, and a tensor that is
no matrix is merged by M itself.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import ClassVar

from mergebarrier.lazy import torch
from mergebarrier.merge import declarations
from mergebarrier.merge.arithmetic import Operands, combine, sparsify
from mergebarrier.merge.methods._thinned import Elected
from mergebarrier.merge.methods.spectral import singular
from mergebarrier.parameters import choice

INNERS = ("ties", "dare_ties", "dare_linear", "task_arithmetic")
_DROPPED = 1e-5


@dataclass(frozen=True, kw_only=True)
class Knots(Elected):
    """Merging in the joint basis of the outputs.

    Raises: BadMergeParameter.

    Example:
      >>> Knots().merge(torch.zeros(2, 2), [torch.eye(2), 3 * torch.eye(2)], name="w")
      tensor([[2., 0.],
              [0., 2.]])
    """

    name: ClassVar[str] = "knots"
    dense: ClassVar[bool] = True

    inner: str = choice("ties", choices=INNERS, help="What is done in the joint basis.")
    seed: int = declarations.seed()

    def sparsifiers(self, operands: Operands, densities: Sequence[float]) -> list[sparsify.Sparsifier]:
        """Keep the largest entries, or entries at random."""
        if self.inner == "ties":
            return sparsify.by_magnitude(operands, densities)
        if self.inner == "task_arithmetic":
            return [sparsify.KeepAll() for _ in densities]
        return sparsify.at_random(operands, densities, seed=self.seed, method=self.name)

    def kernel(self, operands: Operands) -> Iterator[torch.Tensor]:
        """Yield the blocks of the base with the combined task vector."""
        if len(operands.shape) != 2:
            yield from self._combined(operands, self.coefficient)
            return
        taus = singular.matrices(operands, torch.float64)
        u, s, _ = singular.svd(torch.cat([*taus], dim=1))
        u = u[:, s > _DROPPED]
        update = torch.zeros(operands.shape, dtype=torch.float64)
        if u.shape[1]:
            blocks = tuple((u.T @ tau).cpu().reshape(-1) for tau in taus)
            shape = (u.shape[1], operands.shape[1])
            inside = Operands(None, blocks, operands.name, torch.float64, shape, operands.block)
            merged = torch.cat([part.clone() for part in self._combined(inside, 1.0)]).view(shape)
            update = (u @ merged.to(u.device)).mul_(self.coefficient).cpu()
        flat, base_buffer = update.reshape(-1), operands.buffer()
        for start, stop in operands.spans():
            base = operands.load_base(start, stop, base_buffer)
            yield flat[start:stop].to(operands.dtype).add_(base)

    def _combined(self, operands: Operands, coefficient: float) -> Iterator[torch.Tensor]:
        parts = self.parts(operands)
        if self.inner in ("ties", "dare_ties"):
            election = combine.Election(self.elect, self.elect_zero, self.reduce)
            return combine.elected_sum(operands, parts, election, coefficient=coefficient)
        return combine.weighted_sum(operands, parts, normalize=False, coefficient=coefficient)
