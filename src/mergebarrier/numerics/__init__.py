"""Numerics that several rooms need: keyed random draws, the AES stream of a merge, intervals of shares."""

from typing import TYPE_CHECKING

from mergebarrier import doors

if TYPE_CHECKING:
    from mergebarrier.numerics import aes, draws
    from mergebarrier.numerics.intervals import newcombe, wilson

__all__ = [
    "aes",
    "draws",
    "newcombe",
    "wilson",
]

doors.open_lazily(__name__)
