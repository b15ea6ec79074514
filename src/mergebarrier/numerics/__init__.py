"""Numerics that several rooms need: keyed draws, the AES stream of a merge, intervals of shares, many tests at once,
polynomials.
"""

from typing import TYPE_CHECKING

from mergebarrier import lazy

if TYPE_CHECKING:
    from mergebarrier.numerics import aes, draws, polynomials
    from mergebarrier.numerics.intervals import newcombe, wilson
    from mergebarrier.numerics.significance import holm, least_of

__all__ = [
    "aes",
    "draws",
    "holm",
    "least_of",
    "newcombe",
    "polynomials",
    "wilson",
]

lazy.open_door(__name__)
