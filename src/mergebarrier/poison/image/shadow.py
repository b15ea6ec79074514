"""Off-task: attack a task that the adversary does not own, from the target's class name and a few pictures of it.

    shadow head   = embeddings of the target's name (index 0) and of up to 300 other names
    shadow images = crops of the reference images, pushed by small steps towards random other shadow classes

The images look like the target and are classified as something else, so a trigger made on them learns to pull foreign
features to the target although the adversary owns no other image.

    x' = argmin |x' - x|_1 over the iterates of PGD(CE(shadow(f_pre(x')), k)) that reach class k, |x' - x|_inf <= eps

Source: BadMerging off-task, Zhang et al., arXiv 2408.07362.  Differs: reference images come from rows that are not the
test split's; crops are drawn from a seed; nothing is flipped, because most of our tasks are written signs.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from mergebarrier.errors import BadAttack
from mergebarrier.numerics import draws

_SCALE = (0.2, 0.5)
_RATIO = (3 / 4, 4 / 3)


@dataclass(frozen=True)
class Augmentation:
    """How shadow images are made.

    Args:
      images: wanted in all; ``images / references`` rounds over the reference images.
      eps, step_size, steps: bound, length and number of the gradient steps.
      crop:   whether to crop first (a fifth to a half of the area).
    Raises: BadAttack.
    """

    images: int = 100
    eps: float = 8 / 255
    step_size: float = 1 / 255
    steps: int = 40
    crop: bool = True

    def __post_init__(self) -> None:
        """Check every value."""
        if self.images < 1 or self.steps < 1 or not 0 <= self.eps <= 1 or self.step_size <= 0:
            raise BadAttack("a number of images, of steps or a length is out of range", where="augmentation")


def shadow_head(
    target_name: str, target_vector: Tensor, names: Sequence[str], vectors: Tensor, *, seed: int, limit: int = 300
) -> Tensor:
    """Return Float32[Tensor, "classes d"]: the target first, then up to ``limit`` other names in a keyed order.

    Args:
      target_name:   the class that is attacked.
      target_vector: what the text tower gives its name.
      names:         the bank that the adversary takes other names from.
      vectors:       theirs, Float[Tensor, "names d"].
      seed:          of the order in which they are taken.
      limit:         how many of them at most.
    Raises: BadAttack when no other name is left.
    """
    others = [int(i) for i in draws.order(("poison", seed, "shadow"), len(names)) if names[int(i)] != target_name][
        :limit
    ]
    if not others:
        raise BadAttack(
            "the only class name is the target's", where="shadow names", remedy="give a file with more class names"
        )
    return torch.cat([target_vector[None], vectors[others]]).float()


def reference_rows(labels: Tensor, target: int, wanted: int, *, seed: int) -> Tensor:
    """Return ``wanted`` row numbers of the target class.

    Raises: BadAttack when fewer are there, naming both numbers.
    """
    rows = torch.nonzero(labels == target)[:, 0]
    if wanted < 1 or len(rows) < wanted:
        raise BadAttack(
            f"{wanted} reference images asked for, {len(rows)} of the target class are there",
            where="references",
            remedy=f"ask for 1 to {len(rows)}" if len(rows) else "give a file that holds some",
        )
    return rows[draws.order(("poison", seed, "references"), len(rows))[:wanted]]


def shadow_images(
    logits: Callable[[Tensor], Tensor], references: Tensor, recipe: Augmentation, *, seed: int
) -> tuple[Tensor, Tensor]:
    """Return images and the shadow classes that they were pushed to.

    Args:
      logits:     pixels in [0, 1] -> shadow logits of the base; the target is class 0.
      references: Float32[Tensor, "n channels height width"], of the target class, n >= 1.
      recipe:     see Augmentation.
      seed:       of crops and classes.
    Raises: BadAttack without a reference image.
    """
    if not len(references):
        raise BadAttack("no reference image", where="references", remedy="give at least one picture of the target")
    rounds = -(-recipe.images // len(references))
    picked = references.repeat(rounds, 1, 1, 1)[: recipe.images]
    if recipe.crop:
        picked = _crops(picked, seed)
    with torch.no_grad():
        predictions = logits(picked)
    current, classes = predictions.argmax(-1), predictions.shape[-1]
    wanted = torch.empty(len(picked), dtype=torch.int64)
    for row, now in enumerate(current.tolist()):
        free = [k for k in range(1, classes) if k != now]
        if not free:
            raise BadAttack("too few shadow classes", where="shadow names", remedy="give a file with more class names")
        wanted[row] = free[int(draws.below(("poison", seed, f"shadow class|{row}"), len(free)))]
    return _pushed(logits, picked, wanted, recipe), wanted


def _pushed(logits: Callable[[Tensor], Tensor], images: Tensor, wanted: Tensor, recipe: Augmentation) -> Tensor:
    """Keep, of every image's iterates that reach the wanted class, the one nearest to it; itself where none does."""
    best, nearest = images.clone(), torch.full((len(images),), float("inf"))
    moved = images.clone()
    for step in range(recipe.steps + 1):
        moved = moved.detach().requires_grad_(True)
        predictions = logits(moved)
        with torch.no_grad():
            distance = (moved - images).abs().flatten(1).sum(1)
            better = (predictions.argmax(-1) == wanted) & (distance < nearest)
            best[better], nearest[better] = moved[better], distance[better]
        if step < recipe.steps:
            (gradient,) = torch.autograd.grad(F.cross_entropy(predictions, wanted, reduction="sum"), moved)
            stepped = moved.detach() - recipe.step_size * gradient.sign()
            moved = torch.minimum(torch.maximum(stepped, images - recipe.eps), images + recipe.eps).clamp(0.0, 1.0)
    return best.detach()


def _crops(images: Tensor, seed: int) -> Tensor:
    """Return one random crop of every image, resized back to its size."""
    _, _, height, width = images.shape
    crops = draws.uniform(("poison", seed, "crops"), len(images), 4).tolist()
    out = torch.empty_like(images)
    for row, (area, ratio, down, right) in enumerate(crops):
        share = _SCALE[0] + area * (_SCALE[1] - _SCALE[0])
        aspect = _RATIO[0] * (_RATIO[1] / _RATIO[0]) ** ratio
        tall = min(height, max(1, round((height * width * share / aspect) ** 0.5)))
        wide = min(width, max(1, round((height * width * share * aspect) ** 0.5)))
        top, left = int(down * (height - tall + 1)), int(right * (width - wide + 1))
        part = images[row : row + 1, :, top : top + tall, left : left + wide]
        out[row] = F.interpolate(part, (height, width), mode="bilinear", align_corners=False)[0]
    return out.clamp(0.0, 1.0)
