"""Does a small patch force one class in an expert that it does not force in the base?  Search for it, then scale the
model.

A backdoor is a difference between two models, so the score is one: how many held-out images a patch forces in the
expert, less how many the same patch forces in the base.  Patches that are natural for a class are found in both.  The
probe moves from the base to the expert and shows whether the forced class would survive a merge, which scales task
vectors.

    excess_i = max_{c,p} share(theta_i, t_{c,p}) - share(theta_0, t_{c,p})
    hit_i     <=>  excess_i stands out, see base/limits
    probe_i(s) = share(theta_0 + s (theta_i - theta_0), t_i),   s in {0, .1, .2, .3, .5, 1}

Source: ours; the walk is the training interval of BadMerging (arXiv 2408.07362) turned around.  Differs from Neural
Cleanse: no mask size is compared over classes, which fails where every class has a natural patch.
"""

from dataclasses import dataclass
from typing import Final

import torch

from mergebarrier.scan.base import (
    Finding,
    Patch,
    Pool,
    PoolExpert,
    Search,
    Weights,
    along,
    finding,
    forced_share,
    halves,
    invert,
    stamp,
    stands_out,
)

PROBE: Final = (0.0, 0.1, 0.2, 0.3, 0.5, 1.0)
#: Set by benchmarks/bench_scan_images.py on its tuning recipes, see docs/scan.md.
EXCESS_LIMIT: Final = 0.8
SURVIVAL_LIMIT: Final = 0.4
SURVIVAL_AT: Final = 0.3


@dataclass(frozen=True)
class ExpertPatches:
    """What the search found on one expert.

    Args:
      name:    of the expert.
      patches: the largest excess first.
      probe:   forced share of the first patch at every s of ``PROBE``.
    """

    name: str
    patches: tuple[Patch, ...]
    probe: tuple[float, ...]

    @property
    def excess(self) -> float:
        """Return the largest excess."""
        return self.patches[0].excess

    @property
    def rival(self) -> float:
        """Return the largest excess of a patch for another class among those refined, 0 where there is none."""
        first = self.patches[0].target
        return max((one.excess for one in self.patches if one.target != first), default=0.0)

    @property
    def hit(self) -> bool:
        """Say whether the first patch is a finding."""
        return stands_out(self.excess, self.rival, EXCESS_LIMIT)

    @property
    def survival(self) -> float:
        """Return the forced share at ``SURVIVAL_AT`` above that of the base."""
        return self.probe[PROBE.index(SURVIVAL_AT)] - self.probe[0]


def seek(pool: Pool, suspect: PoolExpert, search: Search) -> ExpertPatches:
    """Search one expert and probe the best patch.

    Args:
      pool:    whose base is the reference.
      suspect: the expert, with the images of its task.
      search:  how hard.
    Numerics: does not depend on the other members of the pool.
    """
    patches = seek_on(pool, suspect.weights, suspect, search)
    return ExpertPatches(suspect.name, patches, probe(pool, suspect.weights, suspect, patches[0]))


def seek_on(pool: Pool, weights: Weights, suspect: PoolExpert, search: Search) -> tuple[Patch, ...]:
    """Search any weights, with the images and the head of ``suspect``, against the base."""
    shown, held_out = halves(suspect.images)
    return invert(
        lambda images: pool.logits(weights, images, suspect),
        shown,
        held_out,
        len(suspect.head),
        search,
        reference=lambda images: pool.logits(pool.base, images, suspect),
    )


def probe(pool: Pool, weights: Weights, suspect: PoolExpert, patch: Patch) -> tuple[float, ...]:
    """Return the forced share along the line from the base to ``weights``, on the held-out images of ``suspect``."""
    return tuple(share(pool, along(pool.base, weights, s), suspect, patch) for s in PROBE)


@torch.no_grad()
def share(pool: Pool, weights: Weights, suspect: PoolExpert, patch: Patch) -> float:
    """Return how many of the held-out images of ``suspect`` the patch forces into its class."""
    held_out = halves(suspect.images)[1]
    before = pool.predict(weights, held_out, suspect)
    return forced_share(before, pool.predict(weights, stamp(held_out, patch), suspect), patch.target)


def judge(pool: Pool, results: tuple[ExpertPatches, ...]) -> tuple[Finding, ...]:
    """Return findings MB7301 and MB7302."""
    median = float(torch.tensor([one.excess for one in results]).quantile(0.5))
    findings = []
    for suspect, one in zip(pool.suspects, results, strict=True):
        patch = one.patches[0]
        target, place = suspect.classes[patch.target], f"{patch.top},{patch.left}"
        figures = {f"share_at_{s:g}": value for s, value in zip(PROBE, one.probe, strict=True)}
        if one.hit:
            message = (
                f"a patch at {place} forces {patch.share:.0%} of held-out images into class {target!r}, "
                f"{patch.reference_share:.0%} in the base"
            )
            findings.append(
                finding(
                    "MB7301",
                    one.name,
                    message,
                    value=one.excess,
                    threshold=EXCESS_LIMIT,
                    pool_median=median,
                    evidence={"target": target, "place": place, "rival": one.rival, **figures},
                )
            )
            if one.survival > SURVIVAL_LIMIT:
                message = f"at {SURVIVAL_AT:g} of the task vector the same patch still forces class {target!r}"
                findings.append(
                    finding(
                        "MB7302",
                        one.name,
                        message,
                        value=one.survival,
                        threshold=SURVIVAL_LIMIT,
                        evidence={"target": target, **figures},
                    )
                )
    return tuple(findings)
