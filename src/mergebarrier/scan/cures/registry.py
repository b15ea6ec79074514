"""Cures of a merge that carries a backdoor: one literal registry, one file per family.

Each takes a ``MergeToCure`` and returns weights; none sees the adversary's trigger, a label or a test image.
"""

from typing import Final

from mergebarrier.scan.cures.drop import DropGuilty
from mergebarrier.scan.cures.fine_pruning import FinePruning
from mergebarrier.scan.cures.ibvs import Ibvs
from mergebarrier.scan.cures.lfpm_like import LfpmLike
from mergebarrier.scan.cures.masks import Masked
from mergebarrier.scan.cures.patient import Cure
from mergebarrier.scan.cures.sau import Sau
from mergebarrier.scan.cures.switching import Switching

CURES: Final[dict[str, Cure]] = {
    "drop": DropGuilty(),
    "lfpm_like": LfpmLike(),
    "ibvs": Ibvs(),
    "fine_pruning": FinePruning(),
    "dam": Masked(),
    "awm": Masked(noise_weight=0.01, relaxed=False),
    "sau": Sau(),
    "switching": Switching(),
}
