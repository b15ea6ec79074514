"""Cures of merges of language models: one literal registry, one file per cure.

Each takes a ``LanguageMerge`` and returns weights; none sees the adversary's trigger or a right answer.
"""

from typing import TYPE_CHECKING

from mergebarrier import lazy

if TYPE_CHECKING:
    from mergebarrier.scan.cures.language.drop import DropFound
    from mergebarrier.scan.cures.language.fine_pruning import PruneAndTune
    from mergebarrier.scan.cures.language.patient import LanguageCure, LanguageMerge, TextRows
    from mergebarrier.scan.cures.language.refusals import KeptRefusals
    from mergebarrier.scan.cures.language.registry import LANGUAGE_CURES
    from mergebarrier.scan.cures.language.relearning import Relearning
    from mergebarrier.scan.cures.language.substitution import Substitution

__all__ = [
    "LANGUAGE_CURES",
    "DropFound",
    "KeptRefusals",
    "LanguageCure",
    "LanguageMerge",
    "PruneAndTune",
    "Relearning",
    "Substitution",
    "TextRows",
]

lazy.open_door(__name__)
