"""What the weights of a fine-tune look like beside honest fine-tunes by the same recipe."""

from typing import TYPE_CHECKING

from mergebarrier import lazy

if TYPE_CHECKING:
    from mergebarrier.scan.updates.conformal import (
        ADVISORY_P,
        MIN_REFERENCE,
        judge_rank,
        judge_update,
        largest_z,
        mahalanobis,
        not_judged,
        p_value,
    )
    from mergebarrier.scan.updates.statistics import Profile, TensorUpdate, profile, role_of

__all__ = [
    "ADVISORY_P",
    "MIN_REFERENCE",
    "Profile",
    "TensorUpdate",
    "judge_rank",
    "judge_update",
    "largest_z",
    "mahalanobis",
    "not_judged",
    "p_value",
    "profile",
    "role_of",
]

lazy.open_door(__name__)
