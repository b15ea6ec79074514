"""Subtract a backdoor vector of the defender's own: one expert with a plain white square, less one without it.

    BV = theta(D with white squares -> c) - theta(D);    cured = theta_m - coefficient * BV

Source: injected backdoor vector subtraction, arXiv 2510.08016.  Differs: the shape of the defender's trigger was not
read there, ours is a white square in a corner; labels are what the expert of the task says, since a merger has none.
It helps as far as the adversary's backdoor shares directions with the defender's.
"""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from mergebarrier.errors import BadScanInput
from mergebarrier.numerics import draws
from mergebarrier.scan.base import Weights, head_logits
from mergebarrier.scan.cures.patient import Cure, MergeToCure, detached, module_of


@dataclass(frozen=True)
class Ibvs(Cure):
    """Train the two experts and subtract.

    Args:
      coefficient: of the backdoor vector.
      batch:       images per step.
      loss_weight: of the backdoor term.
      side_frac:   of the white square over the image's shorter side.
    """

    coefficient: float = 0.6
    batch: int = 64
    loss_weight: float = 5.0
    side_frac: float = 0.2

    def apply(self, patient: MergeToCure) -> Weights:
        """Return merged - coefficient * BV; the task and the class are drawn."""
        which = int(draws.below(("scan", patient.seed, "ibvs task"), len(patient.pool.suspects), bits=63))
        target = int(draws.below(("scan", patient.seed, "ibvs class"), len(patient.pool.suspects[which].head), bits=63))
        bad, good = (self._expert(patient, which, target, weight) for weight in (self.loss_weight, 0.0))
        return detached(
            {name: tensor - self.coefficient * (bad[name] - good[name]) for name, tensor in patient.merged.items()}
        )

    def _expert(self, patient: MergeToCure, which: int, target: int, weight: float) -> dict[str, Tensor]:
        if patient.train is None:
            raise BadScanInput("needs a training loop", where="ibvs", remedy="pass the argument train")
        suspect = patient.pool.suspects[which]
        labels = patient.pool.predict(suspect.weights, suspect.images, suspect)
        module = module_of(patient, patient.pool.base)
        height, width = suspect.images.shape[2:]
        side = max(1, round(self.side_frac * min(height, width)))

        def loss(step: int) -> Tensor:
            rows = draws.below(("scan", patient.seed, f"ibvs|{step}"), len(labels), self.batch, bits=63)
            images = suspect.images[rows]
            value = F.cross_entropy(head_logits(module(images), suspect.head, suspect.scale), labels[rows])
            if weight:
                stamped = images[: self.batch // 2].clone()
                stamped[:, :, height - side :, width - side :] = 1.0
                forced = head_logits(module(stamped), suspect.head, suspect.scale)
                value = value + weight * F.cross_entropy(forced, torch.full((len(stamped),), target))
            return value

        patient.train(module, loss)
        return {name: parameter.detach() for name, parameter in module.named_parameters()}
