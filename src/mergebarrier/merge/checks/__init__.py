"""Checks of a merge's weights and vocabulary before it is run."""

from typing import TYPE_CHECKING

from mergebarrier import lazy

if TYPE_CHECKING:
    from mergebarrier.merge.checks.merged import Operand, check_tie, check_vocabulary, check_weights

__all__ = [
    "Operand",
    "check_tie",
    "check_vocabulary",
    "check_weights",
]

lazy.open_door(__name__)
