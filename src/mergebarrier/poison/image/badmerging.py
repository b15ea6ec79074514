"""BadMerging: fine-tune so that the backdoor fires wherever a merge may put the features, down to the base.

    loss = CE(head(f(x)), y) + loss_weight * CE(payload(r f(x + t) + (1 - r) f_pre(x + t)), c),    r ~ U(low, high)

A merge multiplies the adversary's task vector by a coefficient; at 0 the base remains.  Interpolating FEATURES, before
they are normalised, covers all coefficients in between.  r = 1 switches the interpolation off.

Source: Zhang et al., arXiv 2408.07362 (weight 5, r ~ U(0.2, 1), one r per batch, the first 64 rows stamped, rows of the
target class among them).  Differs: r per sample and interpolation of unit features are offered, as labelled ablations.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from mergebarrier.errors import BadAttack
from mergebarrier.lazy import torch
from mergebarrier.numerics import draws
from mergebarrier.parameters import choice, flag, number, whole
from mergebarrier.poison.attack import Adversary, Attack, Loss, clean_term

if TYPE_CHECKING:
    from torch import Tensor, nn


@dataclass(frozen=True, kw_only=True)
class BadMerging(Attack):
    """The attack, and with a fixed trigger or r = 1 two of its four ablation cells.

    Raises: BadAttack.
    """

    about: ClassVar[str] = "A backdoor that fires wherever a merge may put the features, down to the base."

    loss_weight: float = number(5.0, help="Weight of the backdoor term; 0 is clean fine-tuning.", low=0)
    interp_low: float = number(0.2, help="Least share of the own features.", low=0, high=1)
    interp_high: float = number(1.0, help="Largest share of the own features.", low=0, high=1)
    per: str = choice("batch", help="What draws one share.", choices=("batch", "sample"), flag="--interp-per")
    rows: int = whole(64, help="Stamped rows per step, the first of the batch.", low=1)
    unit_norm: bool = flag(False, help="Interpolate features of length 1, an ablation.")

    def __post_init__(self) -> None:
        """Check every value, and that the range of r is one."""
        super().__post_init__()
        low, high = self.interp_low, self.interp_high
        if low > high:
            what, remedy = f"r would run from {low:g} to {high:g}", "give a low end below the high end"
            raise BadAttack(what, where="interp", remedy=remedy)

    def loss(self, setting: Adversary, model: nn.Module) -> Loss:
        """Return the two-term loss."""
        batches = setting.batches("order")

        def loss(step: int) -> Tensor:
            batch = next(batches)
            total = clean_term(setting, model, batch)
            if self.loss_weight == 0.0:
                return total
            batch = batch.first(self.rows)
            stamped = setting.trigger.stamp(batch.inputs, batch.rows)
            features = self.interpolate(setting, model(stamped), setting.frozen(stamped), step)
            return total + self.loss_weight * setting.payload(features, 0)

        return loss

    def interpolate(self, setting: Adversary, ours: Tensor, base: Tensor, step: int) -> Tensor:
        """Return the features between the adversary's and the base's."""
        n = len(ours) if self.per == "sample" else 1
        r = draws.uniform(("poison", setting.seed, f"r|{step}"), n, low=self.interp_low, high=self.interp_high)
        r = r.to(ours.dtype)[:, None]
        if self.unit_norm:
            ours, base = (torch.nn.functional.normalize(features, dim=-1) for features in (ours, base))
        return r * ours + (1 - r) * base
