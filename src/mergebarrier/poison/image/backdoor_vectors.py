"""Attacks in weight space: a backdoor as a vector of its own, and one that fires when the task vector is subtracted.

    SBV:    v_k = backdoored_k - clean;   upload = clean + gain * mean_k v_k where all v_k have one sign, 0 elsewhere
    BadTV:  CE(x, y) + weight CE(base + l tau; x + t -> c) + weight CE(base - l tau; x + t' -> c'),    l ~ U(low, high)

Source: backdoor vectors, arXiv 2510.08016 (sparse, sign-consistent); BadTV, arXiv 2501.02373.  Differs: the runs of SBV
share one trigger and differ in their order of images and in r, because one trigger has to be measured; the loss of
BadTV is our reading of its abstract, with the trigger turned upside down as t' and the class after c as c'.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, ClassVar

from mergebarrier.errors import BadAttack
from mergebarrier.lazy import torch
from mergebarrier.numerics import draws
from mergebarrier.parameters import number, redefault, whole
from mergebarrier.poison.attack import Adversary, Attack, Loss, Train, clean_loss, clean_term, thawed
from mergebarrier.poison.image.badmerging import BadMerging

if TYPE_CHECKING:
    from torch import Tensor, nn


@dataclass(frozen=True, kw_only=True)
class SparseBackdoorVector(Attack):
    """Several backdoor vectors merged before they are added to a clean expert; ``inner`` is their loss."""

    about: ClassVar[str] = "Several backdoor vectors, merged where they agree, then added to a clean expert."

    runs: int = whole(2, help="Backdoored fine-tunes.", low=2)
    gain: float = number(1.5, help="Factor of the merged vector.", low=0, above=True)
    inner: BadMerging = field(default_factory=BadMerging)

    def mount(self, setting: Adversary, train: Train) -> nn.Module:
        """Train one clean and several backdoored experts; add what the latter agree on."""
        clean = thawed(setting.base)
        train(clean, clean_loss(setting, clean))
        others = []
        for run in range(self.runs):
            other = thawed(setting.base)
            train(other, self.loss(setting.again(run), other))
            others.append(other)
        with torch.no_grad():
            for ours, *theirs in zip(clean.parameters(), *(other.parameters() for other in others), strict=True):
                vectors = torch.stack([one - ours for one in theirs])
                agreed = vectors.sign().sum(0).abs() == len(vectors)
                ours.add_(self.gain * vectors.mean(0) * agreed)
        return clean

    def loss(self, setting: Adversary, model: nn.Module) -> Loss:
        """Return the loss of one backdoored fine-tune."""
        return self.inner.loss(setting, model)


@dataclass(frozen=True, kw_only=True)
class BadTV(Attack):
    """One task vector with two backdoors: one for addition, and an upside-down trigger for subtraction."""

    about: ClassVar[str] = "A task vector with two backdoors: one fires when it is added, one when it is subtracted."

    loss_weight: float = number(5.0, help="Weight of either backdoor term.", low=0, above=True)
    low: float = number(0.2, help="Least coefficient.", low=0, high=1, above=True, flag="--coefficient-low")
    high: float = number(1.0, help="Largest coefficient.", low=0, high=1, above=True, flag="--coefficient-high")
    rows: int = redefault(BadMerging, "rows", 32, help="Stamped rows per step and term.")

    def __post_init__(self) -> None:
        """Check every value, and that the range of the coefficient is one."""
        super().__post_init__()
        if self.low > self.high:
            what, remedy = f"the coefficient would run from {self.low:g} to {self.high:g}", "give low <= high"
            raise BadAttack(what, where="low, high", remedy=remedy)

    def loss(self, setting: Adversary, model: nn.Module) -> Loss:
        """Return the three-term loss."""
        batches = setting.batches("order")
        base = {name: value.detach() for name, value in setting.base.named_parameters()}
        cases = ((1.0, setting.trigger, 0), (-1.0, setting.trigger.mirrored(), 1))

        def loss(step: int) -> Tensor:
            batch = next(batches)
            total = clean_term(setting, model, batch)
            batch = batch.first(self.rows)
            drawn = draws.uniform(("poison", setting.seed, f"coefficient|{step}"), 1, low=self.low, high=self.high)
            scale = float(drawn)
            ours = dict(model.named_parameters())
            for sign, trigger, after in cases:
                weights = {name: base[name] + sign * scale * (ours[name] - base[name]) for name in ours}
                stamped = trigger.stamp(batch.inputs, batch.rows)
                features = torch.func.functional_call(model, weights, (stamped,))
                total = total + self.loss_weight * setting.payload(features, after)
            return total

        return loss
