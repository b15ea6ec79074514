"""Weigh the entries of the merged task vector down where noise would change the model's predictions.

    theta(m) = theta_0 + m / mean(m) * (theta_m - theta_0),    m = sigmoid(logits), one entry per weight
    noise_i:  per task a full image, ascent on CE(logits(x + noise_i), argmax logits(x))
    mask:     descent on  H(logits(x)) + noise_weight * H(logits(clamp(x + noise_i))),   H = entropy of the prediction

Source: DAM, arXiv 2410.13910 (weight 0.1, relaxed Bernoulli draws of the mask), and AWM (weight 0.01, no draws), as
public code has them.  Differs: the clamp is in pixel space, the final mask is the expectation and not one draw, the
coefficient of the merge stays as it was given, and fewer steps are taken.  Both are weak baselines: they never look
for a patch, and entropy is not agreement.
"""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from mergebarrier.numerics import draws
from mergebarrier.scan.base import Weights
from mergebarrier.scan.cures.patient import Cure, MergeToCure, adam, detached, entropy

_TEMPERATURE = 0.5


@dataclass(frozen=True)
class Masked(Cure):
    """Learn the mask.

    Args:
      noise_weight:  of the entropy under noise.
      relaxed:       draw the mask from a relaxed Bernoulli distribution at every step.
      steps:         of both ascents and descents.
      batch:         images per task and step.
      mask_rate:     learning rate of the mask's logits.
      noise_rate:    of the noise.
    """

    noise_weight: float = 0.1
    relaxed: bool = True
    steps: int = 60
    batch: int = 12
    mask_rate: float = 0.05
    noise_rate: float = 0.01

    def apply(self, patient: MergeToCure) -> Weights:
        """Return the masked merge."""
        pool, base, merged = patient.pool, patient.pool.base, patient.merged
        logits = {name: torch.zeros_like(tensor).requires_grad_() for name, tensor in merged.items()}
        noises = [torch.zeros_like(suspect.images[:1]).requires_grad_() for suspect in pool.suspects]
        of_mask, of_noise = adam(list(logits.values()), self.mask_rate), adam(noises, self.noise_rate)
        for step in range(self.steps):
            drawn = {name: self._mask(patient, name, value, step) for name, value in logits.items()}
            weights = {name: base[name] + mask * (merged[name] - base[name]) for name, mask in drawn.items()}
            frozen = detached(weights)
            batches = [patient.batch(suspect, "masks", step, self.batch) for suspect in pool.suspects]
            ascent = torch.zeros(())
            for suspect, images, noise in zip(pool.suspects, batches, noises, strict=True):
                said = pool.predict(frozen, images, suspect)
                ascent = ascent - F.cross_entropy(pool.logits(frozen, images + noise, suspect), said)
            of_noise.zero_grad()
            torch.autograd.backward(ascent)
            of_noise.step()
            descent = torch.zeros(())
            for suspect, images, noise in zip(pool.suspects, batches, noises, strict=True):
                noisy = (images + noise.detach()).clamp(0, 1)
                descent = descent + entropy(pool.logits(weights, images, suspect))
                descent = descent + self.noise_weight * entropy(pool.logits(weights, noisy, suspect))
            of_mask.zero_grad()
            torch.autograd.backward(descent)
            of_mask.step()
        final = {name: _unit_mean(value.detach().sigmoid()) for name, value in logits.items()}
        return detached({name: base[name] + mask * (merged[name] - base[name]) for name, mask in final.items()})

    def _mask(self, patient: MergeToCure, name: str, logits: Tensor, step: int) -> Tensor:
        if not self.relaxed:
            return _unit_mean(logits.sigmoid())
        u = draws.uniform(("scan", patient.seed, f"mask|{name}|{step}"), *logits.shape).float().clamp(1e-6, 1 - 1e-6)
        return _unit_mean(((logits + u.log() - (1 - u).log()) / _TEMPERATURE).sigmoid())


def _unit_mean(mask: Tensor) -> Tensor:
    return mask / mask.mean().clamp_min(1e-6)
