"""Does a small patch force one class in the merge that it does not force in the base?  And which expert brought it?

A payload may be split over uploads that look ordinary alone, or aim at a head that its owner never held; it must be in
the merge to work.  So the merge is searched under every head, and every patch found anywhere is tried on the merges
that leave one model out.

    excess = share(merge, t) - share(base, t);     Delta_i(t) = share(merge, t) - share(merge without i, t)
    guilty(t) = argmax_i Delta_i(t)

Source: ours.  Differs from a per-model scan: nothing is assumed about which upload holds the payload.
"""

import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import torch

from mergebarrier.errors import BadScanInput
from mergebarrier.scan.base import MERGED, Finding, MergeWeights, Patch, Pool, PoolExpert, Search, along, finding
from mergebarrier.scan.checks.expert_patches import seek_on, share

#: Chosen by hand, lower than for an expert since merging dilutes; benchmarks/bench_scan.py shows what they give.
MERGED_LIMIT: Final = 0.5
BLAME_LIMIT: Final = 0.25
SWEEP: Final = (0.25, 0.5, 1.0, 1.5, 2.0)
#: Leaving out two of ten models already takes this many merges.
MANY_PAIRS: Final = 45


@dataclass(frozen=True)
class MergedPatch:
    """A patch on the merge, under the head of one task.

    Args:
      task:  the suspect whose head and images were used.
      patch: shares on the merge and on the base.
      sweep: forced share when the merge's distance from the base is scaled by each of ``SWEEP``.
    """

    task: str
    patch: Patch
    sweep: tuple[float, ...]


@dataclass(frozen=True)
class Blame:
    """How much of a patch's effect on the merge goes away with each model, or with each pair.

    Args:
      task:   whose head and images were used.
      patch:  the patch.
      merged: its share on the whole merge.
      drops:  (names that were left out, drop of the share), the largest drop first.
    """

    task: str
    patch: Patch
    merged: float
    drops: tuple[tuple[tuple[str, ...], float], ...]


def seek_merged(pool: Pool, merge: MergeWeights, search: Search) -> tuple[MergedPatch, ...]:
    """Search the merge of all suspects under every head; return the best patch of each task."""
    merged = merge(pool.base, [suspect.weights for suspect in pool.suspects])
    patches = []
    for suspect in pool.suspects:
        patch = seek_on(pool, merged, suspect, search)[0]
        sweep = tuple(share(pool, along(pool.base, merged, s), suspect, patch) for s in SWEEP)
        patches.append(MergedPatch(suspect.name, patch, sweep))
    return tuple(patches)


def leave_out(
    pool: Pool, merge: MergeWeights, candidates: Sequence[tuple[PoolExpert, Patch]], *, together: int = 1
) -> tuple[Blame, ...]:
    """Try every patch on the merges without one model (or without ``together``).

    Args:
      pool:       at least ``together`` + 1 suspects.
      merge:      (base, weights of the experts) -> merged weights.
      candidates: patches, each with the suspect whose head and images judge it.
      together:   how many are left out at once; 2 finds payloads split over two models.
    Raises: BadScanInput where nothing would be left to merge.
    """
    if len(pool.suspects) <= together:
        raise BadScanInput(
            f"{len(pool.suspects)} models, leaving out {together} leaves nothing to merge",
            where="leave-out",
            remedy="scan a larger pool",
        )
    merged = merge(pool.base, [suspect.weights for suspect in pool.suspects])
    whole = [share(pool, merged, suspect, patch) for suspect, patch in candidates]
    drops: list[list[tuple[tuple[str, ...], float]]] = [[] for _ in candidates]
    for left_out in itertools.combinations(range(len(pool.suspects)), together):
        rest = merge(pool.base, [s.weights for i, s in enumerate(pool.suspects) if i not in left_out])
        names = tuple(pool.suspects[i].name for i in left_out)
        for k, (suspect, patch) in enumerate(candidates):
            drops[k].append((names, whole[k] - share(pool, rest, suspect, patch)))
    return tuple(
        Blame(suspect.name, patch, all_in, tuple(sorted(lost, key=lambda drop: (-drop[1], drop[0]))))
        for (suspect, patch), all_in, lost in zip(candidates, whole, drops, strict=True)
    )


def judge_merged(pool: Pool, results: Sequence[MergedPatch]) -> tuple[Finding, ...]:
    """Return findings MB7303, about the merge of all suspects."""
    median = float(torch.tensor([one.patch.excess for one in results]).quantile(0.5))
    findings = []
    for suspect, one in zip(pool.suspects, results, strict=True):
        if one.patch.excess > MERGED_LIMIT:
            target = suspect.classes[one.patch.target]
            message = (
                f"under the head of {one.task} a patch forces {one.patch.share:.0%} of held-out images into class "
                f"{target!r}, {one.patch.reference_share:.0%} in the base"
            )
            figures = {f"share_at_{s:g}": value for s, value in zip(SWEEP, one.sweep, strict=True)}
            findings.append(
                finding(
                    "MB7303",
                    MERGED,
                    message,
                    value=one.patch.excess,
                    threshold=MERGED_LIMIT,
                    pool_median=median,
                    evidence={
                        "task": one.task,
                        "target": target,
                        "place": f"{one.patch.top},{one.patch.left}",
                        **figures,
                    },
                )
            )
    return tuple(findings)


def judge_blame(pool: Pool, results: Sequence[Blame]) -> tuple[Finding, ...]:
    """Return findings MB7304: for every patch that works on the merge, the model (or pair) whose absence disarms it."""
    classes = {suspect.name: suspect.classes for suspect in pool.suspects}
    findings: dict[str, Finding] = {}
    for one in results:
        names, drop = one.drops[0]
        guilty = " + ".join(names)
        if drop > BLAME_LIMIT and (guilty not in findings or drop > (findings[guilty].value or 0.0)):
            target = classes[one.task][one.patch.target]
            others = torch.tensor([value for _, value in one.drops[1:]])
            message = f"without it the share forced into class {target!r} falls from {one.merged:.0%} by {drop:.0%}"
            findings[guilty] = finding(
                "MB7304",
                guilty,
                message,
                value=drop,
                threshold=BLAME_LIMIT,
                pool_median=float(others.quantile(0.5)) if len(others) else None,
                evidence={"task": one.task, "target": target},
            )
    return tuple(findings.values())
