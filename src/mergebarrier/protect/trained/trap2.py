"""Trap^2: the model is good at its own scale and bad at every other, so that a scaled task vector is a broken one.

    minimise  L(W0 + tau)  -  lambda w(s) min(L(W0 + s tau), cap),    s uniform on [low, 1 - d] and [1 + d, high]

w(s) is 1/s, 1/sqrt(s) or 1.  Source: arXiv 2601.21898 (ICML 2026) and its code (MIT), read and not copied.  We differ:
the pushed loss is clamped, since it has no upper bound and a larger lambda wrecks the model (measured: 75 % instead of
87 %); lambda follows the owner's budget; a divergence holds the model on plain text; nothing is dropped out.
``as_published`` takes all four back: lambda .01, no cap.  A coefficient of 1 for the protected expert, whatever the
others get, is inside the band and is not punished.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, Final

from mergebarrier.parameters import choice, number
from mergebarrier.protect.trained.trained import TrainedProtection

if TYPE_CHECKING:
    from torch import Generator, Tensor

    from mergebarrier.training import ProtectiveState, StepRows

#: Of the paper's code.
PUBLISHED_STRENGTH: Final = 0.01


@dataclass(frozen=True, kw_only=True)
class Trap2(TrainedProtection):
    """Hyper-parameters of ``trap2``."""

    name: ClassVar[str] = "trap2"
    limit: ClassVar[str] = (
        "It breaks merges at one shared coefficient; a coefficient near 1 for the protected expert, coefficients per "
        "tensor, or a few dozen steps of distillation bring the skill back."
    )

    scale_low: float = number(0.05, low=0, high=1, help="Least scale that is punished.")
    scale_high: float = number(2.0, low=1, help="Largest scale that is punished.")
    band: float = number(0.05, low=0, high=0.5, help="Half the width around scale 1 that is left alone.")
    weighting: str = choice("inv", choices=("inv", "inv_sqrt", "none"), help="Weight of a scale: 1/s, 1/sqrt(s), 1.")
    cap: float = number(6.0, low=0, above=True, help="Nats per answer above which nothing is pushed.")

    def objective(self, state: ProtectiveState, batch: StepRows, generator: Generator) -> Iterator[tuple[str, Tensor]]:
        """Yield the owner's loss, what is kept, and the loss at another scale, pushed up."""
        from mergebarrier.training import NOMINAL, Point, ScaleOnly, clamped

        yield "task", state.loss(NOMINAL, batch.task)
        yield from self.kept(state, batch)
        s = ScaleOnly(low=self.scale_low, high=self.scale_high, band=self.band).scale(generator)
        strength = PUBLISHED_STRENGTH if self.as_published and state.strength else state.strength
        if strength:
            off = state.loss(Point(scale=s), batch.task)
            pushed = off if self.as_published else clamped(off, self.cap)
            yield "off", -strength * self._weight(s) * pushed

    def _weight(self, s: float) -> float:
        return float(s ** {"inv": -1.0, "inv_sqrt": -0.5, "none": 0.0}[self.weighting])
