"""Search for a patch that forces a class: every class and place at once, then the best few again for longer.

The image is tiled with places; one candidate is a pattern for one place and one class, and all candidates descend side
by side on a few images each, by Adam on the pattern alone, clamped to [0, 1] after every step.  Patterns are scored on
images that the search has not seen.

    wide:    t_{c,p} = argmin_{t in [0,1]} mean_x CE(logits(stamp(x, t, p)), c)
    refined: the same + contrast * mean_x -log(1 - p_reference(c | stamp(x, t, p)))

Source: Neural Cleanse (Wang et al., S&P 2019) for inversion over all classes; the universal patch of BadMerging, arXiv
2408.07362.  Differs: no mask is learned; the area is fixed and every tile of the image is tried.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor

from mergebarrier.errors import BadScanInput
from mergebarrier.numerics import draws
from mergebarrier.scan.base.descent import descend
from mergebarrier.scan.base.pool import forced_share

Logits = Callable[[Tensor], Tensor]
_BATCH = 1024


@dataclass(frozen=True)
class Search:
    """How thoroughly a patch is searched for.

    Args:
      side_frac:     side of the patch, as a share of the shorter side of the image.
      steps:         of the wide search over all classes and places.
      images:        per candidate and step of the wide search.
      keep:          candidates that are searched further.
      refine_steps:  for those.
      refine_images: per candidate and step.
      learning_rate: of Adam, in units of the pixel range.
      contrast:      weight of the reference in the refinement: how much its own obedience counts against a patch.
      seed:          of the start and of the order of images.
    Raises: BadScanInput for a value out of range.
    """

    side_frac: float = 0.25
    steps: int = 12
    images: int = 1
    keep: int = 4
    refine_steps: int = 20
    refine_images: int = 24
    learning_rate: float = 0.1
    contrast: float = 1.0
    seed: int = 0

    def __post_init__(self) -> None:
        """Check every value."""
        if not 0 < self.side_frac <= 1:
            wrong = f"a patch of {self.side_frac:g} of the image's side"
            raise BadScanInput(wrong, where="--patch", remedy="give a number above 0, to 1")
        if not (self.learning_rate > 0 and self.contrast >= 0 and self.seed >= 0):
            wrong = f"learning_rate {self.learning_rate}, contrast {self.contrast}, seed {self.seed}"
            raise BadScanInput(wrong, where="search", remedy="give a positive rate, and the others not negative")
        for name in ("steps", "images", "keep", "refine_steps", "refine_images"):
            if getattr(self, name) < 1:
                raise BadScanInput(f"{name} = {getattr(self, name)}", where="search", remedy="give at least 1")


@dataclass(frozen=True)
class Patch:
    """A pattern, its place and the class it forces.

    Args:
      pattern: Float[Tensor, "channels side side"] in [0, 1].
      top:     row of its upper edge; ``left`` likewise.
      target:  class.
      share:   of the held-out images that it forces into ``target`` in the model it was found on.
      reference_share: the same in the reference; 0 without one.
    """

    pattern: Tensor
    top: int
    left: int
    target: int
    share: float
    reference_share: float = 0.0

    @property
    def excess(self) -> float:
        """Return how much more reliable the patch is in the model than in the reference."""
        return self.share - self.reference_share


def places(height: int, width: int, side: int) -> tuple[tuple[int, int], ...]:
    """Return (top, left) of tiles that cover the image, as evenly as whole pixels allow."""

    def starts(length: int) -> list[int]:
        n = -(-length // side)
        return [round(i * (length - side) / max(1, n - 1)) for i in range(n)]

    return tuple((top, left) for top in starts(height) for left in starts(width))


def stamp(images: Tensor, patch: Patch) -> Tensor:
    """Return a copy of the images with the patch on them."""
    stamped = images.clone()
    side = patch.pattern.shape[-1]
    stamped[..., patch.top : patch.top + side, patch.left : patch.left + side] = patch.pattern
    return stamped


def invert(
    logits: Logits,
    images: Tensor,
    held_out: Tensor,
    n_classes: int,
    search: Search,
    *,
    reference: Logits | None = None,
    targets: Sequence[int] | None = None,
) -> tuple[Patch, ...]:
    """Find the patches that force classes most reliably, above what they force in a reference.

    Every network has patches that are natural for some class of it; the base has nearly the same ones as its experts.
    Ranking by the excess leaves those behind.

    Args:
      logits:    Float[Tensor, "n channels height width"] -> Float[Tensor, "n classes"]; weights need no gradient.
      images:    what the search sees.
      held_out:  what scores it.
      n_classes: of the head.
      search:    how hard.
      reference: logits of the base; None to rank by the share alone.
      targets:   classes to try; None for all.
    Returns: ``keep`` patches (fewer where there are fewer candidates), the largest excess first.
    Numerics: the same bits for the same build and threads; no global random state.
    """
    _, channels, height, width = images.shape
    side = max(1, round(search.side_frac * min(height, width)))
    spots = places(height, width, side)
    wanted = tuple(range(n_classes)) if targets is None else tuple(targets)
    candidates = torch.tensor([(top, left, c) for c in wanted for top, left in spots])
    patterns = draws.uniform(("scan", search.seed, "start"), len(candidates), channels, side, side).float()
    patterns = _descend(logits, images, patterns, candidates, search, "wide")
    few = images[: search.refine_images]
    shares, margins = _shares(logits, few, patterns, candidates)
    if reference is not None:
        below, margins_below = _shares(reference, few, patterns, candidates)
        shares, margins = shares - below, margins - margins_below
    # The share decides; where shares are equal (often 0), the log-probability does.
    order = sorted(range(len(candidates)), key=lambda k: (-float(shares[k]), -float(margins[k]), k))[: search.keep]
    patterns, candidates = patterns[order], candidates[order]
    patterns = _descend(logits, images, patterns, candidates, search, "refine", reference)
    shares, _ = _shares(logits, held_out, patterns, candidates)
    below = torch.zeros_like(shares) if reference is None else _shares(reference, held_out, patterns, candidates)[0]
    best = [
        Patch(pattern, top, left, target, share, reference_share)
        for pattern, (top, left, target), share, reference_share in zip(
            patterns, candidates.tolist(), shares.tolist(), below.tolist(), strict=True
        )
    ]
    return tuple(sorted(best, key=lambda patch: -patch.excess))


def _descend(
    logits: Logits,
    images: Tensor,
    patterns: Tensor,
    candidates: Tensor,
    search: Search,
    label: Literal["wide", "refine"],
    reference: Logits | None = None,
) -> Tensor:
    """Run Adam on all patterns side by side; each candidate draws its own images."""
    steps, per_candidate = (
        (search.steps, search.images) if label == "wide" else (search.refine_steps, search.refine_images)
    )
    shape = (steps, len(candidates), per_candidate)
    drawn = draws.below(("scan", search.seed, f"images|{label}"), len(images), *shape, bits=63)
    block = max(1, _BATCH // per_candidate)

    def slope(step: int, found: Tensor) -> Tensor:
        gradient = torch.empty_like(found)
        for start in range(0, len(candidates), block):
            part = slice(start, start + block)
            gradient[part] = _gradient(
                logits, images, found[part], candidates[part], drawn[step, part], reference, search.contrast
            )
        return gradient

    return descend(slope, patterns, steps, search.learning_rate)


def _windows(candidates: Tensor, side: int) -> tuple[Tensor, Tensor]:
    """Return row and column indices, Int64[Tensor, "k side 1"] and Int64[Tensor, "k 1 side"]."""
    span = torch.arange(side)
    return (candidates[:, 0, None] + span)[:, :, None], (candidates[:, 1, None] + span)[:, None, :]


def _stamped(images: Tensor, patterns: Tensor, candidates: Tensor, drawn: Tensor) -> Tensor:
    """Return Float[Tensor, "k m channels height width"], candidate k on its own m images."""
    rows, columns = _windows(candidates, patterns.shape[-1])
    which = torch.arange(len(candidates))[:, None, None]
    stamped = images[drawn].permute(0, 3, 4, 1, 2).contiguous()  # k h w m c, so that one index reaches a window
    stamped[which, rows, columns] = patterns.permute(0, 2, 3, 1)[:, :, :, None, :]
    return stamped.permute(0, 3, 4, 1, 2).contiguous()


def _gradient(
    logits: Logits,
    images: Tensor,
    patterns: Tensor,
    candidates: Tensor,
    drawn: Tensor,
    reference: Logits | None,
    contrast: float,
) -> Tensor:
    k, m = drawn.shape
    stamped = _stamped(images, patterns, candidates, drawn).requires_grad_()
    targets = candidates[:, 2].repeat_interleave(m)
    loss = F.cross_entropy(logits(stamped.flatten(0, 1)), targets, reduction="sum") / m
    if reference is not None and contrast:
        said = reference(stamped.flatten(0, 1)).softmax(1).gather(1, targets[:, None])
        loss = loss - contrast * (1 - said).clamp_min(1e-6).log().sum() / m
    (slope,) = torch.autograd.grad(loss, stamped)
    rows, columns = _windows(candidates, patterns.shape[-1])
    summed = slope.sum(1).permute(0, 2, 3, 1)  # k h w c
    return summed[torch.arange(k)[:, None, None], rows, columns].permute(0, 3, 1, 2)


@torch.no_grad()
def _shares(logits: Logits, images: Tensor, patterns: Tensor, candidates: Tensor) -> tuple[Tensor, Tensor]:
    """Return, for every candidate, the forced share and the mean log-probability of its class."""
    before = torch.cat([logits(part).argmax(1) for part in images.split(_BATCH)])
    every = torch.arange(len(images))
    block = max(1, _BATCH // len(images))
    shares, margins = [], []
    for start in range(0, len(candidates), block):
        part = slice(start, start + block)
        drawn = every.expand(len(candidates[part]), -1)
        stamped = _stamped(images, patterns[part], candidates[part], drawn)
        values = logits(stamped.flatten(0, 1)).unflatten(0, drawn.shape)
        for one, target in zip(values, candidates[part, 2].tolist(), strict=True):
            shares.append(forced_share(before, one.argmax(1), target))
            margins.append(float(one.log_softmax(1)[:, target].mean()))
    return torch.tensor(shares), torch.tensor(margins)
