"""Cures of a merge that carries a backdoor: one literal registry, one file per family.

Each takes a ``MergeToCure`` and returns weights; none sees the adversary's trigger, a label or a test image.
"""

from typing import TYPE_CHECKING

from mergebarrier import lazy

if TYPE_CHECKING:
    from mergebarrier.scan.cures.drop import DropGuilty
    from mergebarrier.scan.cures.fine_pruning import FinePruning
    from mergebarrier.scan.cures.ibvs import Ibvs
    from mergebarrier.scan.cures.lfpm_like import LfpmLike
    from mergebarrier.scan.cures.masks import Masked
    from mergebarrier.scan.cures.patient import Cure, MergeToCure, Train
    from mergebarrier.scan.cures.registry import CURES
    from mergebarrier.scan.cures.sau import Sau
    from mergebarrier.scan.cures.switching import Switching

__all__ = [
    "CURES",
    "Cure",
    "DropGuilty",
    "FinePruning",
    "Ibvs",
    "LfpmLike",
    "Masked",
    "MergeToCure",
    "Sau",
    "Switching",
    "Train",
]

lazy.open_door(__name__)
