"""Which tensor of a checkpoint plays which role: one declarative table per family, data without mathematics."""

from typing import TYPE_CHECKING

from mergebarrier import doors

if TYPE_CHECKING:
    from mergebarrier.arch.describe import Architecture, Circuit, describe, require_same
    from mergebarrier.arch.families import FAMILIES, LOGICAL, Dims, Family, Rule
    from mergebarrier.arch.layout import CIRCUITS, gather, scatter

__all__ = [
    "CIRCUITS",
    "FAMILIES",
    "LOGICAL",
    "Architecture",
    "Circuit",
    "Dims",
    "Family",
    "Rule",
    "describe",
    "gather",
    "require_same",
    "scatter",
]

doors.open_lazily(__name__)
