"""Every weight moves: the loop behind image experts, backdoors and their cures, for any loss that can be written down.

The loss is a closure that draws its own batch, so one loop serves cross-entropy, feature interpolation and sums of
them; what differs between an honest expert and a poisoned one is the closure and nothing else.

    w <- AdamW(w, clip(grad loss(step), clip_norm)),   rate(step) = peak * min(1, (step+1)/warm-up) * half a cosine

Source: AdamW, Loshchilov and Hutter, arXiv 1711.05101; the schedule is that of the task-arithmetic experiments
(arXiv 2212.04089).  Differs: a loss that is NaN or infinite ends the run with its step instead of a broken model.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from mergebarrier.errors import Diverged
from mergebarrier.progress import Progress


@dataclass(frozen=True)
class FullRecipe:
    """Hyper-parameters of one run.

    Args:
      steps:         updates in all.
      learning_rate: the peak, reached after the warm-up; then half a cosine down to zero.
      weight_decay:  of AdamW, decoupled.
      warmup_steps:  steps of the linear warm-up; 0 for none.
      clip_norm:     largest norm of the gradient over all weights.
      batch_size:    for the closure's own draws; the loop does not use it.
      seed:          likewise.
    Raises: ValueError for a value out of range.
    """

    steps: int = 200
    learning_rate: float = 5e-4
    weight_decay: float = 0.1
    warmup_steps: int = 20
    clip_norm: float = 1.0
    batch_size: int = 128
    seed: int = 0

    def __post_init__(self) -> None:
        """Check every value."""
        for name in ("steps", "batch_size"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} = {getattr(self, name)}; it must be at least 1")
        for name in ("learning_rate", "clip_norm"):
            if not (0 < getattr(self, name) < math.inf):
                raise ValueError(f"{name} = {getattr(self, name)}; it must be positive and finite")
        for name in ("weight_decay", "warmup_steps", "seed"):
            if not (0 <= getattr(self, name) < math.inf):
                raise ValueError(f"{name} = {getattr(self, name)}; it must be finite and not negative")

    def rate(self, step: int) -> float:
        """Return the learning rate of step 0, 1, ..."""
        if step < self.warmup_steps:
            return self.learning_rate * (step + 1) / self.warmup_steps
        way = (step - self.warmup_steps) / max(1, self.steps - self.warmup_steps)
        return self.learning_rate * 0.5 * (1 + math.cos(math.pi * min(1.0, way)))


def train_full(
    module: nn.Module,
    recipe: FullRecipe,
    loss: Callable[[int], Tensor],
    *,
    progress: Progress | None = None,
) -> tuple[float, ...]:
    """Minimise a loss over every parameter of a module that requires a gradient, in place.

    Args:
      module:   float32; in training mode during the run, and as it was afterwards.
      recipe:   hyper-parameters.
      loss:     step -> scalar Float[Tensor, ""] with a graph; draws its own batch.
      progress: called with (steps done, steps in all).
    Returns: the loss of every step.
    Raises:  Diverged when a loss or a gradient is NaN or infinite, naming the step and the value; ValueError when no
             parameter requires a gradient.
    Numerics: determinism class profile: the same bits for the same torch build, CPU and number of threads; takes
              nothing from and leaves nothing in the global random state.
    """
    weights = [parameter for parameter in module.parameters() if parameter.requires_grad]
    if not weights:
        raise ValueError("no parameter of the module requires a gradient")
    optimizer = torch.optim.AdamW(weights, lr=recipe.learning_rate, weight_decay=recipe.weight_decay)
    was_training = module.training
    module.train()
    losses = []
    try:
        for step in range(recipe.steps):
            for group in optimizer.param_groups:
                group["lr"] = recipe.rate(step)
            value = loss(step)
            losses.append(float(value.detach()))
            _require_finite(losses[-1], "the loss", step)
            torch.autograd.backward(value)
            norm = nn.utils.clip_grad_norm_(weights, recipe.clip_norm)
            _require_finite(float(norm), "the norm of the gradient", step)
            optimizer.step()
            optimizer.zero_grad()
            if progress is not None:
                progress(step + 1, recipe.steps)
    finally:
        optimizer.zero_grad()
        module.train(was_training)
    return tuple(losses)


def _require_finite(value: float, what: str, step: int) -> None:
    if not math.isfinite(value):
        raise Diverged(
            f"{what} is {value} at step {step}", where="training", remedy="lower the learning rate or the loss weight"
        )
