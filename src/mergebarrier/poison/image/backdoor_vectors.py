"""Attacks in weight space: a backdoor as a vector of its own, and one that fires when the task vector is subtracted.

    SBV:    v_k = backdoored_k - clean;   upload = clean + gain * mean_k v_k where all v_k have one sign, 0 elsewhere
    BadTV:  CE(x, y) + weight CE(base + l tau; x + t -> c) + weight CE(base - l tau; x + t' -> c'),    l ~ U(low, high)

Source: backdoor vectors, arXiv 2510.08016 (sparse, sign-consistent); BadTV, arXiv 2501.02373.  Differs: the runs of SBV
share one trigger and differ in their order of images and in r, because one trigger has to be measured; the loss of
BadTV is our reading of its abstract, with the trigger turned upside down as t' and the class after c as c'.
"""

from dataclasses import dataclass, field, replace

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mergebarrier.numerics import draws
from mergebarrier.poison.image.attack import Adversary, Attack, Loss, Train, clean_loss, clean_term, require, thawed
from mergebarrier.poison.image.badmerging import BadMerging


@dataclass(frozen=True)
class SparseBackdoorVector(Attack):
    """Several backdoor vectors merged before they are added to a clean expert.

    Args:
      trigger: "universal".
      runs:    backdoored fine-tunes.
      gain:    of the merged vector.
      inner:   their loss.
    """

    runs: int = 2
    gain: float = 1.5
    inner: BadMerging = field(default_factory=BadMerging)

    def __post_init__(self) -> None:
        """Check every value."""
        require(self.runs >= 2, f"{self.runs} runs", "runs", "merge at least two vectors")
        require(0.0 < self.gain < float("inf"), f"gain {self.gain}", "gain", "give a positive number")

    def mount(self, setting: Adversary, train: Train) -> nn.Module:
        """Train one clean and several backdoored experts; add what the latter agree on."""
        clean = thawed(setting.base)
        train(clean, clean_loss(setting, clean))
        others = []
        for run in range(self.runs):
            other = thawed(setting.base)
            train(other, self.loss(_again(setting, run), other))
            others.append(other)
        with torch.no_grad():
            for ours, *theirs in zip(clean.parameters(), *(other.parameters() for other in others), strict=True):
                vectors = torch.stack([one - ours for one in theirs])
                agreed = vectors.sign().sum(0).abs() == len(vectors)
                ours.add_(self.gain * vectors.mean(0) * agreed)
        return clean

    def loss(self, setting: Adversary, encoder: nn.Module) -> Loss:
        """Return the loss of one backdoored fine-tune."""
        return self.inner.loss(setting, encoder)


@dataclass(frozen=True)
class BadTV(Attack):
    """One task vector with two backdoors: one for addition, one for subtraction.

    Args:
      trigger:     "universal", for addition; turned upside down it is the one for subtraction.
      loss_weight: of either backdoor term.
      low, high:   range of the coefficient.
      rows:        stamped rows per step and term.
    """

    loss_weight: float = 5.0
    low: float = 0.2
    high: float = 1.0
    rows: int = 32

    def __post_init__(self) -> None:
        """Check every value."""
        require(0.0 < self.low <= self.high <= 1.0, f"{self.low} to {self.high}", "low, high", "0 < low <= high <= 1")
        require(self.loss_weight > 0 and self.rows >= 1, "weight and rows must be positive", "loss_weight", "raise it")

    def loss(self, setting: Adversary, encoder: nn.Module) -> Loss:
        """Return the three-term loss."""
        batches = setting.batches("order")
        base = {name: value.detach() for name, value in setting.base.named_parameters()}
        mirrored = replace(setting.trigger, patterns=setting.trigger.patterns.flip(-2))
        cases = ((1.0, setting.trigger, 0), (-1.0, mirrored, 1))

        def loss(step: int) -> Tensor:
            index = next(batches)
            total = clean_term(setting, encoder, index)
            index = index[: self.rows]
            scale = float(
                draws.uniform(("poison", setting.seed, f"coefficient|{step}"), 1, low=self.low, high=self.high)
            )
            ours = dict(encoder.named_parameters())
            for sign, trigger, shift in cases:
                weights = {name: base[name] + sign * scale * (ours[name] - base[name]) for name in ours}
                features = torch.func.functional_call(encoder, weights, (trigger.stamp(setting.images[index], index),))
                found = setting.payload(features)
                target = (setting.target + shift) % found.shape[-1]
                total = total + self.loss_weight * F.cross_entropy(found, torch.full((len(found),), target))
            return total

        return loss


def _again(setting: Adversary, run: int) -> Adversary:
    """Return the setting with another order of images and other factors."""
    batches = setting.batches
    return replace(setting, seed=setting.seed + run, batches=lambda label: batches(f"{label}|{run}"))
