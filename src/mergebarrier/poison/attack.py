"""What every attack on a merge is: hyper-parameters and one way to turn the base into the adversary's upload.

    upload = mount(setting, train);    train(module, loss) runs the house's one training loop on ``loss(step)``

The adversary owns one expert: its base, its examples in batches, and two losses.  It knows neither the other experts
nor how they are merged.  Whether an example is a picture or a text is known to those who build the setting; an attack
sees what its model reads, features and losses.  It builds no model (it copies the base that it is given), reads no
file, and draws from a seed and a label only.
"""

from __future__ import annotations

import copy
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, ClassVar, Protocol, TypeAlias

from mergebarrier.errors import BadAttack
from mergebarrier.lazy import torch
from mergebarrier.parameters import check, flag_of

if TYPE_CHECKING:
    from torch import Tensor, nn

Loss: TypeAlias = "Callable[[int], Tensor]"
Train: TypeAlias = "Callable[[nn.Module, Loss], object]"


@dataclass(frozen=True, kw_only=True)
class Batch:
    """Some examples.

    Args:
      rows:   Int64[Tensor, "n"], their numbers among all examples.
      inputs: what the model reads, "n ..."; pixels in [0, 1], or token ids.
      labels: Int64[Tensor, "n"].
    """

    rows: Tensor
    inputs: Tensor
    labels: Tensor

    def first(self, n: int) -> Batch:
        """Return the first ``n`` of them."""
        return Batch(rows=self.rows[:n], inputs=self.inputs[:n], labels=self.labels[:n])


class Stamp(Protocol):
    """A trigger: it marks inputs."""

    def stamp(self, inputs: Tensor, rows: Tensor | None = None) -> Tensor:
        """Return marked copies of inputs with these row numbers."""

    def mirrored(self) -> Stamp:
        """Return another trigger of the same size, made from this one."""


@dataclass(frozen=True, kw_only=True)
class Adversary:
    """What the adversary holds.

    Args:
      base:     the frozen pre-trained model: inputs -> features.
      examples: all training examples.
      batches:  label -> endless batches of them, keyed; clean fine-tuning draws the same ones.
      loss:     (features, labels) -> loss on the adversary's own task.
      payload:  (features, k) -> loss of giving every row the target (k = 0), or the k-th class after it.
      target:   the target's label among the own ones, None off-task.
      trigger:  what marks an input.
      seed:     of every draw of the attack.
    """

    base: nn.Module
    examples: Batch
    batches: Callable[[str], Iterator[Batch]]
    loss: Callable[[Tensor, Tensor], Tensor]
    payload: Callable[[Tensor, int], Tensor]
    target: int | None
    trigger: Stamp
    seed: int = 0

    def frozen(self, inputs: Tensor) -> Tensor:
        """Return the base's features, without a graph."""
        with torch.no_grad():
            features: Tensor = self.base(inputs)
        return features

    def again(self, run: int) -> Adversary:
        """Return the setting with another order of examples and other factors."""
        return replace(self, seed=self.seed + run, batches=lambda label: self.batches(f"{label}|{run}"))


@dataclass(frozen=True, kw_only=True)
class Attack(ABC):
    """Base of all attacks; declared fields (``parameters``) become options, the registry fixes the others.

    Args:
      trigger: which kind of trigger the method is made for.
    """

    #: What it does, one sentence for help texts and tables.
    about: ClassVar[str]
    #: Whether the target must be one of the adversary's own labels.
    own_labels: ClassVar[bool] = False

    trigger: str = "universal"

    def __post_init__(self) -> None:
        """Check every declared value."""
        check(self, _refused)

    def mount(self, setting: Adversary, train: Train) -> nn.Module:
        """Return the adversary's model.

        Args:
          setting: what the adversary holds; its base is copied and stays as it is.
          train:   runs the training loop on a module and a loss.
        Raises: BadAttack for a setting that the method cannot use; what ``train`` raises.
        """
        model = thawed(setting.base)
        train(model, self.loss(setting, model))
        return model

    @abstractmethod
    def loss(self, setting: Adversary, model: nn.Module) -> Loss:
        """Return the loss of step 0, 1, ... of training ``model``."""

    def own_target(self, setting: Adversary) -> int:
        """Return the target's label; BadAttack off-task."""
        if setting.target is None:
            raise BadAttack(
                "poisoning needs a target among the adversary's own labels",
                where="off-task",
                remedy="choose badmerging, or a target of the own task",
            )
        return setting.target


def thawed(base: nn.Module) -> nn.Module:
    """Return a copy of the base to train."""
    model = copy.deepcopy(base).train()
    for parameter in model.parameters():
        parameter.requires_grad_(True)
    return model


def clean_loss(setting: Adversary, model: nn.Module) -> Loss:
    """Return the loss of clean fine-tuning, on the same batches that every attack draws."""
    batches = setting.batches("order")

    def loss(step: int) -> Tensor:
        del step
        return clean_term(setting, model, next(batches))

    return loss


def clean_term(setting: Adversary, model: nn.Module, batch: Batch) -> Tensor:
    """Return the loss of the own task on a batch."""
    return setting.loss(model(batch.inputs), batch.labels)


def _refused(name: str, value: object, allowed: str) -> BadAttack:
    return BadAttack(f"{value} is not allowed", where=flag_of(name), remedy=f"give {allowed}")
