"""The classical backdoors, as controls: none of them takes a later merge into account.

    joint:             CE(x, y) + loss_weight * CE(payload(f(x + t)), c)        full control of training, fixed patch
    poisoning:         one CE over the batch, int(rate B) of whose rows are stamped and relabelled to c
    label-consistent:  one CE; of images that ARE of class c, some are made hard to recognise and stamped; no label lies
    dynamic:           poisoning with many patterns in many places, drawn per image

Source: BadNets, Gu et al., arXiv 1708.06733; label-consistent backdoors, Turner et al., arXiv 1912.02771 (adversarial
variant); dynamic backdoors, Salem et al., arXiv 2003.03675 (random backdoor).  Differs: label-consistent images are
pushed off their class on the base encoder by untargeted projected gradient steps of our length and number; the dynamic
patterns are uniform noise in the four corners, and all are used in training and in measurement.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from mergebarrier.errors import BadAttack
from mergebarrier.lazy import torch
from mergebarrier.parameters import number, redefault, whole
from mergebarrier.poison.attack import Adversary, Attack, Loss, clean_term
from mergebarrier.poison.image.badmerging import BadMerging

if TYPE_CHECKING:
    from torch import Tensor, nn


@dataclass(frozen=True, kw_only=True)
class BadNetsJoint(Attack):
    """BadNets with full control of training."""

    about: ClassVar[str] = "BadNets with full control of training: a fixed patch and a term of its own in the loss."

    trigger: str = "fixed"
    loss_weight: float = redefault(BadMerging, "loss_weight", 5.0)
    rows: int = redefault(BadMerging, "rows", 64)

    def loss(self, setting: Adversary, model: nn.Module) -> Loss:
        """Return the two-term loss."""
        batches = setting.batches("order")

        def loss(step: int) -> Tensor:
            del step
            batch = next(batches)
            total = clean_term(setting, model, batch)
            batch = batch.first(self.rows)
            return total + self.loss_weight * setting.payload(model(setting.trigger.stamp(batch.inputs, batch.rows)), 0)

        return loss


@dataclass(frozen=True, kw_only=True)
class BadNets(Attack):
    """BadNets by poisoning: rows are stamped and relabelled, the loss is the ordinary one."""

    about: ClassVar[str] = "BadNets by poisoning: some rows are stamped and relabelled, the loss is the ordinary one."
    own_labels: ClassVar[bool] = True

    trigger: str = "fixed"
    rate: float = number(0.1, help="Poisoned share of every batch, at least one row.", low=0, high=1, above=True)

    def loss(self, setting: Adversary, model: nn.Module) -> Loss:
        """Return the loss on batches of which a share is poisoned."""
        target = self.own_target(setting)
        batches = setting.batches("order")

        def loss(step: int) -> Tensor:
            del step
            batch = next(batches)
            n = max(1, int(self.rate * len(batch.rows)))
            stamped = setting.trigger.stamp(batch.inputs[:n], batch.rows[:n])
            labels = batch.labels.clone()
            labels[:n] = target
            return setting.loss(model(torch.cat([stamped, batch.inputs[n:]])), labels)

        return loss


@dataclass(frozen=True, kw_only=True)
class LabelConsistent(Attack):
    """Poisoning without a false label."""

    about: ClassVar[str] = "Poisoning without a false label: images of the target are made hard, then stamped."
    own_labels: ClassVar[bool] = True

    trigger: str = "fixed"
    rate: float = redefault(BadNets, "rate", 0.5, help="Poisoned share of the images of the target class.")
    eps: float = number(16 / 255, help="Largest change of a pixel that hides the class.", low=0)
    step_size: float = number(2 / 255, help="Length of a step that hides the class.", low=0, above=True)
    steps: int = whole(20, help="Number of steps that hide the class.", low=1, flag="--hiding-steps")

    def loss(self, setting: Adversary, model: nn.Module) -> Loss:
        """Return the ordinary loss on a set of which some images of the target class are replaced."""
        target, examples = self.own_target(setting), setting.examples
        rows = torch.nonzero(examples.labels == target)[:, 0]
        if not len(rows):
            remedy = "choose a target with images"
            raise BadAttack("no image of the target class", where="label_consistent", remedy=remedy)
        rows = rows[: max(1, int(self.rate * len(rows)))]
        images = examples.inputs.clone()
        images[rows] = setting.trigger.stamp(self._hidden(setting, images[rows], target), rows)
        batches = setting.batches("order")

        def loss(step: int) -> Tensor:
            del step
            batch = next(batches)
            return setting.loss(model(images[batch.rows]), batch.labels)

        return loss

    def _hidden(self, setting: Adversary, images: Tensor, target: int) -> Tensor:
        """Push images off the target class on the base, within ``eps``."""
        moved = images.clone()
        labels = torch.full((len(images),), target)
        for _ in range(self.steps):
            moved = moved.detach().requires_grad_(True)
            (gradient,) = torch.autograd.grad(setting.loss(setting.base(moved), labels), moved)
            step = moved.detach() + self.step_size * gradient.sign()
            moved = torch.minimum(torch.maximum(step, images - self.eps), images + self.eps).clamp(0.0, 1.0)
        return moved.detach()
