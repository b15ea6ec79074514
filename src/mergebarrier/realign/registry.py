"""The ways to undo a protection by name, each with its defaults: one line each, read by the command line."""

from collections.abc import Mapping

from mergebarrier.realign.aga import Aga
from mergebarrier.realign.auto import Auto
from mergebarrier.realign.base_ffn import BaseFFN
from mergebarrier.realign.flip_again import FlipAgain
from mergebarrier.realign.fold_width import FoldWidth
from mergebarrier.realign.gaugefix import GaugeFix
from mergebarrier.realign.poly_invert import PolyInvert
from mergebarrier.realign.realignment import Realignment
from mergebarrier.realign.rebasin import Rebasin

REALIGNMENTS: Mapping[str, Realignment] = {
    "gaugefix": GaugeFix(),
    "aga": Aga(),
    "aga-matched": Aga(matched=True),
    "rebasin": Rebasin(),
    "flip_again": FlipAgain(),
    "fold_width": FoldWidth(),
    "poly_invert": PolyInvert(),
    "base_ffn": BaseFFN(),
    "auto": Auto(),
}
