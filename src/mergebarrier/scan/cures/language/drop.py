"""Put the base in the place of every upload in which the search found something.

    cured = merge(theta_i, or the base where an input collapses theta_i),   at the same coefficients

No published method: the baseline that every other cure is measured against.  Costs the whole skill of what is dropped,
unless the base has it, and helps only against what the search finds.
"""

from dataclasses import dataclass

from mergebarrier.scan.base import Weights
from mergebarrier.scan.cures.language.patient import LanguageCure, LanguageMerge


@dataclass(frozen=True, kw_only=True)
class DropFound(LanguageCure):
    """Leave out what was found; the merge of all where nothing was."""

    def apply(self, patient: LanguageMerge) -> Weights:
        """Return the merge without them."""
        return patient.with_uploads(dict.fromkeys(patient.found, patient.base))
