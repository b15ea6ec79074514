"""Build a model of modules that come from different experts of ONE task, so that no payload is whole.

    slot j <- expert a_j,   neighbouring slots from different experts, experts used equally;
    of the candidate tables: the one on whose merge the mined patches work least

Source: module switching, MSD, arXiv 2504.05902.  Differs: tables are cyclic shifts and reflections instead of an
evolved search, a slot is a module with parameters, and candidates are judged by mined patches instead of by the
distance from a dummy target feature.
"""

from dataclasses import dataclass

from mergebarrier.errors import BadScanInput
from mergebarrier.scan.base import Patch, PoolExpert, Weights
from mergebarrier.scan.checks import share
from mergebarrier.scan.cures.patient import Cure, MergeToCure, detached


@dataclass(frozen=True)
class Switching(Cure):
    """Alternate the experts over the modules; needs at least two experts of one task."""

    def apply(self, patient: MergeToCure) -> Weights:
        """Return the candidate on which the mined patches work least.

        Raises: BadScanInput for a pool of one expert, or of several tasks.
        """
        suspects = patient.pool.suspects
        if len(suspects) < 2 or any(suspect.classes != suspects[0].classes for suspect in suspects):
            raise BadScanInput(
                "needs two or more experts of the same task", where="switching", remedy="use another cure"
            )
        slots = list(dict.fromkeys(name.rpartition(".")[0] for name in patient.pool.base))
        candidates = []
        for shift in range(len(suspects)):
            table = {slot: (place + shift) % len(suspects) for place, slot in enumerate(slots)}
            candidates.append(
                {name: suspects[table[name.rpartition(".")[0]]].weights[name] for name in patient.pool.base}
            )
        tried: list[tuple[PoolExpert, Patch]] = [
            (suspect, one.patches[0]) for suspect, one in zip(suspects, patient.experts, strict=True)
        ]
        worst = [
            max(share(patient.pool, weights, suspect, patch) for suspect, patch in tried) for weights in candidates
        ]
        return detached(candidates[worst.index(min(worst))])
