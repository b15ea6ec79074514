"""Checks of a merge's weights and vocabulary before it is run."""

from typing import TYPE_CHECKING

from mergebarrier import doors

if TYPE_CHECKING:
    from mergebarrier.merge.checks.merged import Operand, check_tie, check_vocabulary, check_weights

__all__ = [
    "Operand",
    "check_tie",
    "check_vocabulary",
    "check_weights",
]

doors.open_lazily(__name__)
