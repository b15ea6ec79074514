"""Findings about models before and after they are merged: one file per check, a literal registry, no verdict of purity.

A method room: it takes tensors, an encoder and callables, reads no file, and says of every check what it cannot see.
"""

from mergebarrier.scan._finding import (
    RULES,
    SEVERITIES,
    Finding,
    Rule,
    Severity,
    at_least,
    finding,
    ordered,
)
from mergebarrier.scan._patches import Patch, Search, invert, places, stamp
from mergebarrier.scan._pool import (
    MIN_IMAGES,
    MergeWeights,
    Pool,
    Suspect,
    Weights,
    along,
    forced_share,
    halves,
    head_logits,
    robust_z,
    run,
)
from mergebarrier.scan._registry import CHECKS, IMAGE_CHECKS, Check, Outcome, scan_pool
from mergebarrier.scan.expert_patches import PROBE, ExpertPatches, probe, seek, share
from mergebarrier.scan.folder import refusal, tags
from mergebarrier.scan.merged_patches import MANY_PAIRS, Blame, MergedPatch, leave_out, seek_merged
from mergebarrier.scan.neural_cleanse import Cleansed, neural_cleanse
from mergebarrier.scan.scale_up import scaled_consistency
from mergebarrier.scan.task_vectors import MIN_POOL, Statistics, judge_task_vectors, measure

__all__ = [
    "CHECKS",
    "IMAGE_CHECKS",
    "MANY_PAIRS",
    "MIN_IMAGES",
    "MIN_POOL",
    "PROBE",
    "RULES",
    "SEVERITIES",
    "Blame",
    "Check",
    "Cleansed",
    "ExpertPatches",
    "Finding",
    "MergeWeights",
    "MergedPatch",
    "Outcome",
    "Patch",
    "Pool",
    "Rule",
    "Search",
    "Severity",
    "Statistics",
    "Suspect",
    "Weights",
    "along",
    "at_least",
    "finding",
    "forced_share",
    "halves",
    "head_logits",
    "invert",
    "judge_task_vectors",
    "leave_out",
    "measure",
    "neural_cleanse",
    "ordered",
    "places",
    "probe",
    "refusal",
    "robust_z",
    "run",
    "scaled_consistency",
    "scan_pool",
    "seek",
    "seek_merged",
    "share",
    "stamp",
    "tags",
]
