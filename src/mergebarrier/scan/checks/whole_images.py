"""Does a change of the whole image, or of a few pixels of it, force one class in an expert and not in the base?

The search for patches over the maps of ``carriers``: for every class one set of parameters descends on a few images,
those with the largest excess descend again on more with the base in the loss, and held-out images score them.

    wide:    t_c = argmin_{t in [0,1]} mean_x CE(logits_i(put(x, t)), c)
    refined: the same - contrast * mean_x log(1 - p_0(c | put(x, t)))
    excess_i(carrier) = max_c share(theta_i, t_c) - share(theta_0, t_c),  of pieces less that of the stronger one alone

Source: ours, after Neural Cleanse (Wang et al., S&P 2019).  Differs: bounded maps in place of a mask.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import torch
import torch.nn.functional as F
from torch import Tensor

from mergebarrier.numerics import draws
from mergebarrier.scan.base import (
    CARRIERS,
    Carrier,
    Finding,
    Pool,
    PoolExpert,
    Put,
    Search,
    Weights,
    descend,
    finding,
    forced_share,
    halves,
    stands_out,
)

#: Images per class and step of the second descent, and how many classes go on.
MANY, KEEP = 8, 3
#: Images that tell which classes go on, and images of one pass through the encoder.
RANKED, BATCH = 24, 512
#: Set by benchmarks/bench_scan_images.py on its tuning recipes, see docs/scan.md.
WHOLE_LIMIT: Final = 0.6
PIECES_LIMIT: Final = 0.75


def limit_of(carrier: str) -> float:
    """Return the limit of a carrier; pieces may go anywhere, so they reach further in an honest expert too."""
    return WHOLE_LIMIT if CARRIERS[carrier].places is None else PIECES_LIMIT


@dataclass(frozen=True)
class WholeImage:
    """The change of one carrier that forces a class most, above the base.

    Args:
      carrier:         a key of ``CARRIERS``.
      target:          class.
      share:           of the held-out images that it forces into ``target`` in the expert.
      reference_share: the same in the base.
      alone:           the largest excess of a part of the change; 0 for a change of one part.
      rival:           the largest excess of another class; a damaged model has many, a backdoor one.
    """

    carrier: str
    target: int
    share: float
    reference_share: float
    alone: float
    rival: float

    @property
    def excess(self) -> float:
        """Return how much more reliable the change is in the expert than in the base, beyond its parts."""
        return self.share - self.reference_share - self.alone

    @property
    def hit(self) -> bool:
        """Say whether the change is a finding."""
        return stands_out(self.excess, self.rival, self.limit)

    @property
    def limit(self) -> float:
        """Return the limit of its carrier."""
        return limit_of(self.carrier)


@dataclass(frozen=True)
class ExpertImages:
    """What the search found on one expert: its name, and the best change of every carrier."""

    name: str
    found: tuple[WholeImage, ...]

    @property
    def best(self) -> WholeImage:
        """Return the change that is furthest above its limit, or nearest to it; a finding before any that is none."""
        return max(self.found, key=lambda one: (one.hit, one.excess - one.limit))


def seek_whole(pool: Pool, suspect: PoolExpert, search: Search) -> ExpertImages:
    """Search one expert with every carrier.

    Numerics: does not depend on the other members of the pool; the same bits for the same build and threads.
    """
    sought = (_Sought(pool, suspect, search, name, carrier) for name, carrier in CARRIERS.items())
    return ExpertImages(suspect.name, tuple(one.seek() for one in sought))


def judge_whole(pool: Pool, results: Sequence[ExpertImages]) -> tuple[Finding, ...]:
    """Return findings MB7305, one per expert at most: its strongest change."""
    median = float(torch.tensor([one.best.excess for one in results]).quantile(0.5))
    findings = []
    for suspect, one in zip(pool.suspects, results, strict=True):
        best = one.best
        if best.hit:
            target = suspect.classes[best.target]
            message = (
                f"a change of the whole image ({best.carrier}) forces {best.share:.0%} of held-out images into class "
                f"{target!r}, {best.reference_share:.0%} in the base"
            )
            figures = {f"excess_{found.carrier}": found.excess for found in one.found}
            figures |= {"rival": best.rival, "alone": best.alone}
            findings.append(
                finding(
                    "MB7305",
                    one.name,
                    message,
                    value=best.excess,
                    threshold=best.limit,
                    pool_median=median,
                    evidence={
                        "target": target,
                        "carrier": best.carrier,
                        "rival": best.rival,
                        "alone": best.alone,
                        **figures,
                    },
                )
            )
    return tuple(findings)


@dataclass(frozen=True)
class _Sought:
    """One expert, searched with one carrier."""

    pool: Pool
    suspect: PoolExpert
    search: Search
    name: str
    carrier: Carrier

    def seek(self) -> WholeImage:
        """Descend for every class, and again for those with the largest excess; score on held-out images."""
        shown, held_out = halves(self.suspect.images)
        shape, places = self.carrier.shape(*shown.shape[1:]), self.carrier.places
        put = self.carrier.put if places is None else places.put
        kept: list[tuple[float, int, Tensor]] = []
        block = max(1, BATCH // self.carrier.images)
        # Block by block: a pattern as large as an image for each of a thousand classes would not fit.
        for first in range(0, len(self.suspect.head), block):
            targets = torch.arange(first, min(first + block, len(self.suspect.head)))
            # In the middle nothing is clamped away yet, so every direction has a slope.
            found = self._descend(shown, torch.full((len(targets), *shape), 0.5), targets, "wide", put)
            scored = zip(self._shares(shown[:RANKED], found, targets, put), targets.tolist(), found, strict=True)
            kept += [(ours - base, c, one) for (ours, base), c, one in scored]
            kept = sorted(kept, key=lambda one: (-one[0], one[1]))[:KEEP]
        targets, found = torch.tensor([c for _, c, _ in kept]), torch.stack([one for _, _, one in kept])
        start = found if places is None else places.settle(found)
        found = self._descend(shown, start, targets, "refine", self.carrier.put)
        shares = self._shares(held_out, found, targets, self.carrier.put)
        parts: Sequence[Tensor] = [] if places is None else [*places.alone(found)]
        alone = [0.0] * len(targets)
        for part in parts:
            again = self._shares(held_out, part, targets, self.carrier.put)
            alone = [max(before, ours - base) for before, (ours, base) in zip(alone, again, strict=True)]
        excess = [ours - base - less for (ours, base), less in zip(shares, alone, strict=True)]
        best = excess.index(max(excess))
        rival = max((one for k, one in enumerate(excess) if k != best), default=0.0)
        return WholeImage(self.name, int(targets[best]), *shares[best], alone[best], rival)

    def _descend(self, images: Tensor, start: Tensor, targets: Tensor, label: str, put: Put) -> Tensor:
        wide = label == "wide"
        steps, per = self.carrier.steps, self.carrier.images if wide else MANY
        # Every class draws its own images, so a result does not depend on the block that it is in.
        streams = [("scan", self.search.seed, f"{self.name}|images|{label}|{c}") for c in targets.tolist()]
        drawn = torch.stack([draws.below(stream, len(images), steps, per, bits=63) for stream in streams], 1)
        wanted = targets.repeat_interleave(per)

        def slope(step: int, found: Tensor) -> Tensor:
            free = found.detach().requires_grad_()
            changed = put(images[drawn[step]], free).flatten(0, 1)
            loss = F.cross_entropy(self._logits(self.suspect.weights, changed), wanted, reduction="sum")
            if not wide or self.carrier.places is not None:
                said = self._logits(self.pool.base, changed).softmax(1).gather(1, wanted[:, None])
                loss = loss - self.search.contrast * (1 - said).clamp_min(1e-6).log().sum()
            (gradient,) = torch.autograd.grad(loss / per, free)
            return gradient

        return descend(slope, start, steps, self.search.learning_rate)

    def _logits(self, weights: Weights, images: Tensor) -> Tensor:
        return self.pool.logits(weights, images, self.suspect)

    @torch.no_grad()
    def _shares(self, images: Tensor, found: Tensor, targets: Tensor, put: Put) -> list[tuple[float, float]]:
        """Return the forced share in the expert and in the base, for every candidate."""
        predict, shares = self.pool.predict, []
        before = [predict(weights, images, self.suspect) for weights in (self.suspect.weights, self.pool.base)]
        for one, target in zip(found, targets.tolist(), strict=True):
            changed = put(images[None], one[None])[0]
            ours, base = (predict(w, changed, self.suspect) for w in (self.suspect.weights, self.pool.base))
            shares.append((forced_share(before[0], ours, target), forced_share(before[1], base, target)))
        return shares
