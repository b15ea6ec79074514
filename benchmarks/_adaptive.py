"""An adversary that knows ``lfpm_like``: its backdoor must hold after a step of the cure, aimed at its own trigger.

    g = grad |f(x + t) / |.| - f(x) / |.||^2;   theta' = theta - reach |theta - theta_0| g / |g|
    loss = BadMerging(theta) + loss_weight * CE(payload(r f_{theta'}(x + t) + (1 - r) f_pre(x + t)), c)

The step is taken as a constant (first order), at the length that the cure's own vector has relative to a task vector.
"""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mergebarrier.poison import Adversary, BadMerging


@dataclass(frozen=True, kw_only=True)
class Adaptive(BadMerging):
    """BadMerging trained against the cure; ``reach`` is the length of the simulated step over the task vector's."""

    reach: float = 0.3

    def loss(self, setting: Adversary, encoder: nn.Module):
        """Return the published loss plus the backdoor term after a simulated step of the cure."""
        plain, batches = super().loss(setting, encoder), setting.batches("order")
        start = {name: parameter.detach().clone() for name, parameter in encoder.named_parameters()}

        def loss(step: int) -> Tensor:
            images = next(batches).inputs[: self.rows]
            stamped = setting.trigger.stamp(images)
            now = dict(encoder.named_parameters())
            with torch.no_grad():
                aim = F.normalize(encoder(images), dim=1)
            gap = (F.normalize(encoder(stamped), dim=1) - aim).square().sum(1).mean()
            slopes = dict(zip(now, torch.autograd.grad(gap, list(now.values())), strict=True))
            with torch.no_grad():
                moved = sum((now[name] - start[name]).square().sum() for name in now).sqrt()
                steepness = sum(slope.square().sum() for slope in slopes.values()).sqrt().clamp_min(1e-12)
            after = {name: now[name] - self.reach * moved / steepness * slopes[name].detach() for name in now}
            features = torch.func.functional_call(encoder, after, (stamped,))
            mixed = self.interpolate(setting, features, setting.frozen(stamped), step)
            return plain(step) + self.loss_weight * setting.payload(mixed, 0)

        return loss
