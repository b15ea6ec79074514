"""What was merged into a model, with which shares, by which recipe."""

from typing import TYPE_CHECKING

from mergebarrier import lazy

if TYPE_CHECKING:
    from mergebarrier.provenance.parents.declare import RESOLUTION, CandidateShare, Unexplained
    from mergebarrier.provenance.parents.entries import Entries, TensorSums, entries_of, joined, sums_of
    from mergebarrier.provenance.parents.parents import MergeAnatomy, ParentsOptions, find_parents
    from mergebarrier.provenance.parents.recipes import RECIPES, ReplayedRecipe

__all__ = [
    "RECIPES",
    "RESOLUTION",
    "CandidateShare",
    "Entries",
    "MergeAnatomy",
    "ParentsOptions",
    "ReplayedRecipe",
    "TensorSums",
    "Unexplained",
    "entries_of",
    "find_parents",
    "joined",
    "sums_of",
]

lazy.open_door(__name__)
