"""Neural Cleanse as published, for comparison: is one class reached by a far smaller mask than all others?

    min_{m,p} CE(f((1 - m) x + m p), c) + w |m|_1;   index_c = |n_c - med| / (1.4826 MAD),  hit: n_c < med, index > 2

Source: Wang et al., IEEE S&P 2019.  Differs: all classes descend side by side for a fixed number of steps, and the
weight w doubles or halves every few steps by whether a class reaches 99 % on its batch.  It fails where every class
has a natural patch, and on merges, which shrink what was learned.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

import torch
import torch.nn.functional as F
from torch import Tensor

from mergebarrier.numerics import draws
from mergebarrier.scan.base import Finding, finding, robust_z

INDEX_LIMIT: Final = 2.0
_ADAPT_EVERY: Final = 5
_REACHED: Final = 0.99


@dataclass(frozen=True)
class Cleansed:
    """Sizes of the masks and what follows from them.

    Args:
      sizes:  |m_c|_1 per class, in pixels.
      target: the class of the largest index among those below the median.
      index:  its anomaly index.
    """

    sizes: tuple[float, ...]
    target: int
    index: float


def neural_cleanse(
    logits: Callable[[Tensor], Tensor],
    images: Tensor,
    n_classes: int,
    *,
    steps: int = 100,
    batch: int = 16,
    learning_rate: float = 0.1,
    seed: int = 0,
) -> Cleansed:
    """Invert a mask and a pattern for every class and compare the sizes.

    Args:
      logits:    Float[Tensor, "n channels height width"] -> Float[Tensor, "n classes"].
      images:    without labels.
      n_classes: of the head.
      steps:     of Adam.
      batch:     images per class and step.
      learning_rate: of Adam, on the logits of mask and pattern.
      seed:      of the start and of the order of images.
    """
    _, channels, height, width = images.shape
    masks = (draws.uniform(("scan", seed, "cleanse mask"), n_classes, 1, height, width).float() - 3.0).requires_grad_()
    patterns = 2 * draws.uniform(("scan", seed, "cleanse pattern"), n_classes, channels, height, width).float() - 1
    patterns.requires_grad_()
    optimizer = torch.optim.Adam([masks, patterns], lr=learning_rate, betas=(0.5, 0.9))
    weight = torch.full((n_classes,), 1e-3)
    drawn = draws.below(("scan", seed, "cleanse images"), len(images), steps, batch, bits=63)
    targets = torch.arange(n_classes).repeat_interleave(batch)
    for step in range(steps):
        mask = masks.sigmoid()
        seen = images[drawn[step]][None]  # 1 b c h w
        mixed = torch.lerp(seen, patterns.sigmoid()[:, None], mask[:, None])
        predictions = logits(mixed.flatten(0, 1))
        sizes = mask.sum((1, 2, 3))
        loss = F.cross_entropy(predictions, targets, reduction="sum") / batch + (weight * sizes).sum()
        optimizer.zero_grad()
        torch.autograd.backward(loss)
        optimizer.step()
        if step % _ADAPT_EVERY == _ADAPT_EVERY - 1:
            reached = (predictions.argmax(1) == targets).view(n_classes, batch).float().mean(1) >= _REACHED
            weight = torch.where(reached, weight * 1.5, weight / 1.5).clamp(1e-5, 10.0)
    final = [float(size) for size in masks.detach().sigmoid().sum((1, 2, 3))]
    scores, _ = robust_z(final)
    target = min(range(n_classes), key=lambda c: scores[c])
    return Cleansed(tuple(final), target, max(0.0, -scores[target]))


def judge(names: Sequence[str], results: Sequence[Cleansed]) -> tuple[Finding, ...]:
    """Return findings MB7401."""
    median = float(torch.tensor([one.index for one in results]).quantile(0.5))
    return tuple(
        finding(
            "MB7401",
            name,
            f"class {one.target} needs a mask of {one.sizes[one.target]:.0f} pixels, anomaly index {one.index:.1f}",
            value=one.index,
            threshold=INDEX_LIMIT,
            pool_median=median,
        )
        for name, one in zip(names, results, strict=True)
        if one.index > INDEX_LIMIT
    )
