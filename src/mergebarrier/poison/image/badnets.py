"""The classical backdoors, as controls: none of them knows that its expert will be merged.

    joint:             CE(x, y) + loss_weight * CE(payload(f(x + t)), c)        full control of training, fixed patch
    poisoning:         one CE over the batch, int(rate B) of whose rows are stamped and relabelled to c
    label-consistent:  one CE; of images that ARE of class c, some are made hard to recognise and stamped; no label lies
    dynamic:           poisoning with many patterns in many places, drawn per image

Source: BadNets, Gu et al., arXiv 1708.06733; label-consistent backdoors, Turner et al., arXiv 1912.02771 (adversarial
variant); dynamic backdoors, Salem et al., arXiv 2003.03675 (random backdoor).  Differs: label-consistent images are
pushed off their class on the base encoder by untargeted projected gradient steps of our length and number; the dynamic
patterns are uniform noise in the four corners, and all are used in training and in measurement.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mergebarrier.poison.image.attack import (
    Adversary,
    Attack,
    Loss,
    TriggerKind,
    clean_term,
    require,
    require_share,
    target_term,
)


@dataclass(frozen=True)
class BadNetsJoint(Attack):
    """BadNets with full control of training.

    Args:
      trigger:     "fixed".
      loss_weight: of the backdoor term.
      rows:        stamped rows per step, the first of the batch.
    """

    trigger: TriggerKind = "fixed"
    loss_weight: float = 5.0
    rows: int = 64

    def __post_init__(self) -> None:
        """Check every value."""
        require(0.0 <= self.loss_weight < float("inf"), f"{self.loss_weight}", "loss_weight", "give 0 or more")
        require(self.rows >= 1, f"{self.rows} stamped rows", "rows", "stamp at least one")

    def loss(self, setting: Adversary, encoder: nn.Module) -> Loss:
        """Return the two-term loss."""
        batches = setting.batches("order")

        def loss(step: int) -> Tensor:
            del step
            index = next(batches)
            total = clean_term(setting, encoder, index)
            index = index[: self.rows]
            stamped = setting.trigger.stamp(setting.images[index], index)
            return total + self.loss_weight * target_term(setting, encoder(stamped))

        return loss


@dataclass(frozen=True)
class BadNets(Attack):
    """BadNets by poisoning: rows are stamped and relabelled, the loss is the ordinary one.

    Args:
      trigger: "fixed", or "dynamic" for many patterns and places.
      rate:    share of every batch, 0 < rate <= 1; at least one row.
    """

    trigger: TriggerKind = "fixed"
    rate: float = 0.1

    def __post_init__(self) -> None:
        """Check the rate."""
        require_share(self.rate, "rate")

    def loss(self, setting: Adversary, encoder: nn.Module) -> Loss:
        """Return the loss on batches of which a share is poisoned."""
        _on_task(setting)
        batches = setting.batches("order")

        def loss(step: int) -> Tensor:
            del step
            index = next(batches)
            images, labels = setting.images[index], setting.labels[index].clone()
            n = max(1, int(self.rate * len(index)))
            stamped = setting.trigger.stamp(images[:n], index[:n])
            labels[:n] = setting.target
            return F.cross_entropy(setting.classify(encoder(torch.cat([stamped, images[n:]]))), labels)

        return loss


@dataclass(frozen=True)
class LabelConsistent(Attack):
    """Poisoning without a false label.

    Args:
      trigger: "fixed".
      rate:    share of the images of the target class that are poisoned.
      eps, step_size, steps: bound, length and number of the gradient steps that hide the class.
    """

    trigger: TriggerKind = "fixed"
    rate: float = 0.5
    eps: float = 16 / 255
    step_size: float = 2 / 255
    steps: int = 20

    def __post_init__(self) -> None:
        """Check every value."""
        require_share(self.rate, "rate")
        require(self.eps >= 0 and self.step_size > 0 and self.steps >= 1, "a bad step", "eps", "see the defaults")

    def loss(self, setting: Adversary, encoder: nn.Module) -> Loss:
        """Return the ordinary loss on a set of which some images of the target class are replaced."""
        _on_task(setting)
        rows = torch.nonzero(setting.labels == setting.target)[:, 0]
        require(len(rows) > 0, "no image of the target class", "label_consistent", "choose a target with images")
        rows = rows[: max(1, int(self.rate * len(rows)))]
        images = setting.images.clone()
        images[rows] = setting.trigger.stamp(self._hidden(setting, images[rows]), rows)
        batches: Iterator[Tensor] = setting.batches("order")

        def loss(step: int) -> Tensor:
            del step
            index = next(batches)
            return F.cross_entropy(setting.classify(encoder(images[index])), setting.labels[index])

        return loss

    def _hidden(self, setting: Adversary, images: Tensor) -> Tensor:
        """Push images off the target class on the base, within ``eps``."""
        moved = images.clone()
        wanted = torch.full((len(images),), setting.target)
        for _ in range(self.steps):
            moved = moved.detach().requires_grad_(True)
            loss = F.cross_entropy(setting.classify(setting.base(moved)), wanted)
            (gradient,) = torch.autograd.grad(loss, moved)
            step = moved.detach() + self.step_size * gradient.sign()
            moved = torch.minimum(torch.maximum(step, images - self.eps), images + self.eps).clamp(0.0, 1.0)
        return moved.detach()


def _on_task(setting: Adversary) -> None:
    require(
        setting.own_target is not None,
        "poisoning needs a target among the adversary's own labels",
        "off-task",
        "choose badmerging, or a target of the own task",
    )
