"""The checks by name, what each needs, and the order in which those on images run.

    folder, relation, task_vectors, updates: weights;   expert_patches, whole_images, neural_cleanse: images
    collapse: prompts;   refusals: questions;   the others: a merge

A patch that was found on an expert is tried on the merges too, so the checks on merges come after those on experts.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Final, Literal

from mergebarrier.errors import BadScanInput
from mergebarrier.progress import Progress
from mergebarrier.scan.base import (
    MERGED,
    Attempt,
    Finding,
    MergeWeights,
    Patch,
    Pool,
    PoolExpert,
    Search,
    halves,
    ordered,
    plainly,
)
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
      ran:      check -> names of the experts that it looked at.
    """

    findings: tuple[Finding, ...]
    experts: tuple[expert_patches.ExpertPatches, ...] = ()
    images: tuple[ExpertImages, ...] = ()
    merged: tuple[merged_patches.MergedPatch, ...] = ()
    blames: tuple[merged_patches.Blame, ...] = ()
    cleansed: tuple[Cleansed, ...] = ()
    ran: Mapping[str, tuple[str, ...]] = field(default_factory=dict)


def scan_pool(
    pool: Pool,
    search: Search,
    *,
    merge: MergeWeights | None = None,
    checks: Sequence[str] = IMAGE_CHECKS,
    leave_out: int = 1,
    attempt: Attempt = plainly,
    progress: Progress | None = None,
) -> Outcome:
    """Run the checks on images.

    Args:
      pool:      experts with their heads and images.
      search:    how thoroughly patches are searched for.
      merge:     (base, weights) -> merged weights; without it the checks on merges cannot run.
      checks:    names from ``IMAGE_CHECKS``.
      leave_out: most models left out at once, 1 or 2.
      attempt:   runs what is done with one expert, or with ``MERGED``; an expert with which it says False is left out
                 from then on, of the merge too.
      progress:  called with (experts done, experts in all).
    Raises: BadScanInput for an unknown check, or one that lacks its merge; what ``attempt`` lets through.
    Numerics: deterministic; the order of the experts only permutes the result, as far as the merge allows.
    """
    for name in checks:
        if name not in IMAGE_CHECKS:
            raise BadScanInput(f"no check on images {name!r}", where="checks", remedy=", ".join(IMAGE_CHECKS))
        if CHECKS[name].needs == "merge" and merge is None:
            raise BadScanInput(f"{name} needs a merge", where="checks", remedy="give --merge METHOD")
    sought: list[_OfExpert] = []
    for done, suspect in enumerate(pool.suspects, start=1):
        attempt(suspect.name, partial(_seek, pool, suspect, search, checks, sought))
        if progress is not None:
            progress(done, len(pool.suspects))
    if not sought:
        return Outcome(())
    left = replace(pool, suspects=tuple(one.suspect for one in sought))
    names = tuple(one.suspect.name for one in sought)
    ran = dict.fromkeys((name for name in checks if CHECKS[name].needs == "images"), names)
    experts = tuple(one.patches for one in sought if one.patches is not None)
    images = tuple(one.images for one in sought if one.images is not None)
    cleansed = tuple(one.cleansed for one in sought if one.cleansed is not None)
    findings = [*expert_patches.judge(left, experts)] if experts else []
    findings += judge_whole(left, images) if images else ()
    findings += judge_cleansed(names, cleansed) if cleansed else ()
    whole = Outcome((), experts, images, cleansed=cleansed)
    if merge is not None and (len(sought) > 1 or len(pool.suspects) == 1):
        merges: list[Outcome] = []
        if attempt(MERGED, partial(_seek_merged, left, merge, search, checks, leave_out, whole, merges)):
            whole = merges.pop()
            ran |= dict.fromkeys((name for name in checks if CHECKS[name].needs == "merge"), names)
    return replace(whole, findings=ordered([*findings, *whole.findings]), ran=ran)


@dataclass(frozen=True, kw_only=True)
class _OfExpert:
    """What each check found on one expert; None for a check that was not asked for."""

    suspect: PoolExpert
    patches: expert_patches.ExpertPatches | None
    images: ExpertImages | None
    cleansed: Cleansed | None


def _seek(pool: Pool, suspect: PoolExpert, search: Search, checks: Sequence[str], sought: list[_OfExpert]) -> None:
    patches = expert_patches.seek(pool, suspect, search) if "expert_patches" in checks else None
    images = seek_whole(pool, suspect, search) if "whole_images" in checks else None
    cleansed = _cleanse(pool, suspect, search.seed) if "neural_cleanse" in checks else None
    pool.predict(suspect.weights, suspect.images, suspect)  # who answers no numbers is in no merge either
    sought.append(_OfExpert(suspect=suspect, patches=patches, images=images, cleansed=cleansed))


def _seek_merged(
    pool: Pool,
    merge: MergeWeights,
    search: Search,
    checks: Sequence[str],
    most: int,
    found: Outcome,
    merges: list[Outcome],
) -> None:
    merged: tuple[merged_patches.MergedPatch, ...] = ()
    blames: tuple[merged_patches.Blame, ...] = ()
    findings: list[Finding] = []
    if "merge_patches" in checks:
        merged = merged_patches.seek_merged(pool, merge, search)
        findings += merged_patches.judge_merged(pool, merged)
    if "leave_out" in checks:
        candidates = _candidates(pool, found.experts, merged)
        for together in range(1, most + 1):
            if candidates and len(pool.suspects) > together:
                blames += merged_patches.leave_out(pool, merge, candidates, together=together)
        findings += merged_patches.judge_blame(pool, blames)
    merges.append(replace(found, findings=tuple(findings), merged=merged, blames=blames))


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
