"""Which tensor of a checkpoint plays which role: one declarative table per family, data without mathematics."""

from mergebarrier.arch._describe import FAMILIES, Architecture, Circuit, describe, require_same
from mergebarrier.arch._layout import gather, scatter
from mergebarrier.arch._table import LOGICAL, Dims, Family, Rule

__all__ = [
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
