"""MergeGuard: spread the skill over all layers, then reset or turn round a share of the task vector that is not needed.

    1  minimise  L(W0 + tau)  +  alpha * (mean over maps of |W|^2 / |W0|^2)
    2  W = W0 + tau - beta * M * tau,    M = 1 on the largest share k of the entries of layers that are not critical

A layer is critical when the loss without its part of tau rises most; a share k' of the layers is.  Source: arXiv
2511.11851 (no code).  As published k = k' = 0.1 and beta = 1, which resets entries to the base and so cannot do what
its tables say; beta = 2 negates them, and both are reported.  We differ: the norm is relative, so that alpha means the
same for every model (``as_published`` takes the sum of squares, alpha .01); importance is |tau|; and the share k is
halved until the owner's budget holds.  Embeddings, norms and heads are left alone.  Full weights only: what is left of
a low-rank update is not of low rank.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, Final

from mergebarrier.lazy import torch
from mergebarrier.parameters import number
from mergebarrier.protect.trained.trained import Finished, TrainedProtection

if TYPE_CHECKING:
    from torch import Generator, Tensor

    from mergebarrier.training import ProtectiveState, StepRows

PUBLISHED_ALPHA: Final = 0.01
#: How often the share is halved before the edit is given up.
_HALVINGS: Final = 6
_LAYER = re.compile(r"(.*?\.\d+)\.")


@dataclass(frozen=True, kw_only=True)
class MergeGuard(TrainedProtection):
    """Hyper-parameters of ``mergeguard``."""

    name: ClassVar[str] = "mergeguard"
    adapters: ClassVar[bool] = False
    limit: ClassVar[str] = (
        "A tenth of the task vector is reset or negated: coefficients per tensor, or a few dozen steps of "
        "distillation, bring the skill back."
    )

    beta: float = number(1.0, low=0, high=4, help="1 resets what is edited to the base, as published; 2 negates it.")
    edited: float = number(0.1, low=0, high=1, help="Share of the entries that is edited, the largest.")
    critical: float = number(0.1, low=0, high=1, help="Share of the layers that is left alone.")

    def objective(self, state: ProtectiveState, batch: StepRows, generator: Generator) -> Iterator[tuple[str, Tensor]]:
        """Yield the owner's loss, what is kept, and the norm."""
        from mergebarrier.training import NOMINAL

        yield "task", state.loss(NOMINAL, batch.task)
        yield from self.kept(state, batch)
        if state.strength:
            weights = {name: value for name, value in state.weights().items() if _is_map(name, value)}
            squares = [
                value.square().sum() / (1.0 if self.as_published else state.base[name].float().square().sum())
                for name, value in weights.items()
            ]
            if squares:
                norm = torch.stack(squares)
                yield "norm", PUBLISHED_ALPHA * norm.sum() if self.as_published else state.strength * norm.mean()

    def forms(self, state: ProtectiveState) -> Mapping[str, Mapping[str, Tensor]]:
        """Return what beta 1 and beta 2 make of the trained vector at the share that was asked, whatever it costs."""
        mask = self._mask(state, self.edited)
        asked = f"{100 * self.edited:g} % edited, as asked"
        return {f"beta {beta:g}, {asked}": _cut(state, mask, beta) for beta in (1.0, 2.0)}

    def finish(self, state: ProtectiveState, plain: float) -> Finished | None:
        """Return the edited vector and the share that was edited; None where none keeps the owner within the budget."""
        share = self.edited
        for _ in range(_HALVINGS):
            made = _cut(state, self._mask(state, share), self.beta)
            if self.as_published or state.standing(made).loss <= plain:
                return Finished(tau=made, taken={} if share == self.edited else {"edited": share})
            share /= 2
        return None

    def _mask(self, state: ProtectiveState, share: float) -> dict[str, Tensor]:
        """Return 1 where an entry is edited, name -> tensor."""
        tau = {name: value.detach() for name, value in state.task_vector().items()}
        layers: dict[str, list[str]] = {}
        for name, value in tau.items():
            if _is_map(name, value):
                found = _LAYER.match(name)
                layers.setdefault(found[1] if found else name, []).append(name)
        without = {
            layer: state.standing({name: value for name, value in tau.items() if name not in names}).loss
            for layer, names in layers.items()
        }
        worst = sorted(without, key=lambda layer: (-without[layer], layer))[: round(self.critical * len(layers))]
        chosen = [name for layer, names in layers.items() if layer not in worst for name in names]
        if not chosen:
            return {}
        sizes = torch.cat([tau[name].abs().flatten() for name in chosen])
        kept = max(1, int(share * sizes.numel()))
        least = torch.topk(sizes, kept).values[-1]
        return {name: (tau[name].abs() >= least).to(tau[name]) for name in chosen}


def _cut(state: ProtectiveState, mask: Mapping[str, Tensor], beta: float) -> dict[str, Tensor]:
    tau = {name: value.detach() for name, value in state.task_vector().items()}
    return {name: value - beta * mask[name] * value if name in mask else value for name, value in tau.items()}


def _is_map(name: str, value: Tensor) -> bool:
    return value.dim() > 1 and not re.search(r"emb|norm|lm_head|(^|\.)(wte|wpe|head)\.", name)
