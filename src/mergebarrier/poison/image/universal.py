"""Stage 1 of BadMerging: a patch that pulls any image of the task towards one class, on the pre-trained encoder alone.

    batched (default):  t <- clamp01(Adam(t, grad mean CE(head(f_pre(stamp(x, t))), c))),   best of several starts
    as published:       sample after sample, ascend log p_c in plain gradient steps until that sample is fooled

Every start is judged by its ASR on images that it was not made with (label c left out); equal ones by their loss.
A model is never built here: ``logits`` maps pixels in [0, 1] to the base's logits.

Source: BadMerging, Zhang et al., arXiv 2408.07362 (the published loop steps in normalised space).  Differs: the
default is a mini-batch form of the same objective, an order of magnitude cheaper, and every step ends inside the legal
pixel range of each channel; ``paper_compat`` keeps the published clamp, one range for all channels in normalised space.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor

from mergebarrier.errors import BadAttack, BadTrigger
from mergebarrier.numerics import draws
from mergebarrier.poison.image.success import successes
from mergebarrier.poison.image.trigger import Trigger, check_side, corner, paste, to_bytes_grid
from mergebarrier.progress import Progress

Logits = Callable[[Tensor], Tensor]
_SCORE_BATCH = 256


@dataclass(frozen=True)
class UniversalRecipe:
    """How a universal trigger is made.

    Args:
      method:        "batched" or "published".
      steps, batch_size, learning_rate, restarts: of the batched form (Adam).
      epochs, samples, inner_steps, step_size, gain, early_stop: of the published loop: passes over how many samples,
                     steps per sample at most, the length of one, what the gradient is multiplied with, and whether a
                     sample is left as soon as it is fooled (off-task it is not).
      mean, std:     of the encoder's normalisation, per channel: the space in which the published loop steps.
      paper_compat:  the published clamp; its trigger may hold values that no image can.
    Raises: BadAttack.
    """

    method: Literal["batched", "published"] = "batched"
    steps: int = 300
    batch_size: int = 64
    learning_rate: float = 0.05
    restarts: int = 3
    epochs: int = 10
    samples: int = 2000
    inner_steps: int = 1000
    step_size: float = 1.0
    gain: float = 1.0
    early_stop: bool = True
    mean: tuple[float, ...] = (0.0,)
    std: tuple[float, ...] = (1.0,)
    paper_compat: bool = False

    def __post_init__(self) -> None:
        """Check every value."""
        for name in ("steps", "batch_size", "restarts", "epochs", "samples", "inner_steps"):
            if getattr(self, name) < 1:
                raise BadAttack(f"{getattr(self, name)}, must be at least 1", where=name, remedy="raise it")
        for name in ("learning_rate", "step_size", "gain"):
            if not 0 < getattr(self, name) < float("inf"):
                raise BadAttack(f"{getattr(self, name)}, must be positive", where=name, remedy="raise it")
        if self.method not in ("batched", "published") or not self.std or min(self.std) <= 0:
            raise BadAttack("unknown method, or a spread that is not positive", where="method", remedy="see its help")
        if self.paper_compat and self.method != "published":
            raise BadAttack(
                "has an effect only in the published loop", where="paper_compat", remedy="set method to published"
            )


@dataclass(frozen=True)
class MadeTrigger:
    """A trigger, how many held-out images it fools on the base, out of how many, and the rate of every start."""

    trigger: Trigger
    hits: int
    rows: int
    starts: tuple[float, ...]


def universal_trigger(
    logits: Logits,
    images: Tensor,
    labels: Tensor,
    held_out: tuple[Tensor, Tensor],
    target: int,
    *,
    side: int,
    seed: int,
    recipe: UniversalRecipe | None = None,
    place: str = "bottom-right",
    progress: Progress | None = None,
) -> MadeTrigger:
    """Make the trigger.

    Args:
      logits:   pixels Float32[Tensor, "n channels height width"] in [0, 1] -> Float[Tensor, "n classes"] of the base.
      images:   of the same kind, at least one with another label than ``target``.
      labels:   Int64[Tensor, "n"].
      held_out: images and labels that choose among the starts.
      target:   class index.
      side:     of the patch in pixels.
      seed:     of the starts and of the order of the images.
      recipe:   default UniversalRecipe().
      place:    a corner.
      progress: called with (steps done, steps in all).
    Returns: MadeTrigger.
    Raises:  BadTrigger (patch does not fit, or a loss that is not finite), BadAttack, NotMeasurable.
    Numerics: the same bits for the same torch build, CPU and number of threads; no global random state.
    """
    recipe = recipe or UniversalRecipe()
    shape = (int(images.shape[1]), int(images.shape[2]), int(images.shape[3]))
    check_side(side, shape)
    where = corner(place, side, shape)
    others = images[labels != target]
    if not len(others):
        raise BadAttack("every image has the target's label", where="images", remedy="give images of other classes")
    make = _batched if recipe.method == "batched" else _published
    search = _TriggerSearch(
        logits=logits, images=others, target=target, where=where, recipe=recipe, seed=seed, progress=progress
    )
    starts = recipe.restarts if recipe.method == "batched" else 1
    best: tuple[float, float, Trigger, int, int] | None = None
    rates = []
    for start in range(starts):
        pattern = draws.uniform(("poison", seed, f"start|{start}"), shape[0], side, side).float()
        pattern = make(search, pattern, start)
        if not recipe.paper_compat:
            pattern = to_bytes_grid(pattern)
        trigger = Trigger(pattern[None].contiguous(), (where,), shape, legal=not recipe.paper_compat)
        hits, rows, loss = _judge(logits, trigger, *held_out, target)
        rates.append(hits / rows)
        if best is None or (hits / rows, -loss) > best[:2]:
            best = (hits / rows, -loss, trigger, hits, rows)
    assert best is not None
    return MadeTrigger(best[2], best[3], best[4], tuple(rates))


@dataclass(frozen=True, kw_only=True)
class _TriggerSearch:
    """What every start is made with; the names are those of ``universal_trigger``."""

    logits: Logits
    images: Tensor
    target: int
    where: tuple[int, int]
    recipe: UniversalRecipe
    seed: int
    progress: Progress | None


def _batched(search: _TriggerSearch, pattern: Tensor, start: int) -> Tensor:
    recipe = search.recipe
    pattern = pattern.clone().requires_grad_(True)
    adam = torch.optim.Adam([pattern], lr=recipe.learning_rate)
    rows = _rows(len(search.images), recipe.batch_size, recipe.steps, search.seed, start)
    for step, index in enumerate(rows):
        predictions = search.logits(paste(search.images[index], pattern, *search.where))
        loss = F.cross_entropy(predictions, torch.full((len(index),), search.target))
        _require_finite(loss, step)
        (pattern.grad,) = torch.autograd.grad(loss, pattern)
        adam.step()
        with torch.no_grad():
            pattern.clamp_(0.0, 1.0)
        if search.progress is not None:
            search.progress(start * recipe.steps + step + 1, recipe.restarts * recipe.steps)
    return pattern.detach()


def _published(search: _TriggerSearch, pattern: Tensor, start: int) -> Tensor:
    recipe, n = search.recipe, len(search.images)
    mean, std = (torch.tensor(values).view(-1, 1, 1) for values in (recipe.mean, recipe.std))
    # The published loop draws in normalised space; a step there is std^2 times a step on pixels.
    low, high = torch.zeros(()), torch.ones(())
    if recipe.paper_compat:
        low, high = mean + std * ((0 - mean) / std).min(), mean + std * ((1 - mean) / std).max()
        pattern = torch.minimum(torch.maximum(mean + std * pattern, low), high)
    rate = recipe.step_size * recipe.gain * std.square()
    for epoch in range(recipe.epochs):
        chosen = draws.order(("poison", search.seed, f"published|{start}|{epoch}"), n)[: recipe.samples]
        for done, row in enumerate(chosen.tolist()):
            pattern = _fool(search, search.images[row : row + 1], pattern, rate, (low, high))
            if search.progress is not None:
                search.progress(epoch * len(chosen) + done + 1, recipe.epochs * len(chosen))
    return pattern


def _fool(
    search: _TriggerSearch, image: Tensor, pattern: Tensor, rate: Tensor, bounds: tuple[Tensor, Tensor]
) -> Tensor:
    """Ascend log p_c of one sample.

    On-task the loop stops when the stamped sample is fooled, and a sample that the base gives class c is skipped.
    """
    recipe, target = search.recipe, search.target
    if recipe.early_stop:
        with torch.no_grad():
            if int(search.logits(image).argmax()) == target:
                return pattern
    for step in range(recipe.inner_steps):
        pattern = pattern.detach().requires_grad_(True)
        predictions = search.logits(paste(image, pattern, *search.where))
        if recipe.early_stop and step and int(predictions.argmax()) == target:
            break
        value = predictions.log_softmax(-1)[0, target]
        _require_finite(value, step)
        (gradient,) = torch.autograd.grad(value, pattern)
        pattern = torch.minimum(torch.maximum(pattern.detach() + rate * gradient, bounds[0]), bounds[1])
    return pattern.detach()


@torch.no_grad()
def _judge(logits: Logits, trigger: Trigger, images: Tensor, labels: Tensor, target: int) -> tuple[int, int, float]:
    """Return (fooled images, images, mean loss) over those that are not of the target class."""
    kept = labels != target
    predictions = torch.cat(
        [logits(trigger.stamp(part)) for part in images[kept].split(_SCORE_BATCH)] or [torch.empty(0, 1)]
    )
    hits, rows = successes(predictions.argmax(-1), labels[kept], target)
    return hits, rows, float(F.cross_entropy(predictions, torch.full((rows,), target)))


def _rows(n: int, batch_size: int, steps: int, seed: int, start: int) -> list[Tensor]:
    """Return the rows of every step: fresh permutations, one after the other."""
    size = min(batch_size, n)
    per_epoch = n // size
    rows: list[Tensor] = []
    for epoch in range(-(-steps // per_epoch)):
        rows += draws.order(("poison", seed, f"batched|{start}|{epoch}"), n)[: per_epoch * size].split(size)
    return rows[:steps]


def _require_finite(loss: Tensor, step: int) -> None:
    if not torch.isfinite(loss):
        raise BadTrigger(
            f"the loss is {float(loss.detach())} at step {step}", where="universal trigger", remedy="check the base"
        )
