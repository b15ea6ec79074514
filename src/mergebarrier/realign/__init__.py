"""Ways to undo a protection, for auditing one's own model or one that one may merge."""

from collections.abc import Mapping

from mergebarrier.realign._realignment import Fitted, ParallelMap, Realignment
from mergebarrier.realign.aga import Aga
from mergebarrier.realign.gaugefix import GaugeFix
from mergebarrier.realign.relative import Relation, relation

REALIGNMENTS: Mapping[str, type[Aga] | type[GaugeFix]] = {"aga": Aga, "gaugefix": GaugeFix}

__all__ = ["REALIGNMENTS", "Aga", "Fitted", "GaugeFix", "ParallelMap", "Realignment", "Relation", "relation"]
