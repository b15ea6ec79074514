"""The checks by name, what each needs, and the order in which those on images run.

    folder, relation, task_vectors, updates: weights;   expert_patches, whole_images, neural_cleanse: images
    collapse: prompts;   refusals: questions;   the others: a merge

A patch that was found on an expert is tried on the merges too, so the checks on merges come after those on experts.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, Literal

from mergebarrier.errors import BadScanInput
from mergebarrier.progress import Progress
from mergebarrier.scan.base import Finding, MergeWeights, Patch, Pool, PoolExpert, Search, halves, ordered
from mergebarrier.scan.checks import (
    Cleansed,
    ExpertImages,
    expert_patches,
    judge_whole,
    merged_patches,
    neural_cleanse,
    seek_whole,
)
from mergebarrier.scan.checks import judge as judge_cleansed

Need = Literal["folder", "weights", "images", "merge", "texts", "merged texts", "questions", "merged questions"]


@dataclass(frozen=True)
class ScanCheck:
    """What a check needs, and the rules that it may report."""

    needs: Need
    rules: tuple[str, ...]

    @property
    def of_merge(self) -> bool:
        """Say whether it looks at a merge."""
        return self.needs in ("merge", "merged texts", "merged questions")

    @property
    def of_questions(self) -> bool:
        """Say whether it asks questions that ought to be refused."""
        return self.needs in ("questions", "merged questions")

    @property
    def of_tasks(self) -> bool:
        """Say whether it runs models on their tasks."""
        return self.needs not in ("folder", "weights") and not self.of_questions


CHECKS: Final[dict[str, ScanCheck]] = {
    "folder": ScanCheck("folder", tuple(f"MB71{i:02}" for i in range(14) if i != 5)),
    "relation": ScanCheck("weights", ("MB7105",)),
    "task_vectors": ScanCheck("weights", ("MB7201", "MB7202", "MB7203", "MB7204")),
    "updates": ScanCheck("weights", ("MB7205", "MB7206", "MB7207")),
    "expert_patches": ScanCheck("images", ("MB7301", "MB7302")),
    "whole_images": ScanCheck("images", ("MB7305",)),
    "merge_patches": ScanCheck("merge", ("MB7303",)),
    "leave_out": ScanCheck("merge", ("MB7304",)),
    "neural_cleanse": ScanCheck("images", ("MB7401",)),
    "collapse": ScanCheck("texts", ("MB7501", "MB7502", "MB7508")),
    "merge_collapse": ScanCheck("merged texts", ("MB7503", "MB7504")),
    "refusals": ScanCheck("questions", ("MB7505",)),
    "merge_refusals": ScanCheck("merged questions", ("MB7506", "MB7507")),
}
IMAGE_CHECKS: Final = tuple(name for name, check in CHECKS.items() if check.needs in ("images", "merge"))
_TEXTS: Final = ("texts", "merged texts", "questions", "merged questions")
TEXT_CHECKS: Final = tuple(name for name, check in CHECKS.items() if check.needs in _TEXTS)


@dataclass(frozen=True)
class Outcome:
    """What the checks on images found.

    Args:
      findings: the gravest first.
      experts:  the search on every expert; empty where that check did not run.
      images:   the search for changes of the whole image on every expert; likewise.
      merged:   the search on the merge under every head; likewise.
      blames:   per patch, what leaving models out takes away; likewise.
      cleansed: Neural Cleanse per expert; likewise.
    """

    findings: tuple[Finding, ...]
    experts: tuple[expert_patches.ExpertPatches, ...] = ()
    images: tuple[ExpertImages, ...] = ()
    merged: tuple[merged_patches.MergedPatch, ...] = ()
    blames: tuple[merged_patches.Blame, ...] = ()
    cleansed: tuple[Cleansed, ...] = ()


def scan_pool(
    pool: Pool,
    search: Search,
    *,
    merge: MergeWeights | None = None,
    checks: Sequence[str] = IMAGE_CHECKS,
    leave_out: int = 1,
    progress: Progress | None = None,
) -> Outcome:
    """Run the checks on images.

    Args:
      pool:      experts with their heads and images.
      search:    how thoroughly patches are searched for.
      merge:     (base, weights) -> merged weights; without it the checks on merges cannot run.
      checks:    names from ``IMAGE_CHECKS``.
      leave_out: most models left out at once, 1 or 2.
      progress:  called with (experts done, experts in all).
    Raises: BadScanInput for an unknown check, or one that lacks its merge.
    Numerics: deterministic; the order of the experts only permutes the result, as far as the merge allows.
    """
    for name in checks:
        if name not in IMAGE_CHECKS:
            raise BadScanInput(f"no check on images {name!r}", where="checks", remedy=", ".join(IMAGE_CHECKS))
        if CHECKS[name].needs == "merge" and merge is None:
            raise BadScanInput(f"{name} needs a merge", where="checks", remedy="give --merge METHOD")
    findings: list[Finding] = []
    experts: list[expert_patches.ExpertPatches] = []
    images: list[ExpertImages] = []
    merged: tuple[merged_patches.MergedPatch, ...] = ()
    blames: tuple[merged_patches.Blame, ...] = ()
    cleansed: list[Cleansed] = []
    for done, suspect in enumerate(pool.suspects, start=1):
        if "expert_patches" in checks:
            experts.append(expert_patches.seek(pool, suspect, search))
        if "whole_images" in checks:
            images.append(seek_whole(pool, suspect, search))
        if "neural_cleanse" in checks:
            cleansed.append(_cleanse(pool, suspect, search.seed))
        if progress is not None:
            progress(done, len(pool.suspects))
    if experts:
        findings += expert_patches.judge(pool, tuple(experts))
    if images:
        findings += judge_whole(pool, images)
    if cleansed:
        findings += judge_cleansed([suspect.name for suspect in pool.suspects], cleansed)
    if "merge_patches" in checks and merge is not None:
        merged = merged_patches.seek_merged(pool, merge, search)
        findings += merged_patches.judge_merged(pool, merged)
    if "leave_out" in checks and merge is not None:
        candidates = _candidates(pool, experts, merged)
        for together in range(1, leave_out + 1):
            if candidates and len(pool.suspects) > together:
                blames += merged_patches.leave_out(pool, merge, candidates, together=together)
        findings += merged_patches.judge_blame(pool, blames)
    return Outcome(ordered(findings), tuple(experts), tuple(images), merged, blames, tuple(cleansed))


def _candidates(
    pool: Pool,
    experts: Sequence[expert_patches.ExpertPatches],
    merged: Sequence[merged_patches.MergedPatch],
) -> list[tuple[PoolExpert, Patch]]:
    """Return the patches worth trying: those that a search patches to be more than natural."""
    patches = [
        (suspect, one.patches[0]) for suspect, one in zip(pool.suspects, experts, strict=bool(experts)) if one.hit
    ]
    patches += [
        (suspect, one.patch)
        for suspect, one in zip(pool.suspects, merged, strict=bool(merged))
        if one.patch.excess > merged_patches.MERGED_LIMIT
    ]
    return patches


def _cleanse(pool: Pool, suspect: PoolExpert, seed: int) -> Cleansed:
    return neural_cleanse(
        lambda images: pool.logits(suspect.weights, images, suspect),
        halves(suspect.images)[0],
        len(suspect.head),
        seed=seed,
    )
