"""Ways to undo a protection, for audits of one's own model or of one that may be merged."""

from typing import TYPE_CHECKING

from mergebarrier import lazy

if TYPE_CHECKING:
    from mergebarrier.realign.aga import Aga
    from mergebarrier.realign.auto import Auto, seen_in
    from mergebarrier.realign.base_ffn import BaseFFN
    from mergebarrier.realign.flip_again import FlipAgain
    from mergebarrier.realign.fold_width import FoldWidth
    from mergebarrier.realign.gaugefix import FittedGauge, GaugeFix
    from mergebarrier.realign.poly_invert import PolyInvert
    from mergebarrier.realign.realignment import Fitted, ParallelMap, Realignment
    from mergebarrier.realign.rebasin import Rebasin
    from mergebarrier.realign.registry import REALIGNMENTS
    from mergebarrier.realign.relative import Relation, relation

__all__ = [
    "REALIGNMENTS",
    "Aga",
    "Auto",
    "BaseFFN",
    "Fitted",
    "FittedGauge",
    "FlipAgain",
    "FoldWidth",
    "GaugeFix",
    "ParallelMap",
    "PolyInvert",
    "Realignment",
    "Rebasin",
    "Relation",
    "relation",
    "seen_in",
]

lazy.open_door(__name__)
