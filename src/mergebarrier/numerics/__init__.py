"""Numerics that several rooms need: keyed random draws, the AES stream of a merge, intervals of shares."""

from typing import TYPE_CHECKING

from mergebarrier import lazy

if TYPE_CHECKING:
    from mergebarrier.numerics import aes, draws
    from mergebarrier.numerics.intervals import newcombe, wilson

__all__ = [
    "aes",
    "draws",
    "newcombe",
    "wilson",
]

lazy.open_door(__name__)
