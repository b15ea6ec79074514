"""An adversary of an image task: pictures, labels and heads become the batches and losses that every attack sees."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

from mergebarrier.lazy import torch
from mergebarrier.poison.attack import Adversary, Batch

if TYPE_CHECKING:
    from torch import Tensor, nn

    from mergebarrier.poison.image.trigger import Trigger


@dataclass(frozen=True, kw_only=True)
class ImageAdversary:
    """What the adversary of an image task holds.

    Args:
      base:       the frozen pre-trained encoder: pixels in [0, 1] -> features, not normalised.
      images:     Float32[Tensor, "n channels height width"] in [0, 1], the adversary's training images.
      labels:     Int64[Tensor, "n"].
      classify:   features -> logits of the adversary's own task head.
      payload:    the head that the backdoor is trained on: the same one on-task, the shadow head off-task.
      target:     the target's index in ``payload``; ``own_target`` its index among the own labels, None off-task.
      trigger:    pixels and place.
      rows:       label -> endless batches of row numbers, keyed.
      seed:       of every draw of the attack.
    """

    base: nn.Module
    images: Tensor
    labels: Tensor
    classify: Callable[[Tensor], Tensor]
    payload: Callable[[Tensor], Tensor]
    target: int
    own_target: int | None
    trigger: Trigger
    rows: Callable[[str], Iterator[Tensor]]
    seed: int = 0

    def setting(self) -> Adversary:
        """Return the setting of an attack."""
        return Adversary(
            base=self.base,
            examples=Batch(rows=torch.arange(len(self.labels)), inputs=self.images, labels=self.labels),
            batches=lambda label: map(self._take, self.rows(label)),
            loss=self._own_loss,
            payload=self._target_loss,
            target=self.own_target,
            trigger=self.trigger,
            seed=self.seed,
        )

    def _take(self, rows: Tensor) -> Batch:
        return Batch(rows=rows, inputs=self.images[rows], labels=self.labels[rows])

    def _own_loss(self, features: Tensor, labels: Tensor) -> Tensor:
        return torch.nn.functional.cross_entropy(self.classify(features), labels)

    def _target_loss(self, features: Tensor, after: int) -> Tensor:
        logits = self.payload(features)
        wanted = (self.target + after) % logits.shape[-1]
        return torch.nn.functional.cross_entropy(logits, torch.full((len(logits),), wanted))
