"""Adam on what is searched for and nothing else, clamped to pixels after every step.

    t <- clip(t - rate * m / (sqrt(v) + 1e-8), 0, 1),   m, v: means of the slope and its square

Source: Adam, Kingma and Ba, arXiv 1412.6980.  Differs: the mean of squares forgets in a hundred steps.
"""

from collections.abc import Callable

import torch
from torch import Tensor


def descend(slope: Callable[[int, Tensor], Tensor], start: Tensor, steps: int, rate: float) -> Tensor:
    """Return where ``steps`` steps lead; candidates side by side do not hear each other.

    Args:
      slope: (step, Float[Tensor, "k *shape"]) -> the gradient there.
      start: in [0, 1].
      steps: at least 1.
      rate:  in units of the pixel range.
    """
    found = start.clone()
    mean, square = torch.zeros_like(found), torch.zeros_like(found)
    for step in range(steps):
        gradient = slope(step, found)
        # Written out: torch.optim.Adam orders these operations otherwise, and published findings would change.
        mean.lerp_(gradient, 0.1)
        square.lerp_(gradient.square(), 0.01)
        moved = (mean / (1 - 0.9 ** (step + 1))) / ((square / (1 - 0.99 ** (step + 1))).sqrt() + 1e-8)
        found = (found - rate * moved).clamp_(0, 1)
    return found
