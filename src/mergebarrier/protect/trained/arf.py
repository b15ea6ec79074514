"""ARF, Anchor-Repulsive Fine-tuning: the attention of the expert moves away from that of the base, as far as is asked.

    minimise  L(W0 + tau)  +  lambda sum_t max(0, margin - d_t),      d_t = |W_t - W0_t| / |W0_t|

t runs over the matrices q, k, v, o; here also over the products V-O and Q-K, which no change of coordinates moves, so
that distance is not won by a drift that an attacker takes back.  Source: arXiv 2606.30360.  We differ: the public note
of the paper prints min(0, .), which pushes nothing until the margin is passed and rewards distance without bound
afterwards; ``as_published`` runs that form, on unscaled norms.  At the base a norm has no slope, so every matrix is
kicked once.  What it gives is distance: measured, it makes merges worse for both skills, and a search over
coefficients gets around most of it.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, Final

from mergebarrier.lazy import torch
from mergebarrier.parameters import number, redefault
from mergebarrier.protect.trained.trained import TrainedProtection

if TYPE_CHECKING:
    from collections.abc import Mapping

    from torch import Generator, Tensor

    from mergebarrier.training import ProtectiveState, StepRows

#: What the paper asks for.
PUBLISHED_MARGIN: Final = 0.05
#: Norm of the kick, in shares of the norm of the matrix.
_KICK = 0.02
_PRODUCTS = "products "


@dataclass(frozen=True, kw_only=True)
class Arf(TrainedProtection):
    """Hyper-parameters of ``arf``."""

    name: ClassVar[str] = "arf"
    distant: ClassVar[bool] = True
    limit: ClassVar[str] = (
        "It moves the attention away from the base; a small coefficient for the protected expert, whole modules of the "
        "partner, or coefficients per tensor step around that, and a lock on top of it adds nothing."
    )

    margin: float = number(0.5, low=0, above=True, help="Distance that is asked, in units of the base's matrix.")
    strength: float = redefault(TrainedProtection, "strength", 1.0)
    strength_ceiling: float = redefault(TrainedProtection, "strength_ceiling", 8.0)
    learning_rate: float = redefault(TrainedProtection, "learning_rate", 1e-3)

    def begin(self, state: ProtectiveState, generator: Generator) -> None:
        """Kick every matrix whose distance is asked for, in the factor that decides where it is an adapter."""
        with torch.no_grad():
            for name in self._matrices(state):
                leaf = state.vector.leaves.get(name)
                if leaf is None:
                    leaf = state.vector.leaves.get(f"{name}|B")
                if leaf is not None:
                    noise = torch.randn(leaf.shape, generator=generator).to(leaf)
                    leaf += _KICK * state.base[name].float().norm() / state.base[name].numel() ** 0.5 * noise

    def objective(self, state: ProtectiveState, batch: StepRows, generator: Generator) -> Iterator[tuple[str, Tensor]]:
        """Yield the owner's loss, what is kept, and the push away from the base."""
        from mergebarrier.training import NOMINAL

        yield "task", state.loss(NOMINAL, batch.task)
        yield from self.kept(state, batch)
        if state.strength:
            yield "repel", state.strength * self.repulsion(state)

    def repulsion(self, state: ProtectiveState) -> Tensor:
        """Return what is left of the margin, summed over everything that has to move."""
        found = state.distances()
        if not self.as_published:
            return torch.stack([(self.margin - distance).clamp_min(0) for distance in found.values()]).sum()
        sizes = {name: state.base[name].float().norm() for name in self._matrices(state, found)}
        return torch.stack(
            [((PUBLISHED_MARGIN - found[name]) * size).clamp_max(0) for name, size in sizes.items()]
        ).sum()

    def _matrices(self, state: ProtectiveState, found: Mapping[str, Tensor] | None = None) -> list[str]:
        """Return the names of the matrices whose distance is measured, where they are whole tensors."""
        names = state.distances() if found is None else found
        return [name for name in names if not name.startswith(_PRODUCTS) and name in state.base]
