"""Merge methods that learn from data, through callables that run the models."""

from typing import TYPE_CHECKING

from mergebarrier import lazy

if TYPE_CHECKING:
    from mergebarrier.merge.learned.adamerging import AdaMerging
    from mergebarrier.merge.learned.concrete import Concrete
    from mergebarrier.merge.learned.fisher import Fisher
    from mergebarrier.merge.learned.method import DataMerge, Learned, TaskData, outputs_of
    from mergebarrier.merge.learned.registry import DATA_MERGES
    from mergebarrier.merge.learned.regmean import RegMean, RegMeanPlus
    from mergebarrier.merge.learned.surgery import Correction, Surgery

__all__ = [
    "DATA_MERGES",
    "AdaMerging",
    "Concrete",
    "Correction",
    "DataMerge",
    "Fisher",
    "Learned",
    "RegMean",
    "RegMeanPlus",
    "Surgery",
    "TaskData",
    "outputs_of",
]

lazy.open_door(__name__)
