"""Unlearn examples that fool the merge and the model being cured alike.

    x' = argmax_{|x' - x|_inf <= eps} CE(f(x'), y) + CE(f_m(x'), y) - JS(f(x'), f_m(x'));     y = argmax f_m(x)
    f <- descent on CE(f(x), y) + shared_weight * CE(f(x'), y)

Source: shared adversarial unlearning, Wei et al., NeurIPS 2023.  Differs: labels are the merge's own, the ascent is a
few sign steps, and shared examples are pulled back to their class instead of merely off the shared one.
"""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mergebarrier.errors import BadScanInput
from mergebarrier.scan.base import PoolExpert, Weights, head_logits
from mergebarrier.scan.cures.patient import Cure, MergeToCure, module_of


@dataclass(frozen=True)
class Sau(Cure):
    """Fine-tune on shared adversarial examples.

    Args:
      radius:        of the ball, in units of the pixel range.
      ascents:       sign steps.
      shared_weight: of the second term.
      batch:         images per task and step.
    """

    radius: float = 0.1
    ascents: int = 3
    shared_weight: float = 1.0
    batch: int = 12

    def apply(self, patient: MergeToCure) -> Weights:
        """Return the fine-tuned weights."""
        if patient.train is None:
            raise BadScanInput("needs a training loop", where="sau", remedy="pass the argument train")
        pool = patient.pool
        module = module_of(patient, patient.merged)

        def loss(step: int) -> Tensor:
            value = torch.zeros(())
            for suspect in pool.suspects:
                images = patient.batch(suspect, "sau", step, self.batch)
                labels = pool.predict(patient.merged, images, suspect)
                shared = self._shared(patient, module, suspect, images, labels)
                predictions = head_logits(module(torch.cat([images, shared])), suspect.head, suspect.scale)
                value = value + F.cross_entropy(predictions[: len(images)], labels)
                value = value + self.shared_weight * F.cross_entropy(predictions[len(images) :], labels)
            return value / len(pool.suspects)

        patient.train(module, loss)
        return {name: parameter.detach() for name, parameter in module.named_parameters()}

    def _shared(
        self, patient: MergeToCure, module: nn.Module, suspect: PoolExpert, images: Tensor, labels: Tensor
    ) -> Tensor:
        moved = images.clone()
        for _ in range(self.ascents):
            moved.requires_grad_()
            ours = head_logits(module(moved), suspect.head, suspect.scale)
            theirs = patient.pool.logits(patient.merged, moved, suspect)
            gain = F.cross_entropy(ours, labels) + F.cross_entropy(theirs, labels) - _jensen_shannon(ours, theirs)
            (slope,) = torch.autograd.grad(gain, moved)
            step = moved.detach() + self.radius / self.ascents * 1.5 * slope.sign()
            moved = torch.minimum(torch.maximum(step, images - self.radius), images + self.radius).clamp(0, 1)
        return moved.detach()


def _jensen_shannon(one: Tensor, other: Tensor) -> Tensor:
    p, q = one.softmax(1), other.softmax(1)
    middle = (0.5 * (p + q)).clamp_min(1e-12).log()
    halves = [F.kl_div(middle, side, reduction="batchmean") for side in (p, q)]
    return 0.5 * torch.stack(halves).sum()
