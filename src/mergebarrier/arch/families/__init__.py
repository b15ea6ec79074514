"""One declarative table per model family: which tensor plays which role, and what may act on its axes."""

from typing import TYPE_CHECKING

from mergebarrier import doors

if TYPE_CHECKING:
    from mergebarrier.arch.families.registry import FAMILIES
    from mergebarrier.arch.families.table import LOGICAL, ROWWISE_KINDS, Dims, Family, Rule

__all__ = [
    "FAMILIES",
    "LOGICAL",
    "ROWWISE_KINDS",
    "Dims",
    "Family",
    "Rule",
]

doors.open_lazily(__name__)
