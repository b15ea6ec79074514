"""Ways to undo a protection, for audits of one's own model or of one that may be merged."""

from collections.abc import Mapping

from mergebarrier.realign.aga import Aga
from mergebarrier.realign.gaugefix import GaugeFix

REALIGNMENTS: Mapping[str, type[Aga] | type[GaugeFix]] = {"aga": Aga, "gaugefix": GaugeFix}
