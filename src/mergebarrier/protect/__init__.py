"""Protections: each a short file that says which symmetries it uses and how it chooses their elements."""

from typing import TYPE_CHECKING

from mergebarrier import lazy

if TYPE_CHECKING:
    from mergebarrier.protect.composed import joined, protection_named
    from mergebarrier.protect.exact import PARTS, Exact
    from mergebarrier.protect.mergebarrier import MergeBarrier
    from mergebarrier.protect.mergelock import MergeLock
    from mergebarrier.protect.params import Params
    from mergebarrier.protect.protection import (
        Context,
        Pieces,
        Prepared,
        Protection,
        Value,
    )
    from mergebarrier.protect.registry import PROTECTIONS
    from mergebarrier.protect.trained import SIBLING_ROWS, TRAINED, TrainedProtection
    from mergebarrier.protect.widen import Widen

__all__ = [
    "PARTS",
    "PROTECTIONS",
    "SIBLING_ROWS",
    "TRAINED",
    "Context",
    "Exact",
    "MergeBarrier",
    "MergeLock",
    "Params",
    "Pieces",
    "Prepared",
    "Protection",
    "TrainedProtection",
    "Value",
    "Widen",
    "joined",
    "protection_named",
]

lazy.open_door(__name__)
