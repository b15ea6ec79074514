"""Numerics that several rooms need: keyed draws, the AES stream of a merge, intervals of shares, many tests at once,
polynomials.
"""

from typing import TYPE_CHECKING

from mergebarrier import lazy

if TYPE_CHECKING:
    from mergebarrier.numerics import aes, draws, polynomials
    from mergebarrier.numerics.intervals import newcombe, wilson
    from mergebarrier.numerics.significance import LEAST_TAIL, holm, least_of, stated

__all__ = [
    "LEAST_TAIL",
    "aes",
    "draws",
    "holm",
    "least_of",
    "newcombe",
    "polynomials",
    "stated",
    "wilson",
]

lazy.open_door(__name__)
