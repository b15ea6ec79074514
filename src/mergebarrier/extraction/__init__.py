"""Taking a classifier by asking it: attacks on what it answers, defences that change what it answers, and MISLEADER."""

from typing import TYPE_CHECKING

from mergebarrier import lazy

if TYPE_CHECKING:
    from mergebarrier.extraction.answers import Answers, centred_log, checked, ensemble
    from mergebarrier.extraction.cloning import LOSSES
    from mergebarrier.extraction.data_free import DataFree, Generator, data_free_loss
    from mergebarrier.extraction.defences import DEFENCES
    from mergebarrier.extraction.misleader import Misleader, defender_loss, intruder_loss
    from mergebarrier.extraction.options import DATA_FREE, CopyOptions, ExtractOptions
    from mergebarrier.extraction.queries import augmented

__all__ = [
    "DATA_FREE",
    "DEFENCES",
    "LOSSES",
    "Answers",
    "CopyOptions",
    "DataFree",
    "ExtractOptions",
    "Generator",
    "Misleader",
    "augmented",
    "centred_log",
    "checked",
    "data_free_loss",
    "defender_loss",
    "ensemble",
    "intruder_loss",
]

lazy.open_door(__name__)
