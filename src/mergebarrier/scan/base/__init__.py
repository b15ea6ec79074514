"""What every check builds on: findings, the pool of suspects, the search for a patch."""

from typing import TYPE_CHECKING

from mergebarrier import lazy

if TYPE_CHECKING:
    from mergebarrier.scan.base.carriers import CARRIERS, Carrier, Put
    from mergebarrier.scan.base.descent import descend
    from mergebarrier.scan.base.finding import (
        NOT_JUDGED,
        REFUSED,
        RULES,
        SEVERITIES,
        UNSEEN,
        Finding,
        FindingRule,
        Place,
        Severity,
        at_least,
        file_finding,
        finding,
        ordered,
    )
    from mergebarrier.scan.base.limits import ALONE, SURE, stands_out
    from mergebarrier.scan.base.patches import Patch, Search, invert, places, stamp
    from mergebarrier.scan.base.pool import (
        MERGED,
        MIN_IMAGES,
        Attempt,
        MergeWeights,
        Pool,
        PoolExpert,
        Weights,
        along,
        forced_share,
        halves,
        head_logits,
        plainly,
        robust_z,
        run,
    )

__all__ = [
    "ALONE",
    "CARRIERS",
    "MERGED",
    "MIN_IMAGES",
    "NOT_JUDGED",
    "REFUSED",
    "RULES",
    "SEVERITIES",
    "SURE",
    "UNSEEN",
    "Attempt",
    "Carrier",
    "Finding",
    "FindingRule",
    "MergeWeights",
    "Patch",
    "Place",
    "Pool",
    "PoolExpert",
    "Put",
    "Search",
    "Severity",
    "Weights",
    "along",
    "at_least",
    "descend",
    "file_finding",
    "finding",
    "forced_share",
    "halves",
    "head_logits",
    "invert",
    "ordered",
    "places",
    "plainly",
    "robust_z",
    "run",
    "stamp",
    "stands_out",
]

lazy.open_door(__name__)
