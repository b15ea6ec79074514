"""Which tensors of two models are the same, however each spells, groups or stores them."""

from typing import TYPE_CHECKING

from mergebarrier import lazy

if TYPE_CHECKING:
    from mergebarrier.identity.names import finder, fused, identities, spelled_as, spelled_like, split, table_of
    from mergebarrier.identity.shared import FitRules, ModelFit, fit
    from mergebarrier.identity.ties import matched, repeats, stored_once, ties_of, untied, without_twins
    from mergebarrier.identity.wrapped import unwrapped

__all__ = [
    "FitRules",
    "ModelFit",
    "finder",
    "fit",
    "fused",
    "identities",
    "matched",
    "repeats",
    "spelled_as",
    "spelled_like",
    "split",
    "stored_once",
    "table_of",
    "ties_of",
    "untied",
    "unwrapped",
    "without_twins",
]

lazy.open_door(__name__)
