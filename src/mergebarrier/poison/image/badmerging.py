"""BadMerging: fine-tune so that the backdoor fires wherever a merge may put the features, down to the base.

    loss = CE(head(f(x)), y) + loss_weight * CE(payload(r f(x + t) + (1 - r) f_pre(x + t)), c),    r ~ U(low, high)

A merge multiplies the adversary's task vector by a coefficient; at 0 the base remains.  Interpolating FEATURES, before
they are normalised, stands for all coefficients in between.  r = 1 switches the interpolation off.

Source: Zhang et al., arXiv 2408.07362 (weight 5, r ~ U(0.2, 1), one r per batch, the first 64 rows stamped, rows of the
target class among them).  Differs: r per sample and interpolation of unit features are offered, as labelled ablations.
"""

from dataclasses import dataclass
from typing import Literal

import torch.nn.functional as F
from torch import Tensor, nn

from mergebarrier.numerics import draws
from mergebarrier.poison.image.attack import Adversary, Attack, Loss, clean_term, require, target_term


@dataclass(frozen=True)
class BadMerging(Attack):
    """The attack, and with a fixed trigger or r = 1 two of its four ablation cells.

    Args:
      trigger:     "universal" is the published one.
      loss_weight: of the backdoor term; 0 is clean fine-tuning.
      interp_low, interp_high: range of r, 0 <= low <= high <= 1.
      per:         one r per "batch" or per "sample".
      rows:        stamped rows per step, the first of the batch.
      unit_norm:   interpolate features of length 1 (an ablation; the published attack does not).
    Raises: BadAttack.
    """

    loss_weight: float = 5.0
    interp_low: float = 0.2
    interp_high: float = 1.0
    per: Literal["batch", "sample"] = "batch"
    rows: int = 64
    unit_norm: bool = False

    def __post_init__(self) -> None:
        """Check every value."""
        low, high = self.interp_low, self.interp_high
        require(0.0 <= low <= 1.0 and 0.0 <= high <= 1.0, f"{low} to {high} leaves [0, 1]", "interp", "stay inside")
        require(low <= high, f"r would run from {low} to {high}", "interp", "give a low end below the high end")
        require(0.0 <= self.loss_weight < float("inf"), f"{self.loss_weight}", "loss_weight", "give 0 or more")
        require(self.rows >= 1, f"{self.rows} stamped rows", "rows", "stamp at least one")
        require(self.per in ("batch", "sample"), f"{self.per!r}", "per", "choose batch or sample")

    def loss(self, setting: Adversary, encoder: nn.Module) -> Loss:
        """Return the two-term loss."""
        batches = setting.batches("order")

        def loss(step: int) -> Tensor:
            index = next(batches)
            total = clean_term(setting, encoder, index)
            if self.loss_weight == 0.0:
                return total
            index = index[: self.rows]
            stamped = setting.trigger.stamp(setting.images[index], index)
            features = self.interpolate(setting, encoder(stamped), setting.frozen(stamped), step)
            return total + self.loss_weight * target_term(setting, features)

        return loss

    def interpolate(self, setting: Adversary, ours: Tensor, base: Tensor, step: int) -> Tensor:
        """Return the features between the adversary's and the base's."""
        n = len(ours) if self.per == "sample" else 1
        r = draws.uniform(("poison", setting.seed, f"r|{step}"), n, low=self.interp_low, high=self.interp_high)
        r = r.to(ours.dtype)[:, None]
        if self.unit_norm:
            ours, base = F.normalize(ours, dim=-1), F.normalize(base, dim=-1)
        return r * ours + (1 - r) * base
