"""Ways to undo a protection, for auditing one's own model or one that one may merge."""

from collections.abc import Mapping

from mergebarrier.realign.aga import Aga
from mergebarrier.realign.gaugefix import GaugeFix

REALIGNMENTS: Mapping[str, type[Aga] | type[GaugeFix]] = {"aga": Aga, "gaugefix": GaugeFix}
