"""Protections that are trained: each a short file with the loss that it minimises."""

from typing import TYPE_CHECKING

from mergebarrier import lazy

if TYPE_CHECKING:
    from mergebarrier.protect.trained.arf import Arf
    from mergebarrier.protect.trained.layered import SIBLING_ROWS, Layered
    from mergebarrier.protect.trained.mergeguard import MergeGuard
    from mergebarrier.protect.trained.registry import TRAINED
    from mergebarrier.protect.trained.trained import Finished, TrainedProtection
    from mergebarrier.protect.trained.trap2 import Trap2

__all__ = ["SIBLING_ROWS", "TRAINED", "Arf", "Finished", "Layered", "MergeGuard", "TrainedProtection", "Trap2"]

lazy.open_door(__name__)
