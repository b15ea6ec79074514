"""What every attack on a merge is: hyper-parameters and one way to turn the base encoder into the adversary's upload.

    upload = mount(setting, train);    train(module, loss) runs the house's one training loop on ``loss(step)``

The adversary owns one expert: its base, data and loss.  It knows neither the other experts nor how they are merged.
An attack builds no model (it copies the base it is given), reads no file, and draws from a seed and a label only.
"""

import copy
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mergebarrier.errors import BadAttack
from mergebarrier.poison.image.trigger import Trigger

Classify = Callable[[Tensor], Tensor]
Loss = Callable[[int], Tensor]
Train = Callable[[nn.Module, Loss], object]
TriggerKind = Literal["universal", "fixed", "dynamic"]


@dataclass(frozen=True)
class Adversary:
    """What the adversary holds.

    Args:
      base:     the frozen pre-trained encoder: pixels in [0, 1] -> features, not normalised.
      images:   Float32[Tensor, "n channels height width"] in [0, 1], the adversary's training images.
      labels:   Int64[Tensor, "n"].
      classify: features -> logits of the adversary's own task head.
      payload:  the head that the backdoor is trained on: the same one on-task, the shadow head off-task.
      target:   the target's index in ``payload``; ``own_target`` its index among the own labels, None off-task.
      trigger:  pixels and place.
      batches:  label -> endless batches of rows, keyed; clean fine-tuning draws the same ones.
      seed:     of every draw of the attack.
    """

    base: nn.Module
    images: Tensor
    labels: Tensor
    classify: Classify
    payload: Classify
    target: int
    own_target: int | None
    trigger: Trigger
    batches: Callable[[str], Iterator[Tensor]]
    seed: int = 0

    def frozen(self, pixels: Tensor) -> Tensor:
        """Return the base's features, without a graph."""
        with torch.no_grad():
            features: Tensor = self.base(pixels)
        return features


@dataclass(frozen=True)
class Attack(ABC):
    """Base of all attacks; ``trigger`` says which kind of trigger the method is made for."""

    trigger: TriggerKind = "universal"

    def mount(self, setting: Adversary, train: Train) -> nn.Module:
        """Return the adversary's encoder.

        Args:
          setting: what the adversary holds; its base is copied and stays as it is.
          train:   runs the training loop on a module and a loss.
        Raises: BadAttack for a setting that the method cannot use; what ``train`` raises.
        """
        encoder = thawed(setting.base)
        train(encoder, self.loss(setting, encoder))
        return encoder

    @abstractmethod
    def loss(self, setting: Adversary, encoder: nn.Module) -> Loss:
        """Return the loss of step 0, 1, ... of training ``encoder``."""


def thawed(base: nn.Module) -> nn.Module:
    """Return a copy of the base to train."""
    encoder = copy.deepcopy(base).train()
    for parameter in encoder.parameters():
        parameter.requires_grad_(True)
    return encoder


def clean_loss(setting: Adversary, encoder: nn.Module) -> Loss:
    """Return the loss of clean fine-tuning, on the same batches that every attack draws."""
    rows = setting.batches("order")

    def loss(step: int) -> Tensor:
        del step
        return clean_term(setting, encoder, next(rows))

    return loss


def clean_term(setting: Adversary, encoder: nn.Module, index: Tensor) -> Tensor:
    """Return CE(head(f(x)), y) of a batch."""
    return F.cross_entropy(setting.classify(encoder(setting.images[index])), setting.labels[index])


def target_term(setting: Adversary, features: Tensor) -> Tensor:
    """Return CE(payload head(features), c)."""
    found = setting.payload(features)
    return F.cross_entropy(found, torch.full((len(found),), setting.target))


def require(condition: bool, what: str, where: str, remedy: str) -> None:
    """Raise BadAttack unless a condition holds."""
    if not condition:
        raise BadAttack(what, where=where, remedy=remedy)


def require_share(value: float, where: str) -> None:
    """Raise BadAttack unless 0 < value <= 1."""
    require(0.0 < value <= 1.0, f"{value}, must lie in (0, 1]", where, "choose a share")
