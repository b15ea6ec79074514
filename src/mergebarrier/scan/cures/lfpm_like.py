"""Add an anti-backdoor vector to the merge: with and without a prompt, images have the same features along a path.

    theta_s = theta_0 + s (theta_m - theta_0) + tau;     x + v = an image with a mined patch
    L(tau) = mean_s |f_{theta_s}(x + v) - f_s(x)|^2 + mu |f_{theta_s}(x) - f_s(x)|^2,     f_s = f at theta_s without tau
    tau <- tau - Adam(grad L(tau + rho |theta_m - theta_0| grad L / |grad L|));          cured = theta_m + tau

Source: LFPM, arXiv 2606.12498, of which no code is public.  Read there: a learnable visual prompt replaces the
trigger, adversarial and clean features are separated, a SAM-like step accumulates gradients over s (path integral).
Our inference: the loss itself, features compared at unit length, the target at the same s, the prompt as a patch found
by the scan's search on experts and merge (mined again on the cured model every round), and Adam.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from mergebarrier.numerics import draws
from mergebarrier.scan.base import Patch, Weights, along, run, stamp
from mergebarrier.scan.cures.patient import Cure, MergeToCure, adam, detached


@dataclass(frozen=True)
class LfpmLike(Cure):
    """Train the anti-backdoor vector.

    Args:
      rounds:        patches are mined again before each.
      steps:         per round.
      batch:         images per task and step.
      path:          the grid of s.
      keep:          mu, the weight of the unprompted term.
      rho:           length of the ascent step over |theta_m - theta_0|; 0 switches the SAM part off.
      learning_rate: of Adam.
    """

    rounds: int = 2
    steps: int = 40
    batch: int = 12
    path: tuple[float, ...] = (0.5, 1.0)
    keep: float = 2.0
    rho: float = 0.05
    learning_rate: float = 5e-4

    def apply(self, patient: MergeToCure) -> Weights:
        """Return merged + tau."""
        base, merged = patient.pool.base, patient.merged
        points = [along(base, merged, s) for s in self.path]
        tau = [torch.zeros_like(tensor).requires_grad_() for tensor in merged.values()]
        reach = float(_length([merged[name] - base[name] for name in merged]))
        optimizer = adam(tau, self.learning_rate)
        mined: list[list[Patch]] = [list(one.patches) for one in patient.experts]
        for turn in range(self.rounds):
            fresh = patient.mined(_plus(merged, [step.detach() for step in tau]))
            mined = [old + new for old, new in zip(mined, fresh, strict=True)]
            for step in range(turn * self.steps, (turn + 1) * self.steps):
                slopes = self._slopes(patient, points, tau, mined, step)
                if self.rho:
                    ahead = self.rho * reach / float(_length(slopes).clamp_min(1e-12))
                    there = [(t.detach() + ahead * g).requires_grad_() for t, g in zip(tau, slopes, strict=True)]
                    slopes = self._slopes(patient, points, there, mined, step)
                for variable, slope in zip(tau, slopes, strict=True):
                    variable.grad = slope
                optimizer.step()
        return detached(_plus(merged, tau))

    def _slopes(
        self,
        patient: MergeToCure,
        points: Sequence[Weights],
        tau: Sequence[Tensor],
        mined: Sequence[Sequence[Patch]],
        step: int,
    ) -> list[Tensor]:
        """Return the gradient of L on the batch of ``step``, accumulated over the path and the tasks."""
        encoder = patient.pool.encoder
        plain, prompted = [], []
        for suspect, patches in zip(patient.pool.suspects, mined, strict=True):
            images = patient.batch(suspect, "lfpm", step, self.batch)
            which = int(
                draws.below(("scan", patient.seed, f"lfpm prompt|{suspect.name}|{step}"), len(patches), bits=63)
            )
            plain.append(images)
            prompted.append(stamp(images, patches[which]))
        x, xv = torch.cat(plain), torch.cat(prompted)
        total = [torch.zeros_like(variable) for variable in tau]
        for point in points:
            with torch.no_grad():
                target = F.normalize(run(encoder, point, x), dim=1)
            features = F.normalize(run(encoder, _plus(point, tau), torch.cat([xv, x])), dim=1)
            gap = (features - torch.cat([target, target])).square().sum(1)
            loss = (gap[: len(x)].mean() + self.keep * gap[len(x) :].mean()) / len(points)
            for sum_, slope in zip(total, torch.autograd.grad(loss, list(tau)), strict=True):
                sum_ += slope
        return total


def _plus(weights: Weights, tau: Sequence[Tensor]) -> dict[str, Tensor]:
    return {name: tensor + step for (name, tensor), step in zip(weights.items(), tau, strict=True)}


def _length(tensors: Sequence[Tensor]) -> Tensor:
    return torch.stack([tensor.square().sum() for tensor in tensors]).sum().sqrt()
