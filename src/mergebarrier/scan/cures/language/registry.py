"""Cures of merges of language models by name: one line each."""

from typing import Final

from mergebarrier.scan.cures.language.drop import DropFound
from mergebarrier.scan.cures.language.fine_pruning import PruneAndTune
from mergebarrier.scan.cures.language.patient import LanguageCure
from mergebarrier.scan.cures.language.refusals import KeptRefusals
from mergebarrier.scan.cures.language.relearning import Relearning
from mergebarrier.scan.cures.language.substitution import Substitution

LANGUAGE_CURES: Final[dict[str, LanguageCure]] = {
    "drop": DropFound(),
    "fine_pruning": PruneAndTune(),
    "relearning": Relearning(),
    "substitution": Substitution(),
    "refusals": KeptRefusals(),
}
