"""Leave out the expert that the scan names, and merge the others.

    cured = merge({theta_i : excess_i <= limit})

No published method: the baseline that every other cure is measured against.  Costs the whole skill of what is dropped,
and helps only where one expert is named.
"""

from dataclasses import dataclass

from mergebarrier.scan.base import Weights, stands_out
from mergebarrier.scan.checks import EXCESS_LIMIT
from mergebarrier.scan.cures.patient import Cure, MergeToCure


@dataclass(frozen=True)
class DropGuilty(Cure):
    """Leave out experts by their excess; the merge of all where none stands out, or all do."""

    limit: float = EXCESS_LIMIT

    def apply(self, patient: MergeToCure) -> Weights:
        """Return the merge of the others."""
        kept = [
            suspect.weights
            for suspect, one in zip(patient.pool.suspects, patient.experts, strict=True)
            if not stands_out(one.excess, one.rival, self.limit)
        ]
        return patient.merge(patient.pool.base, kept) if kept else patient.merged
