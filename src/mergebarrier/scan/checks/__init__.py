"""One file per check, each saying what it cannot see."""

from typing import TYPE_CHECKING

from mergebarrier import lazy

if TYPE_CHECKING:
    from mergebarrier.scan.checks import expert_patches, merged_patches
    from mergebarrier.scan.checks.expert_patches import EXCESS_LIMIT, PROBE, ExpertPatches, probe, seek, seek_on, share
    from mergebarrier.scan.checks.folder import named_code, refusal, tags
    from mergebarrier.scan.checks.merged_patches import (
        MANY_PAIRS,
        MERGED_LIMIT,
        Blame,
        MergedPatch,
        leave_out,
        seek_merged,
    )
    from mergebarrier.scan.checks.neural_cleanse import Cleansed, judge, neural_cleanse
    from mergebarrier.scan.checks.scale_up import scaled_consistency
    from mergebarrier.scan.checks.task_vectors import MIN_POOL, Statistics, judge_task_vectors, measure
    from mergebarrier.scan.checks.whole_images import (
        PIECES_LIMIT,
        WHOLE_LIMIT,
        ExpertImages,
        WholeImage,
        judge_whole,
        limit_of,
        seek_whole,
    )

__all__ = [
    "EXCESS_LIMIT",
    "MANY_PAIRS",
    "MERGED_LIMIT",
    "MIN_POOL",
    "PIECES_LIMIT",
    "PROBE",
    "WHOLE_LIMIT",
    "Blame",
    "Cleansed",
    "ExpertImages",
    "ExpertPatches",
    "MergedPatch",
    "Statistics",
    "WholeImage",
    "expert_patches",
    "judge",
    "judge_task_vectors",
    "judge_whole",
    "leave_out",
    "limit_of",
    "measure",
    "merged_patches",
    "named_code",
    "neural_cleanse",
    "probe",
    "refusal",
    "scaled_consistency",
    "seek",
    "seek_merged",
    "seek_on",
    "seek_whole",
    "share",
    "tags",
]

lazy.open_door(__name__)
